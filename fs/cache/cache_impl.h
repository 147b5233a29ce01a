// CacheImpl: the parts of the cache put together. Included by the cache_*.cc files and janitor.cc only.
//
//   cache_start.cc  start and stop
//   cache.cc        what the catalogue and the file system ask
//   cache_sealed.cc complete images that are read past this process
//   cache_host.cc   what CachedImage asks (ImageHost): room, files, fill retries, checksums
//   cache_admin.cc  what operators ask: evict, prune, clean, queue, pins, limits
//   cache_status.cc what operators see: images, figures, what is being fetched
//   cache_scrub.cc  images reread from disk on request
//   janitor.cc      the clock-driven part: checkpoints, limits, cleaning, retries
#pragma once

#include <set>
#include <unordered_set>

#include "fs/base/mutex.h"
#include "fs/base/thread.h"
#include "fs/base/unique_fd.h"
#include "fs/cache/aliases.h"
#include "fs/cache/budget.h"
#include "fs/cache/cache.h"
#include "fs/cache/cache_queue.h"
#include "fs/cache/cached_image.h"
#include "fs/cache/fetch_queue.h"
#include "fs/cache/image_host.h"
#include "fs/cache/image_table.h"
#include "fs/cache/index.h"
#include "fs/cache/scrubber.h"
#include "fs/cache/sealed_image.h"
#include "fs/cache/verifier.h"

namespace glintfs {

// Does this error of Storage::Open mean that the data file is missing or not what it was? If not, it is to be left alone.
inline bool TellsOfTheFile(Errc code) { return code == Errc::kNotFound || code == Errc::kCorrupt; }

class CacheImpl final : public Cache, public ImageHost {
 public:
  CacheImpl(CacheOptions options, Backend& backend, Clock& clock, std::unique_ptr<Storage> storage);
  ~CacheImpl() override;
  Result<void> Start();

  // Cache: the catalogue and the file system
  RowId RowFor(const ImageId& id) override;
  Result<std::shared_ptr<CachedImage>> OpenImage(const ImageInfo& info) override;
  void SetAlias(std::string_view alias, std::string_view own_name) override;
  std::string OwnName(std::string_view name) override;
  std::vector<std::string> AliasesOf(std::string_view own_name) override;
  std::optional<ImageInfo> FindNewest(std::string_view name) override;
  std::vector<ListEntry> NamesIn(std::string_view directory) override;
  std::optional<RowId> SealedRow(const ImageId& id) override;
  Result<OpenedSealed> OpenSealed(RowId row) override;
  void SealedOpened(RowId row) override;
  void SealedClosed(RowId row) override;
  void Supersede(const ImageId& current) override;
  void Gone(std::string_view name) override;
  ImageStatus StatusOf(const ImageInfo& info) override;
  std::optional<ImageStatus> StatusOf(std::string_view name) override;
  std::vector<ImageStatus> List() override;

  // Cache: operators
  Result<void> Evict(std::string_view name) override;
  PruneResult Prune(std::optional<uint64_t> target, bool dry_run) override;
  PruneResult Clear() override;
  PruneResult Clean() override;
  Result<void> SetPinned(std::string_view name, bool pinned) override;
  std::vector<std::string> Pins() override;
  bool IsPinned(std::string_view name) override;
  Result<void> Scrub(std::string_view name) override;
  uint64_t ScrubAll() override;
  Result<void> Enqueue(const ImageInfo& info, bool now) override;
  Result<void> CancelFill(std::string_view name) override;
  CacheActivity Activity() override;
  Result<void> Dequeue(std::string_view name) override;
  void ClearQueue() override;
  std::vector<QueueEntry> Queue() override { return queue_->List(); }
  CacheStats Stats() override;
  CacheLimits Limits() override;
  void SetLimits(const CacheLimits& limits) override;
  Result<void> Checkpoint() override;
  void SetEventHandler(EventHandler handler) override;

  // ImageHost
  Clock& clock() override { return clock_; }
  CacheCounters& counters() override { return counters_; }
  void Enqueue(std::shared_ptr<Flight> flight) override { fetches_->Enqueue(std::move(flight)); }
  void Requeue(const std::shared_ptr<Flight>& flight) override { fetches_->Requeue(flight); }
  Nanos Pace(const Flight& flight, uint64_t bytes, std::stop_token stop) override {
    return fetches_->Pace(flight, bytes, std::move(stop));
  }
  Result<std::shared_ptr<ImageReader>> OpenReader(const ImageInfo& image, std::stop_token stop) override;
  Result<std::shared_ptr<File>> CreateFile(RowId row, uint64_t size, uint32_t& generation) override;
  bool Reserve(RowId row, uint64_t bytes) override;
  void Settle(RowId row, uint64_t bytes, bool stored) override { budget_.Settle(row, bytes, stored); }
  void StorageFailed(const Error& error) override;
  bool StorageUsable() override;
  bool MayFill(uint64_t size) const override;
  uint64_t ChunksOf(uint64_t size) const { return (size + options_.chunk_size - 1) / options_.chunk_size; }
  bool Fits(uint64_t size) const { return max_size_ == 0 || size <= max_size_; }
  int MaxFillFlights() const override;
  uint64_t FillExtentBytes() const override;
  void OnDirty(std::shared_ptr<CachedImage> image) override;
  void OnFillEnded(CachedImage& image, std::optional<Error> error) override;
  void OnFetchFailed(CachedImage& image, const Error& error) override;
  void OnStale(CachedImage& image) override;
  void OnDropped(RowId row, uint64_t chunk) override;
  void OnDestroyed(RowId row) override;

 private:
  struct Retry {
    std::shared_ptr<CachedImage> image;
    Nanos at{0};  // monotonic
    int tries = 0;
  };

  // Start and stop (cache_start.cc)
  Result<void> LockDirectory();
  void CloseIndex();
  Result<void> CheckWritable();
  void LoadRows(IndexContent content);
  void StartWorkers(std::vector<QueueRow> queue);
  void Sweep(RowId below);

  // Opening (cache.cc)
  std::shared_ptr<CachedImage> Use(const ImageInfo& info, Error& error, bool touch = true);
  std::shared_ptr<CachedImage> Load(const ImageRow& row, bool stored);
  std::shared_ptr<CachedImage> Handle(std::shared_ptr<CachedImage> image);
  Entry& AddEntryLocked(const ImageInfo& info, RowId row) REQUIRES(mu_);
  void RetireLocked(Entry& entry, std::vector<ImageInfo>& retired) REQUIRES(mu_);
  void Announce(Event event, const ImageInfo& info, EventDetail detail = {});
  // For events about a name whose version is not known.
  ImageInfo NamedOnly(std::string_view name) const { return {.id = {backend_.source(), std::string(name), ""}, .size = 0, .mtime = {}}; }
  void TellSuperseded(const std::vector<ImageInfo>& retired);
  // Everything the cache asks the source ends here when it failed for good: others may want to know that it is in trouble.
  void NoteFailedQuestion(const ImageInfo& info, const Error& error);
  Result<NameInfo> AskFor(const std::string& name, std::stop_token stop);  // Stat
  Result<std::optional<Checksum>> AskChecksum(const ImageInfo& info, std::stop_token stop);
  RowId RowForLocked(const ImageId& id) REQUIRES(mu_);
  ImageStatus StatusLocked(const Entry& entry) REQUIRES(mu_);
  void AddLive(ImageStatus& status, const std::shared_ptr<CachedImage>& live);
  void CountImages(CacheStats& stats);  // and what is told of them under the same lock

  // Sealed images (cache_sealed.cc)
  bool SealedLocked(const Entry& entry) const REQUIRES(mu_);
  void NoteOpenLocked(Entry& entry, bool hit) REQUIRES(mu_);
  void AnnounceSealed(RowId row);
  bool MarkDamaged(RowId row);
  void Replace(RowId row);
  void RemoveDamaged();
  void TellRepaired(CachedImage& image, bool completed);

  // Removing (cache_admin.cc). REQUIRES: the rows were chosen as victims of the budget.
  PruneResult RemoveImages(const std::vector<RowId>& rows, Removal reason);
  PruneResult PruneFor(std::optional<uint64_t> target, bool dry_run, Removal reason);
  Result<void> EvictVersion(RowId row, std::string_view name, Removal reason, PruneResult& result);
  // Images that nobody has open, wants or keeps, and that are in use only for they fill in the background, or will again; least
  // recently used first.
  struct IdleFill {
    std::shared_ptr<CachedImage> image;
    Nanos last_access{0};
  };
  std::vector<IdleFill> IdleFills();
  void StopIdleFillFor(RowId row);
  void ForgetRetry(RowId row);
  bool ProtectedLocked(std::string_view name) const REQUIRES(mu_);
  void UpdateProtection(std::string_view name);

  // Scrubbing (cache_scrub.cc)
  bool ReplaceScrubbed(const ImageId& id);
  Result<std::shared_ptr<CachedImage>> UseForScrub(const ImageInfo& info);
  std::optional<Checksum> ChecksumForScrub(const ImageInfo& info, std::stop_token stop);

  // Verification (cache_host.cc)
  std::optional<Checksum> FindChecksum(CachedImage& image, std::stop_token stop);
  void VerifyPassed(CachedImage& image);
  void VerifyFailed(CachedImage& image, const std::string& message);

  // The janitor's thread (janitor.cc)
  void RunJanitor(std::stop_token stop);
  void Tick();
  void ProbeStorage();
  Result<void> CheckpointNow();
  std::vector<std::shared_ptr<CachedImage>> TakeDirtyImages();
  void NoteCheckpointed(const std::shared_ptr<CachedImage>& image);
  void UpdateHeadroom();
  void RetryFills();
  void VerifyLeftOver();
  void ReserveRows();

  const CacheOptions options_;
  Backend& backend_;
  Clock& clock_;
  std::unique_ptr<Storage> storage_;
  UniqueFd lock_file_;
  CacheCounters counters_;
  Budget budget_;
  std::unique_ptr<Index> index_;
  std::unique_ptr<FetchQueue> fetches_;
  std::unique_ptr<Verifier> verifier_;
  std::unique_ptr<Scrubber> scrubber_;
  std::unique_ptr<CacheQueue> queue_;

  std::atomic<uint64_t> wanted_room_{0};         // bytes that the last Reserve could not have; 0: it could
  std::atomic<uint64_t> max_size_, fill_rate_;  // copies from limits_, for calls under an image's lock

  Mutex mu_;
  CondVar changed_;  // an entry was loaded, removed or let go
  ImageTable table_ GUARDED_BY(mu_);
  std::unordered_map<std::string, RowId> promised_rows_ GUARDED_BY(mu_);  // RowFor, for images without an entry
  RowId next_row_ GUARDED_BY(mu_) = 1;
  RowId rows_stored_below_ GUARDED_BY(mu_) = 1;
  std::unordered_set<std::string> pins_ GUARDED_BY(mu_);
  Aliases aliases_ GUARDED_BY(mu_);
  std::unordered_set<std::string> queued_ GUARDED_BY(mu_);
  CacheLimits limits_ GUARDED_BY(mu_);
  std::vector<std::shared_ptr<CachedImage>> dirty_ GUARDED_BY(mu_);
  Nanos first_dirty_at_ GUARDED_BY(mu_){0};  // when dirty_ ceased to be empty; real time
  std::unordered_map<RowId, Retry> retries_ GUARDED_BY(mu_);
  std::unordered_set<RowId> damaged_ GUARDED_BY(mu_);  // to be removed once they are not in use
  std::unordered_map<RowId, std::set<uint64_t>> bad_chunks_ GUARDED_BY(mu_);  // found, told, and not back yet
  std::unordered_set<std::string> replaced_ GUARDED_BY(mu_);  // keys of images removed as damaged and not complete again yet
  std::string storage_error_ GUARDED_BY(mu_);
  Nanos storage_retry_at_ GUARDED_BY(mu_){0};
  Nanos next_idle_stop_ GUARDED_BY(mu_){0};  // real time
  EventHandler event_handler_ GUARDED_BY(mu_);
  int announcing_ GUARDED_BY(mu_) = 0;  // calls of it that are under way
  // Janitor
  bool stopping_ GUARDED_BY(mu_) = false;
  bool kicked_ GUARDED_BY(mu_) = false;
  uint64_t checkpoints_asked_ GUARDED_BY(mu_) = 0;
  uint64_t checkpoints_done_ GUARDED_BY(mu_) = 0;
  Result<void> last_checkpoint_ GUARDED_BY(mu_);
  CondVar janitor_wake_, checkpoint_done_;
  bool sweep_pending_ = false;  // the janitor's, after start
  RowId sweep_below_ = 0;
  Nanos next_clean_ GUARDED_BY(mu_){0};  // monotonic
  Nanos next_touch_ GUARDED_BY(mu_){0};
  Nanos next_trim_ GUARDED_BY(mu_){0};
  Thread janitor_;
};

}  // namespace glintfs
