// What operators ask: evict, prune, clean, pins, the queue, limits. Eviction goes in two phases: the budget chooses
// under its lock, RemoveImages deletes without one.
#include <algorithm>

#include "fs/base/log.h"
#include "fs/cache/cache_impl.h"
#include "fs/cache/layout.h"

namespace glintfs {
namespace {
constexpr Nanos kAbortPatience = std::chrono::seconds(10);
constexpr const char* kOffTheQueue = "taken off the queue";
}

// ---------------------------------------------------------------------------------------------------- removing

// What makes room is no news.
static void LogRemoval(const std::string& name, Removal why, bool at_once) {
  switch (why) {
    case Removal::kRoom:
    case Removal::kLimit:
    case Removal::kPrune:
    case Removal::kRequest: break;
    case Removal::kStalled: LogInfo("{}: removed: it is partial and had no progress for stall_time", name); break;
    case Removal::kSuperseded: LogInfo("{}: removed: superseded", name); break;
    case Removal::kInvalid: LogInfo("{}: removed: failed its checksum", name); break;
    case Removal::kDamaged: LogWarn("{}: removed: a part of it on disk is bad; it is fetched anew {}", name, at_once ? "now" : "when it is read"); break;
    case Removal::kLost:
      LogWarn("{}: its data file is gone or has another size (a crash while it was being removed leaves that); it is fetched anew "
              "when it is read", name);
      break;
  }
}

PruneResult CacheImpl::RemoveImages(const std::vector<RowId>& rows, Removal reason) {
  PruneResult result;
  IndexBatch batch;
  std::vector<ImageInfo> fetch_anew;  // a scrub found them bad
  for (const RowId row : rows) {
    ImageRow gone;
    {
      MutexLock lock(mu_);
      Entry* entry = table_.Find(row);
      if (entry == nullptr) continue;
      gone = entry->row;
      table_.Remove(row);
      damaged_.erase(row);
      bad_chunks_.erase(row);
      if (reason == Removal::kDamaged)
        replaced_.insert(RowKey(gone.info.id));
      else
        replaced_.erase(RowKey(gone.info.id));
    }
    changed_.NotifyAll();
    const uint64_t bytes = budget_.BytesOf(row);
    if (gone.generation != 0) {
      auto removed = storage_->Remove(layout::DataPath(row, gone.generation));
      if (!removed && removed.error().code != Errc::kNotFound) StorageFailed(removed.error());
    }
    batch.remove_images.push_back(row);
    ++result.files;
    result.bytes += bytes;
    result.names.push_back(gone.info.id.name);
    const Removal why = reason == Removal::kInvalid && gone.superseded ? Removal::kSuperseded : reason;
    ++counters_.removed[static_cast<size_t>(why)];
    counters_.removed_bytes[static_cast<size_t>(why)] += bytes;
    const bool scrubbed = scrubber_ != nullptr && scrubber_->OnRemoved(gone.info.id);
    const bool at_once = scrubbed && why == Removal::kDamaged && !gone.superseded;
    LogRemoval(gone.info.id.name, why, at_once);
    if (at_once) fetch_anew.push_back(gone.info);
    Announce(Event::kRemoved, gone.info, {std::string(RemovalName(why)), bytes});
  }
  const std::vector<RowId> removed = batch.remove_images;
  if (auto applied = index_->Apply(std::move(batch)); !applied)
    LogWarn("removed images stay in the index until the next start: {}", applied.error().message);
  // Last: until then nobody gets the room. A power loss may bring an unlinked file back; without its row it is a leftover, but
  // with it, and beside what took its place, the cache would start over its limit.
  for (const RowId row : removed) budget_.Remove(row);
  for (const ImageInfo& info : fetch_anew) {
    if (auto added = queue_->Add(info.id.name, info.size); !added)
      LogWarn("{}: cannot be queued to be fetched anew: {}", info.id.name, added.error().message);
  }
  return result;
}

Result<void> CacheImpl::Evict(std::string_view name) {
  std::vector<RowId> rows;
  {
    MutexLock lock(mu_);
    for (const Entry* entry : table_.Versions(backend_.source(), name)) rows.push_back(entry->row.row);
    if (pins_.contains(std::string(name))) return Error{Errc::kBusy, fmt::format("{} is pinned: unpin it first", name)};
    if (queued_.contains(std::string(name)))
      return Error{Errc::kBusy, fmt::format("{} is being cached on request", name)};
  }
  if (rows.empty()) return Error{Errc::kNotFound, fmt::format("nothing of {} is cached", name)};
  PruneResult result;
  for (const RowId row : rows) GLINTFS_TRY(EvictVersion(row, name, Removal::kRequest, result));
  return {};
}

static bool HasReaders(const Entry& entry, const std::shared_ptr<CachedImage>& live) {
  return entry.sealed_opens > 0 || (live && live->open_handles.load() > 0);
}

// An image that only fills in the background is stopped first. Not aborted: somebody may open it at any moment, and then it
// is not evicted and his reads are right.
Result<void> CacheImpl::EvictVersion(RowId row, std::string_view name, Removal reason, PruneResult& result) {
  std::shared_ptr<CachedImage> retry;
  {
    MutexLock lock(mu_);
    Entry* entry = table_.Find(row);
    if (entry == nullptr) return {};
    auto live = entry->live.lock();
    if (auto it = retries_.find(row); it != retries_.end()) {
      retry = std::move(it->second.image);
      retries_.erase(it);
    }
    if (HasReaders(*entry, live)) {
      retry = std::move(live);
      return Error{Errc::kBusy, fmt::format("{} is open", name)};
    }
    if (live && !retry) retry = std::move(live);
  }
  if (retry) retry->StopFetching();
  retry.reset();
  const Nanos give_up = clock_.Now() + kAbortPatience;
  while (!budget_.ChooseVictim(row, false)) {
    if (clock_.Now() >= give_up) return Error{Errc::kBusy, fmt::format("{} is in use: try again", name)};
    (void)Checkpoint();  // lets go of images that waited for it
    std::shared_ptr<CachedImage> live;  // let go without the lock
    MutexLock lock(mu_);
    Entry* entry = table_.Find(row);
    if (entry == nullptr) return {};  // nothing of it had been kept
    live = entry->live.lock();
    if (HasReaders(*entry, live))
      return Error{Errc::kBusy, fmt::format("{} is open", name)};
    changed_.WaitFor(mu_, std::chrono::milliseconds(10));
  }
  const PruneResult removed = RemoveImages({row}, reason);
  result.files += removed.files;
  result.bytes += removed.bytes;
  result.names.insert(result.names.end(), removed.names.begin(), removed.names.end());
  return {};
}

// What is in use only for it fills in the background goes last: its fill is stopped.
PruneResult CacheImpl::Prune(std::optional<uint64_t> target, bool dry_run) {
  if (!dry_run) (void)Checkpoint();  // lets go of images that waited for it
  const uint64_t to = target.value_or(budget_.LowMarkBytes()), used = budget_.GetUse().used;
  PruneResult result = PruneFor(to, dry_run, Removal::kPrune);
  for (IdleFill& idle : IdleFills()) {
    if ((dry_run ? used - std::min(used, result.bytes) : budget_.GetUse().used) <= to) break;
    const RowId row = idle.image->row();
    const std::string name = idle.image->info().id.name;
    idle.image.reset();
    if (!dry_run) {
      if (auto evicted = EvictVersion(row, name, Removal::kPrune, result); !evicted) LogDebug("{}", evicted.error().message);
      continue;
    }
    result.names.push_back(name);
    ++result.files;
    result.bytes += budget_.BytesOf(row);
  }
  return result;
}

PruneResult CacheImpl::PruneFor(std::optional<uint64_t> target, bool dry_run, Removal reason) {
  const auto victims = budget_.ChooseVictims(target.value_or(budget_.LowMarkBytes()), dry_run);
  std::vector<RowId> rows;
  PruneResult result;
  {
    MutexLock lock(mu_);
    for (const Budget::Victim& victim : victims) {
      rows.push_back(victim.row);
      if (Entry* entry = table_.Find(victim.row); entry != nullptr && dry_run) {
        result.names.push_back(entry->row.info.id.name);
        ++result.files;
        result.bytes += victim.bytes;
      }
    }
  }
  return dry_run ? result : RemoveImages(rows, reason);
}

PruneResult CacheImpl::Clear() {
  (void)Checkpoint();
  PruneResult result = PruneFor(0, false, Removal::kRequest);
  std::vector<std::string> names;
  {
    MutexLock lock(mu_);
    for (const auto& [row, entry] : table_.all())
      if (entry->row.info.id.source == backend_.source()) names.push_back(entry->row.info.id.name);
  }
  for (const std::string& name : names) {
    const auto status = StatusOf(name);
    if (!status || !Evict(name)) continue;
    ++result.files;
    result.bytes += status->disk_bytes;
    result.names.push_back(name);
  }
  return result;
}

PruneResult CacheImpl::Clean() {
  std::vector<RowId> invalid, stalled;
  {
    MutexLock lock(mu_);
    const Nanos now = clock_.WallNow();
    for (const auto& [row, entry] : table_.all()) {
      if (entry->loading || !entry->live.expired()) continue;
      const uint64_t chunks = ChunksOf(entry->row.info.size);
      if (entry->invalid())
        invalid.push_back(row);
      else if (options_.fill == FillMode::kFull && entry->row.chunks_present < chunks &&
               now - std::max(entry->row.last_progress, Nanos(0)) > limits_.stall_time)
        stalled.push_back(row);
    }
  }
  // The budget has the last word: one that was opened just now is in use, one that is pinned or queued stays.
  std::erase_if(invalid, [this](RowId row) { return !budget_.ChooseVictim(row, true); });
  std::erase_if(stalled, [this](RowId row) { return !budget_.ChooseVictim(row, false); });
  PruneResult result = RemoveImages(invalid, Removal::kInvalid);
  const PruneResult more = RemoveImages(stalled, Removal::kStalled);
  result.files += more.files;
  result.bytes += more.bytes;
  result.names.insert(result.names.end(), more.names.begin(), more.names.end());
  return result;
}

// ---------------------------------------------------------------------------------------------------- pins, queue, limits

bool CacheImpl::ProtectedLocked(std::string_view name) const {
  return pins_.contains(std::string(name)) || queued_.contains(std::string(name));
}

void CacheImpl::UpdateProtection(std::string_view name) {
  std::vector<RowId> rows;
  bool is_protected;
  {
    MutexLock lock(mu_);
    is_protected = ProtectedLocked(name);
    for (const Entry* entry : table_.Versions(backend_.source(), name)) rows.push_back(entry->row.row);
  }
  for (const RowId row : rows) budget_.SetPinned(row, is_protected);
}

Result<void> CacheImpl::SetPinned(std::string_view name, bool pinned) {
  if (!IsValidName(name)) return Error{Errc::kInvalid, "not a valid image name"};
  IndexBatch batch;
  (pinned ? batch.add_pins : batch.remove_pins).emplace_back(name);
  GLINTFS_TRY(index_->Apply(std::move(batch)));
  {
    MutexLock lock(mu_);
    if (pinned) pins_.emplace(name); else pins_.erase(std::string(name));
  }
  UpdateProtection(name);
  return {};
}

std::vector<std::string> CacheImpl::Pins() {
  MutexLock lock(mu_);
  std::vector<std::string> pins(pins_.begin(), pins_.end());
  std::sort(pins.begin(), pins.end());
  return pins;
}

bool CacheImpl::IsPinned(std::string_view name) {
  MutexLock lock(mu_);
  return pins_.contains(std::string(name));
}

Result<void> CacheImpl::Enqueue(const ImageInfo& info, bool now) {
  const ImageState state = StatusOf(info).state;
  if (state == ImageState::kComplete || state == ImageState::kVerified) return {};
  if (!Fits(info.size))
    return Error{Errc::kNoSpace, fmt::format("{} is larger than the cache (max_size)", info.id.name)};
  GLINTFS_TRY(queue_->Add(info.id.name, info.size, now));
  Announce(Event::kQueued, info, {now ? "before all others" : "", info.size});
  return {};
}

Result<void> CacheImpl::Dequeue(std::string_view name) {
  GLINTFS_TRY(queue_->Remove(name));
  Announce(Event::kCancelled, NamedOnly(name), {kOffTheQueue, 0});
  return {};
}

void CacheImpl::ClearQueue() {
  for (const std::string& name : queue_->Clear()) Announce(Event::kCancelled, NamedOnly(name), {kOffTheQueue, 0});
}

Result<void> CacheImpl::CancelFill(std::string_view name) {
  const bool queued = static_cast<bool>(queue_->Remove(name, true));
  bool found = queued;
  std::vector<std::shared_ptr<CachedImage>> images;
  {
    MutexLock lock(mu_);
    for (const Entry* entry : table_.Versions(backend_.source(), name)) {
      if (auto live = entry->live.lock()) images.push_back(std::move(live));
      if (auto it = retries_.find(entry->row.row); it != retries_.end()) {
        found = true;
        if (it->second.image) images.push_back(std::move(it->second.image));
        retries_.erase(it);
      }
    }
  }
  for (const auto& image : images) {
    found |= image->filling();
    if (found) image->HoldFills();
  }
  if (!found) return Error{Errc::kNotFound, fmt::format("{} is neither queued nor being filled", name)};
  Announce(Event::kCancelled, NamedOnly(name), {queued ? kOffTheQueue : "its fill in the background was stopped", 0});
  return {};
}

CacheLimits CacheImpl::Limits() {
  MutexLock lock(mu_);
  return limits_;
}

void CacheImpl::SetLimits(const CacheLimits& limits) {
  {
    MutexLock lock(mu_);
    limits_ = limits;
    next_clean_ = Nanos(0);
    kicked_ = true;  // a lower max_size is kept to at once
  }
  max_size_ = limits.max_size;
  fill_rate_ = limits.fill_rate;
  budget_.SetLimits({.max_bytes = limits.max_size, .low_mark = limits.low_mark});
  fetches_->SetFillRate(limits.fill_rate);
  janitor_wake_.NotifyAll();
}

}  // namespace glintfs
