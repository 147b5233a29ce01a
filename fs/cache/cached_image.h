// CachedImage: one image in use. Its data file, its chunk set, what is in flight, and the reads that wait.
//
//               ┌──────── every byte present ────────▶ Done(file, range)
//   Read(op) ───┤                                          ▲
//               └─ absent: flights for it, park ──▶ chunk ─┘ start over
//                                                └▶ error ──▶ Fail
//
// A chunk is      absent ─▶ in flight ─▶ present          (stored, hash known)
//                             └────────▶ transient        (no room: handed to who waits, then forgotten)
//                 present, suspect: written before an unclean end; its hash is checked before its first use.
//
// Invariants, under mu_:
//   * a chunk in some flight's [next, end) is in no other's, but where a demand read has overtaken a running flight; then the
//     later copy is dropped (storing_, present_)
//   * every parked read waits for a chunk that is in flight
//   * present ⊇ suspect; hashes_[c] is right for every present c
//
// Thread-safe. No method waits for the source except RunFlight, which fetch workers call. Callbacks (Done, Fail, ImageHost)
// happen without the lock.
#pragma once

#include <boost/intrusive/list.hpp>

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "fs/base/mutex.h"
#include "fs/cache/chunk_set.h"
#include "fs/cache/flight.h"
#include "fs/cache/image_host.h"
#include "fs/cache/image_status.h"
#include "fs/cache/index.h"
#include "fs/cache/read_op.h"
#include "fs/cache/readahead.h"

namespace glintfs {

// The hash that the index keeps of a chunk: XXH3-64 (https://github.com/Cyan4973/xxHash), seed 0.
uint64_t HashChunk(std::span<const std::byte> bytes);

class CachedImage : public std::enable_shared_from_this<CachedImage> {
 public:
  // `file` and `segments` as loaded from the index; both empty for a new image. `allocated` chunks are unknown to be holes
  // when the file is not new: see IsHole.
  struct Stored {
    std::shared_ptr<File> file;
    uint32_t generation = 0;
    std::vector<ChunkSegment> segments;
    bool suspect = false;
  };
  CachedImage(ImageInfo info, RowId row, uint64_t chunk_size, ImageHost& host, Stored stored);
  ~CachedImage();
  CachedImage(const CachedImage&) = delete;
  CachedImage& operator=(const CachedImage&) = delete;

  const ImageInfo& info() const { return info_; }
  RowId row() const { return row_; }
  uint64_t chunk_size() const { return chunk_size_; }
  uint64_t chunks() const { return chunks_; }

  // Answers `op` at once when all its bytes are present, else parks it until they are or cannot be had. Never waits for the
  // source. The range is clipped to the image's size; at or beyond its end the read is empty.
  void Read(std::unique_ptr<ReadOp> op);
  // The same for a read that need not wait, at the cost of one lock and no memory: what to read from which file (valid while the
  // image lives), or nullopt when some of it is absent or to be checked first, or at its end; then Read is to be called. If the
  // file cannot be read: Read, too.
  struct Hit {
    const File* file;
    size_t length;
    LatencyHistogram* latency = nullptr;  // to be told how long the read took in all; null: nobody wants to know
  };
  std::optional<Hit> TryRead(uint64_t offset, size_t length);
  // Fails the parked read with this id with kCancelled. False when it is not parked (answered, or being answered).
  bool Cancel(uint64_t op_id);
  // The data file could not be read here, or holds other bytes than it should: checks the hashes of these chunks and drops
  // the bad ones, so that a new Read fetches them.
  void CheckRange(uint64_t offset, uint64_t length);

  // Fetch all that is absent. The host hears of the end (OnFillEnded), also when nothing was absent.
  void StartFill(Urgency urgency);
  bool filling();
  // Ends a fill: its flights end after the chunk they are at. Reads go on.
  void CancelFill() { EndFlights(Urgency::kQueued); }
  // The same, and reads start none again until ResumeFills.
  void HoldFills();
  void ResumeFills() { fills_held_ = false; }
  // Ends everything that is being fetched, readahead that nobody waits for included. Reads that wait start over.
  void StopFetching() { EndFlights(Urgency::kDemand); }
  // For an image of no bytes: makes its (empty) data file, so that it counts as complete.
  void StoreEmpty();

  // Every read, parked or to come, fails with `error`; flights end after the chunk they are at.
  void Abort(Error error);

  // After the fetch workers have ended: lets go of flights that never ran (they hold the image, and it them).
  void DropFlights();

  // For fetch workers: runs the flight to its end.
  void RunFlight(const std::shared_ptr<Flight>& flight, std::stop_token stop);

  // From now on nothing is written to the data file: an absent chunk is fetched for who reads it and not kept. Seal does it only
  // if every chunk is present and none suspect.
  void MarkSealed() { sealed_ = true; }
  bool Seal();
  // The data file could not be opened this time: nothing is read from it, and nothing of it changes. For who loads the image.
  void LeaveFileAlone() { file_left_alone_ = sealed_ = true; }
  bool file_left_alone() const { return file_left_alone_; }
  // Its file is not to be written any more, for the kernel reads it by itself or did so.
  bool sealed() const { return sealed_; }

  // What the next checkpoint has to store. Take it, sync `file`, then commit; give it back if that failed.
  struct Dirty {
    std::shared_ptr<File> file;
    uint32_t generation = 0;
    std::vector<ChunkSegment> segments;
    uint64_t chunks_present = 0;
    bool suspect = false;
    bool dropped = false;  // chunks that were present turned out bad: a verdict on the whole no longer holds
  };
  Dirty TakeDirty();
  void ReturnDirty(const Dirty& dirty, bool lost_writes);

  // Chunks from `from` on that are present without a gap; reads them into `buffer` for the verifier.
  uint64_t PresentRun(uint64_t from);
  // Reads a chunk and checks it against its hash; false when it was bad (it is absent then) or not present.
  bool ReadChecked(uint64_t chunk, std::vector<std::byte>& buffer) {
    return CheckChunk(chunk, buffer, false) == Check::kGood;
  }
  // The same from the disk itself, past the page cache.
  enum class Check { kGood, kBad, kAbsent };
  Check CheckOnDisk(uint64_t chunk, std::vector<std::byte>& buffer) { return CheckChunk(chunk, buffer, true); }

  // As Read, but for who repairs: it starts no fill and no readahead, and is neither hit nor miss.
  void Refetch(std::unique_ptr<ReadOp> op) { Advance(std::move(op), false); }
  bool IsPresent(uint64_t chunk);
  bool IsInFlight(uint64_t chunk);
  // The first present chunk from `from` on; chunks() when there is none.
  uint64_t NextPresent(uint64_t from);

  struct Progress {
    uint64_t chunks_present = 0;
    uint64_t cached_bytes = 0;
    bool complete = false;
    bool filling = false, queued = false;  // queued: on request
    double fill_rate = 0;  // bytes/s
    std::string error;     // of the last fill
  };
  Progress progress();
  // Nullopt: it does not run.
  std::optional<FetchStatus> Describe(const Flight& flight);

  // Checks one chunk against its hash if it is suspect; see ReadChecked.
  void CheckIfSuspect(uint64_t chunk);

  // Handles that readers hold, as opposed to references from workers.
  std::atomic<int> open_handles{0};

 private:
  friend class ChunkSink;
  using Buffer = std::shared_ptr<const std::vector<std::byte>>;
  using ParkedList = boost::intrusive::list<ReadOp, boost::intrusive::constant_time_size<false>>;
  using OpList = std::vector<std::unique_ptr<ReadOp>>;

  // What a decision under the lock asks to be done after it.
  struct Actions {
    std::vector<std::shared_ptr<Flight>> enqueue, requeue;
    OpList restart, fail;
    Error error{};
    bool fill_ended = false;
    std::optional<Error> fill_error;
  };
  void EndFlights(Urgency least);

  enum class Decision { kParked, kReady, kCheck, kFail };

  void Advance(std::unique_ptr<ReadOp> op, bool first);
  Decision DecideLocked(std::unique_ptr<ReadOp>& op, bool first, Actions& actions) REQUIRES(mu_);
  bool IsHitLocked(uint64_t offset, size_t length) const REQUIRES(mu_);
  void PlanFillOnReadLocked(uint64_t first_absent, Actions& actions) REQUIRES(mu_);
  void DemandLocked(uint64_t from, uint64_t last, bool random, Actions& actions) REQUIRES(mu_);
  uint64_t HurryLocked(Flight& flight, uint64_t chunk, uint64_t last, bool random, Actions& actions) REQUIRES(mu_);
  double SecondsUntilLocked(const Flight& flight, uint64_t chunk) const REQUIRES(mu_);
  void AheadLocked(const Extent& bytes, Actions& actions) REQUIRES(mu_);
  void PlanFillLocked(Actions& actions) REQUIRES(mu_);
  void StopFillLocked(std::optional<Error> error, Actions& actions) REQUIRES(mu_);
  void AddFlightLocked(Urgency urgency, uint64_t begin, uint64_t end, bool fill, Actions& actions) REQUIRES(mu_);
  void RaiseLocked(Flight& flight, Urgency to, Actions& actions) REQUIRES(mu_);
  Buffer FindTransientLocked(uint64_t chunk, uint64_t read_end) REQUIRES(mu_);
  bool AddTransientLocked(uint64_t chunk, const Buffer& bytes, bool wanted) REQUIRES(mu_);
  void OrphansLocked(OpList& out) REQUIRES(mu_);
  void GaveUpLocked(const Error& error, const OpList& failed) REQUIRES(mu_);
  void MarkDirtyLocked(uint64_t chunk) REQUIRES(mu_);
  void Perform(Actions actions);
  void Unparked(size_t reads);

  void Reply(std::unique_ptr<ReadOp> op);
  void CountBytes(const ReadOp& op, size_t length);
  void CountLatency(const ReadOp& op);
  void ReplyMixed(std::unique_ptr<ReadOp> op, const std::shared_ptr<File>& file);

  // Fetching (cached_image_fetch.cc)
  Result<std::shared_ptr<ImageReader>> Reader(std::stop_token stop);
  void MarkHoles(const std::vector<Extent>& holes);
  bool BeginFlight(Flight& flight, Extent& extent);
  void ServeEarly(uint64_t chunk, std::span<const std::byte> prefix);
  bool FinishChunk(Flight& flight, uint64_t chunk, std::span<const std::byte> data);
  bool StoreChunk(uint64_t chunk, std::span<const std::byte> data, bool zero);
  bool IsHole(const File& file, uint64_t chunk) const;
  Result<std::shared_ptr<File>> EnsureFile();
  void EndFlight(const std::shared_ptr<Flight>& flight, const Result<void>& result);
  bool AdaptFillLocked(uint64_t bytes) REQUIRES(mu_);
  Check CheckChunk(uint64_t chunk, std::vector<std::byte>& buffer, bool from_disk);

  uint64_t ChunkLength(uint64_t chunk) const;
  uint64_t DiskBytes(uint64_t length) const { return (length + 4095) / 4096 * 4096; }

  const ImageInfo info_;
  const RowId row_;
  const uint64_t chunk_size_;
  const uint64_t chunks_;
  ImageHost& host_;
  std::atomic<bool> sealed_{false}, file_left_alone_{false}, fills_held_{false};
  const bool preexisting_file_;  // may hold bytes in absent chunks, from before an unclean end

  Mutex mu_;
  CondVar file_created_;
  std::shared_ptr<File> file_ GUARDED_BY(mu_);
  uint32_t generation_ GUARDED_BY(mu_);
  bool creating_file_ GUARDED_BY(mu_) = false;
  std::shared_ptr<ImageReader> reader_ GUARDED_BY(mu_);
  ChunkSet present_ GUARDED_BY(mu_);
  ChunkSet suspect_ GUARDED_BY(mu_);
  std::vector<uint64_t> storing_ GUARDED_BY(mu_);  // chunks on their way to the file
  ChunkSet charged_ GUARDED_BY(mu_);  // has blocks on disk that the budget knows
  std::vector<uint64_t> hashes_ GUARDED_BY(mu_);
  std::set<uint64_t> dirty_segments_ GUARDED_BY(mu_);
  bool dirty_ GUARDED_BY(mu_) = false;
  bool dropped_ GUARDED_BY(mu_) = false;
  InFlight in_flight_ GUARDED_BY(mu_);
  ParkedList parked_ GUARDED_BY(mu_);
  std::atomic<int> parked_count_{0};  // of parked_, for a look without the lock
  struct Transient {
    uint64_t chunk;
    Buffer bytes;
    bool used;  // a read has had its last byte: nobody is expected to come back for it
  };
  std::deque<Transient> transient_ GUARDED_BY(mu_);  // oldest first; at most kMaxTransientBytes
  Readahead readahead_ GUARDED_BY(mu_);
  bool sequential_only_ GUARDED_BY(mu_) = false;  // the source cannot start in the middle
  bool can_seek_ GUARDED_BY(mu_) = false;         // it can: seen
  std::optional<Error> failed_ GUARDED_BY(mu_);
  // What a read that had waited long got, and until when others get the same without waiting.
  std::optional<Error> gave_up_ GUARDED_BY(mu_);
  Nanos gave_up_until_ GUARDED_BY(mu_){0};

  std::optional<Urgency> fill_ GUARDED_BY(mu_);  // set while a fill is going on
  int fill_flights_ GUARDED_BY(mu_) = 0;
  int fill_parallel_ GUARDED_BY(mu_) = 1;
  uint64_t fill_cursor_ GUARDED_BY(mu_) = 0;     // chunk
  std::string fill_error_ GUARDED_BY(mu_);
  Nanos fill_retry_at_ GUARDED_BY(mu_){0};
  int fill_failures_ GUARDED_BY(mu_) = 0;
  // The fill's speed: of the window that runs, and of the last whole one.
  Nanos window_start_ GUARDED_BY(mu_){0};
  uint64_t window_bytes_ GUARDED_BY(mu_) = 0;
  double rate_ GUARDED_BY(mu_) = 0;               // bytes/s
  double rate_before_growth_ GUARDED_BY(mu_) = 0;
  Nanos grow_again_at_ GUARDED_BY(mu_){0};
};

}  // namespace glintfs
