// Cache: all images kept in one cache directory. Owns the index, the budget, the workers and the janitor, and hands out
// CachedImage objects.
//
//   OpenImage ──▶ CachedImage (one per image in use; shared by all its handles)
//                   reads, fills ──▶ FetchQueue ──▶ Backend
//                   dirty chunks ──▶ Janitor ──▶ Index
//
// Thread-safe. Nothing here waits for the source except CacheQueue's and the fetch queue's own threads.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backends/backend.h"
#include "fs/base/clock.h"
#include "fs/base/file.h"
#include "fs/base/result.h"
#include "fs/cache/cache_stats.h"
#include "fs/cache/image_status.h"
#include "fs/cache/sealed_image.h"

namespace glintfs {

class CachedImage;

enum class FillMode { kFull, kDemand };

struct CacheOptions {
  std::string directory;  // exists, writable, absolute
  uint64_t chunk_size = 256 * 1024;
  int fetch_threads = 16;
  FillMode fill = FillMode::kFull;
  CacheLimits limits;
};

struct PruneResult {
  uint64_t files = 0;
  uint64_t bytes = 0;
  std::vector<std::string> names;  // what went, or would go (dry run)
};

struct QueueEntry {
  std::string name;
  Nanos added{0};      // wall clock
  int attempts = 0;
  Nanos next_try{0};   // wall clock; 0: as soon as its turn comes
  std::string error;   // of the last attempt
  bool running = false;
  std::optional<uint64_t> size;  // of the image; not known after a restart until the source was asked
};

// Both in no particular order.
struct CacheActivity {
  std::vector<FetchStatus> fetches;
  std::vector<FillStatus> fills;
};

class Cache {
 public:
  // Locks the directory, reads the index, removes leftovers, starts the threads. Errors, each one line that says what to do:
  // kBusy (another daemon has it), kAccessDenied/kIo (not writable), kInvalid (index of a newer version, other chunk size).
  // `backend` and `storage`, `clock` must outlive the cache. A null storage means the real one.
  static Result<std::unique_ptr<Cache>> Open(CacheOptions options, Backend& backend, Clock& clock = Clock::System(),
                                             std::unique_ptr<Storage> storage = nullptr);
  // Stops all threads, fails parked reads, writes a last checkpoint.
  virtual ~Cache() = default;

  // ---- For the catalogue and the file system; none of these waits for the source.

  // The row this image has, or will have once something of it is cached. The same for equal ids while the daemon runs, and
  // after a restart for every image that was ever opened.
  virtual RowId RowFor(const ImageId& id) = 0;

  // The image for reading. Counts a hit, touches last access. While the returned pointer (or a copy) lives the image counts
  // as in use. kCorrupt: it failed its checksum and was not cleaned yet.
  virtual Result<std::shared_ptr<CachedImage>> OpenImage(const ImageInfo& info) = 0;

  // `alias` is another name of the image called `own_name`, and stays so until Gone(alias): FindNewest and NamesIn follow it.
  virtual void SetAlias(std::string_view alias, std::string_view own_name) = 0;
  // The image's own name for an alias; the name itself for any other.
  virtual std::string OwnName(std::string_view name) = 0;
  // The other names of an image.
  virtual std::vector<std::string> AliasesOf(std::string_view own_name) = 0;

  // The newest version of `name` the cache has (any state but invalid), for answers while the source is away.
  virtual std::optional<ImageInfo> FindNewest(std::string_view name) = 0;

  // Names with cached content below `directory` ("" is the root), for listings while the source is away: one component each,
  // directories included.
  virtual std::vector<ListEntry> NamesIn(std::string_view directory) = 0;

  // The source now has `current` under this name: every other version of it becomes invalid.
  virtual void Supersede(const ImageId& current) = 0;
  // The source answered that `name` no longer exists: every version of it becomes invalid.
  virtual void Gone(std::string_view name) = 0;

  // An image is sealed when it is complete, on disk and in the index, with no chunk left to check and, where the source has
  // a checksum, verified. Cheap: for every lookup.
  virtual std::optional<RowId> SealedRow(const ImageId& id) = 0;  // nullopt: it is not sealed
  // Opens it as a whole. kNotFound: it is not sealed any more; any other error: its file cannot be opened now.
  virtual Result<OpenedSealed> OpenSealed(RowId row) = 0;
  // A handle on it was opened (this counts as a hit) or closed. REQUIRES: a SealedImage of this row lives.
  virtual void SealedOpened(RowId row) = 0;
  virtual void SealedClosed(RowId row) = 0;

  virtual ImageStatus StatusOf(const ImageInfo& info) = 0;            // state kAbsent when nothing is known
  virtual std::optional<ImageStatus> StatusOf(std::string_view name) = 0;  // newest version
  virtual std::vector<ImageStatus> List() = 0;                         // by name

  // ---- For operators.

  // Removes what is cached of `name`. kNotFound; kBusy while it is open or being cached on request.
  virtual Result<void> Evict(std::string_view name) = 0;
  // Down to `target` disk bytes (default: the low mark), least recently used first; open, pinned and queued ones stay.
  // What only fills in the background is stopped and goes last.
  virtual PruneResult Prune(std::optional<uint64_t> target, bool dry_run) = 0;
  // Everything that Evict would remove.
  virtual PruneResult Clear() = 0;
  // Removes stalled and invalid images now.
  virtual PruneResult Clean() = 0;
  // Survive restarts; the name need not be cached yet.
  virtual Result<void> SetPinned(std::string_view name, bool pinned) = 0;
  virtual bool IsPinned(std::string_view name) = 0;
  virtual std::vector<std::string> Pins() = 0;  // sorted

  // Has what is cached of it read from disk and compared, soon: see ImageStatus::scrub. kNotFound: nothing is.
  virtual Result<void> Scrub(std::string_view name) = 0;
  virtual uint64_t ScrubAll() = 0;  // how many images

  // The queue of images to be cached on request. Durable when the call returns. Enqueueing what is complete does nothing.
  // `now`: it goes first; what is being cached waits and goes on afterwards where it stood.
  virtual Result<void> Enqueue(const ImageInfo& info, bool now = false) = 0;
  virtual Result<void> Dequeue(std::string_view name) = 0;  // kNotFound when not queued
  virtual void ClearQueue() = 0;
  virtual std::vector<QueueEntry> Queue() = 0;
  // Takes it off the queue and ends its fill, a background one too: that starts again with the next open. What is cached
  // stays. kNotFound: neither queued nor filling.
  virtual Result<void> CancelFill(std::string_view name) = 0;

  virtual CacheActivity Activity() = 0;
  virtual CacheStats Stats() = 0;
  virtual CacheLimits Limits() = 0;
  virtual void SetLimits(const CacheLimits& limits) = 0;

  // Everything written so far is durable when it returns.
  virtual Result<void> Checkpoint() = 0;

  // What a handler is told of; `text` is one line for people, `bytes` what it is about, where that means anything.
  enum class Event {
    kQueued,       // asked to be cached
    kCancelled,    // taken off the queue on request, or its fill stopped; text: which
    kCompleted,    // bytes: its size
    kVerified,     // likewise
    kSealed,
    kInvalidated,  // text: why
    kRemoved,      // text: RemovalName; bytes: disk bytes freed
    kDamaged,      // a chunk on disk was found bad; it is to be fetched again. Once for all that are found until kRepaired
    kRepaired,     // all that was found bad has been fetched again, and is good and on disk
    kChunkDropped, // the same, for each chunk: what others keep of its content is not to be trusted
    kFailed,       // a fetch or a fill failed; text: why
    kCannotAsk,    // the source could not be asked, after all retries, for whatever the cache wants of it; text: why
  };
  struct EventDetail {
    std::string text;
    uint64_t bytes = 0;
  };
  using EventHandler = std::function<void(Event, const ImageInfo&, const EventDetail&)>;
  // Called without locks, from any thread.
  // Once SetEventHandler returns no call of the handler before is under way; not to be called from one.
  virtual void SetEventHandler(EventHandler handler) = 0;
};

}  // namespace glintfs
