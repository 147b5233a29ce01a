// What CachedImage asks of its cache: room, files, fill retries, the end of a life; and the verdicts of the verifier.
#include <algorithm>

#include "fs/base/log.h"
#include "fs/base/size_text.h"
#include "fs/cache/cache_impl.h"
#include "fs/cache/layout.h"

namespace glintfs {
namespace {

constexpr uint64_t kFillExtent = 8 << 20;
constexpr Nanos kStorageRetry = std::chrono::seconds(10);
constexpr Nanos kIdleStopInterval = std::chrono::seconds(2);  // until what stopped can have been evicted
constexpr int kMaxFillRetries = 20;  // about 15 minutes; a read starts over after that

bool IsCannotAsk(Errc code) { return code == Errc::kUnavailable || code == Errc::kTimedOut; }

// Disk blocks a file takes beyond its data: the inode's extent tree (ext4: 340 extents a 4 KiB block).
uint64_t FileOverhead(uint64_t size, uint64_t chunk_size) { return 4096 * (1 + size / chunk_size / 340); }

}  // namespace

Result<std::shared_ptr<ImageReader>> CacheImpl::OpenReader(const ImageInfo& image, std::stop_token stop) {
  GLINTFS_ASSIGN(auto reader, backend_.Open(image, std::move(stop)));
  return std::shared_ptr<ImageReader>(std::move(reader));
}

Result<std::shared_ptr<File>> CacheImpl::CreateFile(RowId row, uint64_t size, uint32_t& generation) {
  const uint64_t overhead = FileOverhead(size, options_.chunk_size);
  if (!Reserve(row, overhead)) return Error{Errc::kNoSpace, "the cache is full and nothing can be evicted"};
  {
    MutexLock lock(mu_);
    Entry* entry = table_.Find(row);
    if (entry != nullptr) generation = ++entry->row.generation;
  }
  if (generation == 0) {
    budget_.Settle(row, overhead, false);
    return Error{Errc::kCancelled, "the image was removed"};
  }
  auto file = storage_->Create(layout::DataPath(row, generation), size);
  budget_.Settle(row, overhead, file.has_value());
  if (!file) {
    StorageFailed(file.error());
    return file.error();
  }
  return std::shared_ptr<File>(std::move(*file));
}

bool CacheImpl::Reserve(RowId row, uint64_t bytes) {
  const bool reserved = budget_.Reserve(row, bytes, [this](const std::vector<Budget::Victim>& victims) {
    std::vector<RowId> rows;
    for (const Budget::Victim& victim : victims) rows.push_back(victim.row);
    RemoveImages(rows, Removal::kRoom);
  });
  if (!reserved) {
    wanted_room_ = bytes;
    StopIdleFillFor(row);
  } else if (wanted_room_.load(std::memory_order_relaxed) != 0) {
    wanted_room_ = 0;
  }
  return reserved;
}

// Two images that fill in the background, none of them whole, would have all room in use for ever. What somebody reads or has
// queued comes first: one of the others gives way at a time, and is evicted by the next Reserve but one. Nobody waits for it.
void CacheImpl::StopIdleFillFor(RowId row) {
  {
    std::shared_ptr<CachedImage> live;  // let go without the lock
    MutexLock lock(mu_);
    const Nanos now = Clock::System().Now();
    const Entry* entry = table_.Find(row);
    if (entry == nullptr || now < next_idle_stop_) return;
    live = entry->live.lock();
    const bool read = live && live->open_handles.load() > 0;
    if (!read && !queued_.contains(entry->row.info.id.name)) return;
    next_idle_stop_ = now + kIdleStopInterval;
  }
  for (const IdleFill& idle : IdleFills()) {
    if (idle.image->row() == row) continue;
    LogInfo("{}: its fill in the background stops, others need the room", idle.image->info().id.name);
    ForgetRetry(idle.image->row());
    idle.image->StopFetching();
    MutexLock lock(mu_);
    kicked_ = true;  // a checkpoint lets go of it
    janitor_wake_.NotifyAll();
    return;
  }
}

std::vector<CacheImpl::IdleFill> CacheImpl::IdleFills() {
  std::vector<IdleFill> idle;
  std::unordered_set<RowId> waiting;  // for their next try
  {
    MutexLock lock(mu_);
    for (const auto& [row, retry] : retries_)
      if (retry.image) waiting.insert(row);
    for (const auto& [row, entry] : table_.all()) {
      if (entry->sealed_opens > 0 || ProtectedLocked(entry->row.info.id.name)) continue;
      if (auto live = entry->live.lock()) idle.push_back({std::move(live), entry->row.last_access});
    }
  }
  std::erase_if(idle, [&waiting](const IdleFill& fill) {
    return fill.image->open_handles.load() > 0 || (!fill.image->filling() && !waiting.contains(fill.image->row()));
  });
  std::sort(idle.begin(), idle.end(), [](const IdleFill& a, const IdleFill& b) { return a.last_access < b.last_access; });
  return idle;
}

void CacheImpl::ForgetRetry(RowId row) {
  std::shared_ptr<CachedImage> forgotten;  // let go without the lock
  MutexLock lock(mu_);
  if (const auto it = retries_.find(row); it != retries_.end()) {
    forgotten = std::move(it->second.image);
    retries_.erase(it);
  }
}

void CacheImpl::StorageFailed(const Error& error) {
  ++counters_.storage_errors;
  bool fresh;
  {
    MutexLock lock(mu_);
    fresh = storage_error_.empty();
    storage_error_ = error.message;
    storage_retry_at_ = clock_.Now() + kStorageRetry;
  }
  if (fresh) LogError("the cache cannot store: {}; reads go on past it, next try in {}", error.message,
                      FormatDuration(kStorageRetry));
}

bool CacheImpl::StorageUsable() {
  bool recovered = false;
  {
    MutexLock lock(mu_);
    if (storage_error_.empty()) return true;
    if (clock_.Now() < storage_retry_at_) return false;
    recovered = true;
    storage_error_.clear();
  }
  if (recovered) LogInfo("trying to store in the cache again");
  return true;
}

// Without it a disk that works again would be noticed only with the next byte to store.
void CacheImpl::ProbeStorage() {
  {
    MutexLock lock(mu_);
    if (storage_error_.empty() || clock_.Now() < storage_retry_at_) return;
  }
  const std::vector<std::byte> block(4096, std::byte{1});
  const std::string path = std::string(layout::kData) + "/probe";
  const auto tried = [&]() -> Result<void> {
    GLINTFS_ASSIGN(const auto file, storage_->Create(path, block.size()));
    GLINTFS_TRY(file->WriteAt(block, 0));
    return file->Sync();
  }();
  (void)storage_->Remove(path);
  if (!tried) return StorageFailed(tried.error());
  {
    MutexLock lock(mu_);
    storage_error_.clear();
  }
  LogInfo("the cache can store again");
}

bool CacheImpl::MayFill(uint64_t size) const {
  return options_.fill == FillMode::kFull && Fits(size);
}

int CacheImpl::MaxFillFlights() const {
  const int workers = std::min(options_.fetch_threads, std::max(1, backend_.max_parallel_fetches()));
  return fill_rate_ != 0 ? 2 : std::max(1, workers - std::max(1, workers / 4));
}

// Under a rate limit an extent is what the limit lets through in a few seconds, so that a connection is not held for minutes.
uint64_t CacheImpl::FillExtentBytes() const {
  const uint64_t rate = fill_rate_;
  return rate == 0 ? kFillExtent : std::clamp<uint64_t>(rate * 4, options_.chunk_size, kFillExtent);
}

void CacheImpl::OnDirty(std::shared_ptr<CachedImage> image) {
  bool consider = false;
  {
    MutexLock lock(mu_);
    if (Entry* entry = table_.Find(image->row())) {
      consider = entry->row.verdict == Verdict::kUnknown || entry->row.verdict == Verdict::kPending;
      entry->row.last_progress = clock_.WallNow();
    }
    if (dirty_.empty()) first_dirty_at_ = Clock::System().Now();
    dirty_.push_back(image);
  }
  if (consider) verifier_->Consider(image);
}

void CacheImpl::OnFillEnded(CachedImage& image, std::optional<Error> error) {
  queue_->OnFillEnded(image.row(), error);
  Nanos delay{0};
  std::shared_ptr<CachedImage> done;  // destroyed without the lock
  {
    MutexLock lock(mu_);
    if (!error) {
      kicked_ = true;
      if (auto it = retries_.find(image.row()); it != retries_.end()) {
        done = std::move(it->second.image);
        retries_.erase(it);
      }
    } else if (!stopping_ && options_.fill == FillMode::kFull && !queued_.contains(image.info().id.name) &&
               (IsCannotAsk(error->code) || error->code == Errc::kIo)) {
      Retry& retry = retries_[image.row()];
      if (++retry.tries <= kMaxFillRetries) {
        retry.image = image.shared_from_this();
        delay = std::chrono::seconds(std::min(60, 1 << std::min(retry.tries - 1, 6)));
        retry.at = clock_.Now() + delay;
      } else {
        done = std::move(retry.image);
        retries_.erase(image.row());
      }
    }
  }
  if (error) NoteFailedQuestion(image.info(), *error);
  if (!error) {
    janitor_wake_.NotifyAll();
  } else if (error->code != Errc::kCancelled) {
    LogWarn("{}: fill stopped: {}{}", image.info().id.name, error->ToString(),
            delay.count() > 0 ? "; next try in " + FormatDuration(delay) : "");
    Announce(Event::kFailed, image.info(), {"fill stopped: " + error->ToString(), 0});
  }
}

void CacheImpl::OnFetchFailed(CachedImage& image, const Error& error) {
  NoteFailedQuestion(image.info(), error);
  Announce(Event::kFailed, image.info(), {"a fetch failed: " + error.ToString(), 0});
}

void CacheImpl::NoteFailedQuestion(const ImageInfo& info, const Error& error) {
  if (IsCannotAsk(error.code)) Announce(Event::kCannotAsk, info, {error.ToString(), 0});
}

Result<NameInfo> CacheImpl::AskFor(const std::string& name, std::stop_token stop) {
  auto info = backend_.Stat(name, std::move(stop));
  if (!info) NoteFailedQuestion(NamedOnly(name), info.error());
  return info;
}

Result<std::optional<Checksum>> CacheImpl::AskChecksum(const ImageInfo& info, std::stop_token stop) {
  auto found = backend_.FindChecksum(info, std::move(stop));
  if (!found) NoteFailedQuestion(info, found.error());
  return found;
}

void CacheImpl::OnStale(CachedImage& image) {
  std::vector<ImageInfo> retired;
  {
    MutexLock lock(mu_);
    if (Entry* entry = table_.Find(image.row())) RetireLocked(*entry, retired);
  }
  TellSuperseded(retired);
}

// The last reference is gone. An image of which nothing was kept leaves no trace, and its row is promised to it again. Who opens it
// meanwhile waits (`loading`). The budget has to know nothing of the row by then: neither another CachedImage of it that is
// ending at the same time (`instances`) nor somebody who has chosen it for eviction.
void CacheImpl::OnDestroyed(RowId row) {
  budget_.Release(row);
  bool forget = false;
  {
    MutexLock lock(mu_);
    if (Entry* entry = table_.Find(row)) {
      forget = --entry->instances == 0 && !entry->stored && !entry->loading && entry->row.generation == 0;
      if (forget) entry->loading = true;
    }
  }
  if (forget) {
    const bool ours = budget_.ChooseVictim(row, true);
    if (ours) budget_.Remove(row);
    MutexLock lock(mu_);
    if (Entry* entry = table_.Find(row)) {
      entry->loading = false;
      if (ours) {
        promised_rows_[RowKey(entry->row.info.id)] = row;
        table_.Remove(row);
      }
    }
  }
  changed_.NotifyAll();
}

// ---------------------------------------------------------------------------------------------------- verification

std::optional<Checksum> CacheImpl::FindChecksum(CachedImage& image, std::stop_token stop) {
  {
    MutexLock lock(mu_);
    const Entry* entry = table_.Find(image.row());
    if (entry == nullptr || entry->row.superseded) return std::nullopt;
    if (entry->row.verdict == Verdict::kPending) return entry->row.checksum;
    if (entry->row.verdict != Verdict::kUnknown) return std::nullopt;
  }
  auto found = AskChecksum(image.info(), std::move(stop));
  if (!found) {
    LogDebug("{}: its checksum cannot be asked for now: {}", image.info().id.name, found.error().ToString());
  } else if (*found && !Digest::Make((*found)->algorithm)) {
    LogWarn("{}: checksums of type {} are not known here; the image is not verified", image.info().id.name,
            (*found)->algorithm);
    found->reset();
  }
  {
    MutexLock lock(mu_);
    Entry* entry = table_.Find(image.row());
    if (entry == nullptr) return std::nullopt;
    entry->checksum_out_of_reach = !found;
    if (found) {
      entry->row.checksum = *found;
      entry->row.verdict = *found ? Verdict::kPending : Verdict::kNoChecksum;
      entry->changed = true;
    }
  }
  if (found && *found) return *found;
  AnnounceSealed(image.row());  // there is nothing to wait for
  return std::nullopt;
}

void CacheImpl::VerifyPassed(CachedImage& image) {
  ++counters_.checksum_ok;
  bool tell = true;  // not before it is told that it is there: the next checkpoint does both then
  {
    MutexLock lock(mu_);
    if (Entry* entry = table_.Find(image.row())) {
      tell = entry->announced || entry->complete_at_start;
      entry->verified_untold = !tell;
      entry->row.verdict = Verdict::kVerified;
      entry->row.error.clear();
      entry->changed = true;
    }
    kicked_ = true;
  }
  janitor_wake_.NotifyAll();
  LogInfo("{}: verified against the source's checksum", image.info().id.name);
  if (tell) Announce(Event::kVerified, image.info(), {"", image.info().size});
  AnnounceSealed(image.row());
}

// Before an image is called corrupt: the source may have moved on to a new version and a new checksum meanwhile.
void CacheImpl::VerifyFailed(CachedImage& image, const std::string& message) {
  const std::string& name = image.info().id.name;
  if (auto now = AskFor(name, {}); now && !now->is_directory && now->image.id != image.info().id) {
    Supersede(now->image.id);
    return;
  }
  ++counters_.checksum_failed;  // before anyone can see the verdict
  {
    MutexLock lock(mu_);
    if (Entry* entry = table_.Find(image.row())) {
      entry->row.verdict = Verdict::kFailed;
      entry->row.error = message;
      entry->changed = true;
    }
    kicked_ = true;
  }
  janitor_wake_.NotifyAll();
  image.Abort({Errc::kCorrupt, fmt::format("{} failed its checksum: {}", name, message)});
  LogError("{}: wrong checksum: {}; nothing of it is served any more; it is removed at the next clean and then fetched anew",
           name, message);
  Announce(Event::kInvalidated, image.info(), {message, 0});
}

}  // namespace glintfs
