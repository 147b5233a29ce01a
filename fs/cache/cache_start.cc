// Start and stop. A cache starts with one query; the data directory is walked at once only after an unclean end, when it may
// hold bytes that the index does not know and that would otherwise not be counted.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "fs/base/log.h"
#include "fs/base/size_text.h"
#include "fs/cache/cache_impl.h"
#include "fs/cache/layout.h"

namespace glintfs {
namespace {
constexpr Nanos kLockPatience = std::chrono::seconds(2);
constexpr uint64_t kRowBlock = 1'000'000;  // row numbers promised ahead per index write
}

Result<std::unique_ptr<Cache>> Cache::Open(CacheOptions options, Backend& backend, Clock& clock,
                                           std::unique_ptr<Storage> storage) {
  auto cache = std::make_unique<CacheImpl>(std::move(options), backend, clock, std::move(storage));
  GLINTFS_TRY(cache->Start());
  return std::unique_ptr<Cache>(std::move(cache));
}

CacheImpl::CacheImpl(CacheOptions options, Backend& backend, Clock& clock, std::unique_ptr<Storage> storage)
    : options_(std::move(options)),
      backend_(backend),
      clock_(clock),
      storage_(std::move(storage)),
      budget_({.max_bytes = options_.limits.max_size, .low_mark = options_.limits.low_mark}),
      max_size_(options_.limits.max_size),
      fill_rate_(options_.limits.fill_rate),
      limits_(options_.limits) {}

Result<void> CacheImpl::Start() {
  GLINTFS_TRY(LockDirectory());
  GLINTFS_TRY(CheckWritable());
  if (!storage_) {
    GLINTFS_ASSIGN(storage_, OpenPosixStorage(options_.directory));
  }
  IndexContent content;
  GLINTFS_ASSIGN(index_, Index::Open(options_.directory + "/" + layout::kIndex, options_.chunk_size, content));
  if (!content.note.empty()) LogWarn("{}", content.note);
  const bool clean = content.clean;
  std::vector<QueueRow> queue = content.queue;
  LoadRows(std::move(content));
  {
    MutexLock lock(mu_);
    sweep_below_ = next_row_;
  }
  // After an unclean end the data directory may hold bytes the index does not know: count and remove them before anything
  // is added. After a clean one this can wait for the janitor.
  if (clean) {
    sweep_pending_ = true;
  } else {
    LogInfo("the cache was not closed cleanly: checking for leftovers; each old chunk is checked before its first use");
    Sweep(sweep_below_);
  }
  ReserveRows();
  UpdateHeadroom();
  if (budget_.OverLimit()) {  // max_size was lowered
    const PruneResult pruned = PruneFor(std::nullopt, false, Removal::kLimit);
    LogInfo("over the limit at start: {} images ({}) evicted", pruned.files, FormatSize(pruned.bytes));
  }
  StartWorkers(std::move(queue));
  return {};
}

void CacheImpl::StartWorkers(std::vector<QueueRow> queue) {
  fetches_ = std::make_unique<FetchQueue>(std::min(options_.fetch_threads, std::max(1, backend_.max_parallel_fetches())));
  fetches_->SetFillRate(Limits().fill_rate);
  verifier_ = std::make_unique<Verifier>(Verifier::Callbacks{
      .find_checksum = [this](CachedImage& image, std::stop_token stop) { return FindChecksum(image, stop); },
      .passed = [this](CachedImage& image) { VerifyPassed(image); },
      .failed = [this](CachedImage& image, std::string message) { VerifyFailed(image, message); }});
  scrubber_ = std::make_unique<Scrubber>(
      Scrubber::Callbacks{
          .use = [this](const ImageInfo& info) { return UseForScrub(info); },
          .find_checksum = [this](const ImageInfo& info, std::stop_token stop) { return ChecksumForScrub(info, stop); },
          .passed = [this](CachedImage& image) { VerifyPassed(image); },
          .failed = [this](CachedImage& image, std::string message) { VerifyFailed(image, message); },
          .replace = [this](const ImageId& id) { return ReplaceScrubbed(id); }},
      clock_);
  queue_ = std::make_unique<CacheQueue>(
      CacheQueue::Callbacks{
          .store = [this](IndexBatch batch) { return index_->Apply(std::move(batch)); },
          .open = [this](const std::string& name, std::stop_token stop) -> Result<std::shared_ptr<CachedImage>> {
            GLINTFS_ASSIGN(const NameInfo info, AskFor(name, stop));
            if (info.is_directory) return Error{Errc::kIsDirectory, name + " is a directory"};
            Supersede(info.image.id);
            Error error;
            if (auto image = Use(info.image, error)) return image;
            return error;
          },
          .completed = [this] { (void)Checkpoint(); },
          .gave_up =
              [this](const std::string& name, const Error& error) {
                Announce(Event::kFailed, NamedOnly(name), {"taken off the queue: " + error.ToString(), 0});
              },
          .protect =
              [this](const std::string& name, bool queued) {
                {
                  MutexLock lock(mu_);
                  if (queued) queued_.insert(name); else queued_.erase(name);
                }
                UpdateProtection(name);
              }},
      clock_, std::move(queue));
  queue_->Start();
  janitor_ = Thread("janitor", [this](std::stop_token stop) { RunJanitor(stop); });
}

CacheImpl::~CacheImpl() {
  if (!janitor_.running()) return;  // Start failed
  {
    MutexLock lock(mu_);
    event_handler_ = nullptr;
  }
  queue_->Stop();
  verifier_->Stop();
  scrubber_->Stop();
  std::vector<std::shared_ptr<CachedImage>> live;
  std::unordered_map<RowId, Retry> retries;
  {
    MutexLock lock(mu_);
    for (auto& [row, entry] : table_.all())
      if (auto image = entry->live.lock()) live.push_back(std::move(image));
    retries.swap(retries_);
  }
  for (const auto& image : live) image->Abort({Errc::kCancelled, "glintfs is stopping"});
  fetches_->Stop();
  for (const auto& image : live) image->DropFlights();
  retries.clear();
  live.clear();
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  janitor_wake_.NotifyAll();
  janitor_.Join();  // writes the last checkpoint
  verifier_.reset();
  scrubber_.reset();
  CloseIndex();
}

// The end counts as clean only if everything is in the index: else the next start has to look at what lies on the disk before
// it adds to it.
void CacheImpl::CloseIndex() {
  IndexBatch batch;
  Result<void> closed;
  {
    MutexLock lock(mu_);
    batch.next_row = next_row_;
    closed = last_checkpoint_;
  }
  if (closed) closed = index_->Apply(std::move(batch));
  if (closed) closed = index_->Close();
  if (!closed) LogWarn("the cache is not closed cleanly: {}", closed.error().message);
}

Result<void> CacheImpl::LockDirectory() {
  const std::string path = options_.directory + "/" + layout::kLock;
  lock_file_.Reset(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock_file_.valid()) return ErrnoError(errno, "cache directory is not writable: " + path);
  // umount(8) is back before the daemon has written its last checkpoint.
  bool locked = false;
  for (const Nanos give_up = Clock::System().Now() + kLockPatience; !locked;) {
    locked = ::flock(lock_file_.get(), LOCK_EX | LOCK_NB) == 0;
    if (locked || Clock::System().Now() >= give_up) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  if (!locked) {
    char pid[32] = {};
    if (::pread(lock_file_.get(), pid, sizeof(pid) - 1, 0) <= 0) pid[0] = '?';
    std::string text(pid);
    text.erase(text.find_last_not_of('\n') + 1);
    return Error{Errc::kBusy, fmt::format("cache directory {} is in use by another glintfs (pid {}): give this mount its "
                                          "own with -o cache=DIR", options_.directory, text)};
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(lock_file_.get(), 0) != 0 || ::pwrite(lock_file_.get(), pid.data(), pid.size(), 0) < 0)
    return ErrnoError(errno, "cache directory is not writable: " + path);
  return {};
}

Result<void> CacheImpl::CheckWritable() {
  const std::string data = options_.directory + "/" + layout::kData;
  if (::mkdir(data.c_str(), 0700) != 0 && errno != EEXIST)
    return ErrnoError(errno, "cache directory is not writable: " + data);
  if (::access(data.c_str(), W_OK | X_OK) != 0) return ErrnoError(errno, "cache directory is not writable: " + data);
  return {};
}

void CacheImpl::LoadRows(IndexContent content) {
  struct Item {
    RowId row;
    uint64_t bytes;
    bool is_protected;
  };
  std::vector<Item> items;  // least recently used first, as the index gives them and the budget wants them
  IndexBatch duplicates;
  {
    MutexLock lock(mu_);
    next_row_ = content.next_row;
    for (std::string& name : content.pins) pins_.insert(std::move(name));
    aliases_.Load(std::move(content.aliases));
    for (const QueueRow& row : content.queue) queued_.insert(row.name);
    std::vector<RowId> order;
    for (ImageRow& row : content.images) {
      if (Entry* other = table_.Find(row.info.id)) {  // left by an end between removing an old row and storing its successor
        const RowId old = std::min(other->row.row, row.row);
        duplicates.remove_images.push_back(old);
        if (old == row.row) continue;
        table_.Remove(old);
      }
      order.push_back(row.row);
      const bool complete = row.chunks_present == ChunksOf(row.info.size);
      Entry& entry = table_.Add(std::move(row));
      entry.stored = true;
      entry.complete_at_start = complete;
    }
    for (const RowId row : order)
      if (const Entry* entry = table_.Find(row))
        items.push_back({row, entry->row.disk_bytes, ProtectedLocked(entry->row.info.id.name)});
  }
  for (const Item& item : items) budget_.Add(item.row, item.bytes, item.is_protected);
  if (auto applied = index_->Apply(std::move(duplicates)); !applied) LogWarn("{}", applied.error().message);
}

// Files without a row, rows without their file, files of the wrong size: removed. Rows from `below` on are new since start.
void CacheImpl::Sweep(RowId below) {
  std::vector<std::string> strange;
  std::unordered_set<RowId> sound;
  std::vector<std::pair<RowId, uint64_t>> grown;
  const auto walked = storage_->Walk(layout::kData, [&](const Storage::Found& found) {
    const auto name = layout::ParseDataPath(found.path);
    MutexLock lock(mu_);
    Entry* entry = name ? table_.Find(name->row) : nullptr;
    if (entry != nullptr && name->row >= below) return;
    if (entry == nullptr || entry->row.generation != name->generation || entry->row.info.size != found.size) {
      strange.push_back(found.path);
      return;
    }
    sound.insert(name->row);
    // Only after an unclean end, when nothing was added yet: what an open image has grown by since the start is counted.
    if (sweep_pending_ || found.allocated <= entry->row.disk_bytes) return;
    grown.emplace_back(name->row, found.allocated - entry->row.disk_bytes);
    entry->row.disk_bytes = found.allocated;
    entry->changed = true;
  });
  if (!walked) {
    LogWarn("cannot look for leftovers: {}", walked.error().message);
    return;
  }
  std::vector<RowId> lost;
  {
    MutexLock lock(mu_);
    for (const auto& [row, entry] : table_.all())
      if (row < below && entry->stored && !sound.contains(row) && entry->live.expired() && !entry->loading) lost.push_back(row);
  }
  for (const std::string& path : strange) {
    LogWarn("removing leftover {}: no image in the index has this file", path);
    if (auto removed = storage_->Remove(path); !removed && removed.error().code != Errc::kNotFound)
      LogWarn("{}", removed.error().message);
  }
  for (const auto& [row, bytes] : grown) budget_.Grow(row, bytes);
  std::erase_if(lost, [this](RowId row) { return !budget_.ChooseVictim(row, true); });
  RemoveImages(lost, Removal::kLost);
}

// Row numbers are promised in blocks, stored before the first of a block is used, so that none is ever given twice.
void CacheImpl::ReserveRows() {
  IndexBatch batch;
  {
    MutexLock lock(mu_);
    if (next_row_ + kRowBlock / 2 < rows_stored_below_) return;
    rows_stored_below_ = next_row_ + kRowBlock;
    batch.next_row = rows_stored_below_;
  }
  if (auto stored = index_->Apply(std::move(batch)); !stored) LogWarn("{}", stored.error().message);
}

}  // namespace glintfs
