// Start, stop and what the catalogue and the file system ask. See cache_impl.h for the other parts.
//
// Opening is single flight: the first thread marks the entry as loading and reads its chunk set without the lock; others wait
// for it. They are FUSE workers waiting for one local read of the index, never for the source.
#include "fs/cache/cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <set>

#include "fs/base/log.h"
#include "fs/base/size_text.h"
#include "fs/cache/cache_impl.h"
#include "fs/cache/layout.h"

namespace glintfs {
namespace {

constexpr uint64_t kRowBlock = 1'000'000;          // row numbers promised ahead per index write
constexpr size_t kMaxPromisedRows = 200'000;

std::string RowKey(const ImageId& id) { return id.source + '\0' + id.name + '\0' + id.version; }

}  // namespace

std::string_view ImageStateName(ImageState state) {
  switch (state) {
    case ImageState::kAbsent: return "absent";
    case ImageState::kPartial: return "partial";
    case ImageState::kComplete: return "complete";
    case ImageState::kVerified: return "verified";
    case ImageState::kInvalid: return "invalid";
  }
  return "absent";
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
  std::vector<QueueRow> queue = std::move(content.queue);
  LoadRows(std::move(content));
  {
    MutexLock lock(mu_);
    sweep_below_ = next_row_;
    for (const QueueRow& row : queue) queued_.insert(row.name);
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
  fetches_ = std::make_unique<FetchQueue>(std::min(options_.fetch_threads, std::max(1, backend_.max_parallel_fetches())));
  fetches_->SetFillRate(Limits().fill_rate);
  verifier_ = std::make_unique<Verifier>(Verifier::Callbacks{
      .find_checksum = [this](CachedImage& image, std::stop_token stop) { return FindChecksum(image, stop); },
      .passed = [this](CachedImage& image) { VerifyPassed(image); },
      .failed = [this](CachedImage& image, std::string message) { VerifyFailed(image, message); }});
  queue_ = std::make_unique<CacheQueue>(
      CacheQueue::Callbacks{
          .store = [this](IndexBatch batch) { return index_->Apply(std::move(batch)); },
          .open = [this](const std::string& name, std::stop_token stop) -> Result<std::shared_ptr<CachedImage>> {
            GLINTFS_ASSIGN(const NameInfo info, backend_.Stat(name, stop));
            if (info.is_directory) return Error{Errc::kIsDirectory, name + " is a directory"};
            Supersede(info.image.id);
            Error error;
            if (auto image = Use(info.image, error)) return image;
            return error;
          },
          .completed = [this] { (void)Checkpoint(); },
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
  return {};
}

CacheImpl::~CacheImpl() {
  if (!janitor_.running()) return;  // Start failed
  {
    MutexLock lock(mu_);
    event_handler_ = nullptr;
  }
  queue_->Stop();
  verifier_->Stop();
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
  retries.clear();
  live.clear();
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  janitor_wake_.NotifyAll();
  janitor_.Join();  // writes the last checkpoint
  verifier_.reset();
  IndexBatch batch;
  {
    MutexLock lock(mu_);
    batch.next_row = next_row_;
  }
  Result<void> closed = index_->Apply(std::move(batch));
  if (closed) closed = index_->Close();
  if (!closed) LogWarn("the index was not closed cleanly: {}", closed.error().message);
}

Result<void> CacheImpl::LockDirectory() {
  const std::string path = options_.directory + "/" + layout::kLock;
  lock_file_.Reset(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock_file_.valid()) return ErrnoError(errno, "cache directory is not writable: " + path);
  if (::flock(lock_file_.get(), LOCK_EX | LOCK_NB) != 0) {
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
  IndexBatch duplicates;
  {
    MutexLock lock(mu_);
    next_row_ = content.next_row;
    for (std::string& name : content.pins) pins_.insert(std::move(name));
    for (ImageRow& row : content.images) {
      if (Entry* other = table_.Find(row.info.id)) {  // left by an end between removing an old row and storing its successor
        const RowId old = std::min(other->row.row, row.row);
        duplicates.remove_images.push_back(old);
        if (old == row.row) continue;
        table_.Remove(old);
      }
      Entry& entry = table_.Add(std::move(row));
      entry.stored = true;
    }
  }
  std::vector<std::tuple<RowId, uint64_t, std::string>> items;
  {
    MutexLock lock(mu_);
    for (const auto& [row, entry] : table_.all()) items.emplace_back(row, entry->row.disk_bytes, "");
  }
  // Least recently used first, as the budget wants them.
  {
    MutexLock lock(mu_);
    std::sort(items.begin(), items.end(), [this](const auto& a, const auto& b) REQUIRES(mu_) {
      return table_.Find(std::get<0>(a))->row.last_access < table_.Find(std::get<0>(b))->row.last_access;
    });
    for (auto& [row, bytes, name] : items)
      if (ProtectedLocked(table_.Find(row)->row.info.id.name)) name = "protected";
  }
  for (const auto& [row, bytes, name] : items) budget_.Add(row, bytes, !name.empty());
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
    const Entry* entry = name ? table_.Find(name->row) : nullptr;
    if (entry != nullptr && name->row >= below) return;
    if (entry == nullptr || entry->row.generation != name->generation || entry->row.info.size != found.size) {
      strange.push_back(found.path);
      return;
    }
    sound.insert(name->row);
    if (found.allocated > entry->row.disk_bytes) grown.emplace_back(name->row, found.allocated - entry->row.disk_bytes);
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
  RemoveImages(lost, Reason::kLost);
}

// ---------------------------------------------------------------------------------------------------- opening

RowId CacheImpl::RowFor(const ImageId& id) {
  MutexLock lock(mu_);
  return RowForLocked(id);
}

RowId CacheImpl::RowForLocked(const ImageId& id) {
  if (const Entry* entry = table_.Find(id)) return entry->row.row;
  if (promised_rows_.size() >= kMaxPromisedRows) promised_rows_.clear();
  auto [it, fresh] = promised_rows_.try_emplace(RowKey(id), next_row_);
  if (fresh) ++next_row_;
  return it->second;
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

Entry& CacheImpl::AddEntryLocked(const ImageInfo& info, RowId row) {
  promised_rows_.erase(RowKey(info.id));
  ImageRow fresh;
  fresh.row = row;
  fresh.info = info;
  return table_.Add(std::move(fresh));
}

Result<std::shared_ptr<CachedImage>> CacheImpl::OpenImage(const ImageInfo& info) {
  Error error;
  auto image = Use(info, error);
  if (!image) return error;
  const bool hit = image->progress().chunks_present > 0;
  {
    MutexLock lock(mu_);
    if (Entry* entry = table_.Find(image->row())) {
      entry->row.last_access = clock_.WallNow();
      entry->row.hits += hit ? 1 : 0;
      entry->changed = true;
    }
  }
  return Handle(std::move(image));
}

// A pointer that counts as an open handle while it lives.
std::shared_ptr<CachedImage> CacheImpl::Handle(std::shared_ptr<CachedImage> image) {
  image->open_handles.fetch_add(1);
  CachedImage* raw = image.get();
  return std::shared_ptr<CachedImage>(raw, [image = std::move(image)](CachedImage*) mutable {
    image->open_handles.fetch_sub(1);
    image.reset();
  });
}

std::shared_ptr<CachedImage> CacheImpl::Use(const ImageInfo& info, Error& error) {
  ImageRow row;
  bool stored = false;
  for (;;) {
    std::optional<bool> fresh;  // set when this thread is to load it
    bool is_protected = false;
    {
      MutexLock lock(mu_);
      Entry* entry = table_.Find(info.id);
      if (entry == nullptr) {
        entry = &AddEntryLocked(info, RowForLocked(info.id));
        fresh = true;
      }
      if (entry->row.verdict == Verdict::kFailed) {
        error = {Errc::kCorrupt, fmt::format("{} failed its checksum: {}; 'glintctl clean' removes it, then it is fetched "
                                             "anew", info.id.name, entry->row.error)};
        return nullptr;
      }
      if (auto image = entry->live.lock()) return image;
      if (entry->loading) {
        changed_.WaitFor(mu_, std::chrono::milliseconds(100));
        continue;
      }
      if (!fresh) fresh = false;
      entry->loading = true;
      is_protected = ProtectedLocked(info.id.name);
      row = entry->row;
      stored = entry->stored;
    }
    if (*fresh) {
      budget_.Add(row.row, 0, is_protected, true);
      break;
    }
    if (budget_.Acquire(row.row)) break;
    // It is being evicted: the entry goes in a moment, and a new one takes its place.
    MutexLock lock(mu_);
    if (Entry* entry = table_.Find(row.row)) entry->loading = false;
    changed_.WaitFor(mu_, std::chrono::milliseconds(20));
  }
  auto image = Load(row, stored);
  {
    MutexLock lock(mu_);
    Entry* entry = table_.Find(row.row);
    assert(entry != nullptr);  // in use since Acquire: nobody removes it
    entry->live = image;
    entry->loading = false;
  }
  changed_.NotifyAll();
  if (image->chunks() == 0 && !stored) image->StoreEmpty();
  return image;
}

// Whatever of the stored state cannot be read is as good as absent.
std::shared_ptr<CachedImage> CacheImpl::Load(const ImageRow& row, bool stored) {
  CachedImage::Stored state;
  state.generation = row.generation;
  state.suspect = row.suspect;
  if (stored) {
    auto file = storage_->Open(layout::DataPath(row.row, row.generation), row.info.size);
    if (file) {
      state.file = std::move(*file);
      if (auto segments = index_->LoadSegments(row.row))
        state.segments = std::move(*segments);
      else
        LogWarn("{}: its chunk set cannot be read ({}): it is fetched anew", row.info.id.name, segments.error().message);
    } else {
      LogWarn("{}: its data file cannot be used ({}): it is fetched anew", row.info.id.name, file.error().message);
    }
  }
  return std::make_shared<CachedImage>(row.info, row.row, options_.chunk_size, *this, std::move(state));
}

// ---------------------------------------------------------------------------------------------------- names and versions

std::optional<ImageInfo> CacheImpl::FindNewest(std::string_view name) {
  MutexLock lock(mu_);
  const Entry* entry = table_.Newest(backend_.source(), name);
  return entry == nullptr ? std::nullopt : std::optional(entry->row.info);
}

std::vector<ListEntry> CacheImpl::NamesIn(std::string_view directory) {
  const std::string prefix = directory.empty() ? "" : std::string(directory) + "/";
  std::set<std::pair<std::string, bool>> names;
  {
    MutexLock lock(mu_);
    for (const auto& [row, entry] : table_.all()) {
      const std::string& name = entry->row.info.id.name;
      if (entry->invalid() || !name.starts_with(prefix) || entry->row.info.id.source != backend_.source()) continue;
      const std::string rest = name.substr(prefix.size());
      const size_t slash = rest.find('/');
      names.emplace(rest.substr(0, slash), slash != std::string::npos);
    }
  }
  std::vector<ListEntry> entries;
  for (const auto& [name, is_directory] : names) entries.push_back({name, is_directory});
  return entries;
}

void CacheImpl::RetireLocked(Entry& entry, std::vector<ImageInfo>& retired) {
  if (entry.row.superseded) return;
  entry.row.superseded = true;
  entry.changed = true;
  retired.push_back(entry.row.info);
}

void CacheImpl::Supersede(const ImageId& current) {
  std::vector<ImageInfo> retired;
  {
    MutexLock lock(mu_);
    for (Entry* entry : table_.Versions(current.source, current.name)) {
      if (entry->row.info.id == current) {
        if (entry->row.superseded) entry->changed = true;  // the source went back to it
        entry->row.superseded = false;
      } else {
        RetireLocked(*entry, retired);
      }
    }
  }
  Announce(Event::kInvalidated, retired);
}

void CacheImpl::Gone(std::string_view name) {
  std::vector<ImageInfo> retired;
  {
    MutexLock lock(mu_);
    for (Entry* entry : table_.Versions(backend_.source(), name)) RetireLocked(*entry, retired);
  }
  Announce(Event::kInvalidated, retired);
}

void CacheImpl::SetEventHandler(std::function<void(Event, const ImageInfo&)> handler) {
  MutexLock lock(mu_);
  event_handler_ = std::move(handler);
}

void CacheImpl::Announce(Event event, const ImageInfo& info) {
  std::function<void(Event, const ImageInfo&)> handler;
  {
    MutexLock lock(mu_);
    handler = event_handler_;
  }
  if (handler) handler(event, info);
}

void CacheImpl::Announce(Event event, const std::vector<ImageInfo>& infos) {
  for (const ImageInfo& info : infos) Announce(event, info);
}

}  // namespace glintfs
