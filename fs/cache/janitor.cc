// The janitor: one thread that does what the clock asks.
//
//   every second   checkpoint: for each image with new chunks  take what is dirty → fdatasync its file → one index transaction
//                  limits: prune when over (a limit was lowered, or the file system fills up)
//                  a disk that refused to store is tried again
//                  fills that failed are tried again when their back-off is over
//   every 10 s     use (hits, last access) of images that have no new chunks; free memory back to the system
//   clean_interval stalled and invalid images
//
// The order in a checkpoint is the crash order: what is dirty is taken first, so that a chunk written after it waits for the
// next round; the file is synced next; the index names the chunks last.
#include <malloc.h>

#include <algorithm>

#include "fs/base/log.h"
#include "fs/base/size_text.h"
#include "fs/cache/cache_impl.h"

namespace glintfs {
namespace {
constexpr Nanos kTick = std::chrono::seconds(1);
constexpr Nanos kTouch = std::chrono::seconds(10);
constexpr size_t kFreeMemory = 64 << 20;

// A listing of 100,000 images takes hundreds of megabytes for a moment, which malloc would keep for ever.
void ReturnFreeMemory() {
  if (::mallinfo2().fordblks > kFreeMemory) ::malloc_trim(0);
}
}  // namespace

void CacheImpl::RunJanitor(std::stop_token) {
  Clock& clock = Clock::System();  // real time, whatever the clock of the cache says
  if (sweep_pending_) Sweep(sweep_below_);
  VerifyLeftOver();
  for (;;) {
    bool last;
    {
      MutexLock lock(mu_);
      // A second after the first chunk that waits for a checkpoint, not after the last round: a short fill then ends before
      // its first fdatasync, which would cost as much as the fill.
      const Nanos round_end = clock.Now() + kTick;
      for (;;) {
        const Nanos left = (dirty_.empty() ? round_end : first_dirty_at_ + kTick) - clock.Now();
        if (stopping_ || kicked_ || checkpoints_asked_ != checkpoints_done_ || left <= Nanos(0)) break;
        janitor_wake_.WaitFor(mu_, left);
      }
      kicked_ = false;
      last = stopping_;
    }
    uint64_t asked;
    {
      MutexLock lock(mu_);
      asked = checkpoints_asked_;
      if (last) next_touch_ = Nanos(0);
    }
    Result<void> result = CheckpointNow();
    {
      MutexLock lock(mu_);
      checkpoints_done_ = asked;
      last_checkpoint_ = std::move(result);
    }
    checkpoint_done_.NotifyAll();
    if (last) return;
    Tick();
  }
}

void CacheImpl::Tick() {
  UpdateHeadroom();
  ProbeStorage();
  if (budget_.OverLimit()) {
    const PruneResult pruned = PruneFor(std::nullopt, false, Removal::kLimit);
    if (pruned.files > 0) LogInfo("over the limit: {} images ({}) evicted", pruned.files, FormatSize(pruned.bytes));
  }
  if (const uint64_t wanted = wanted_room_; wanted != 0 && budget_.HasRoomFor(wanted)) wanted_room_ = 0;
  RemoveDamaged();
  RetryFills();
  ReserveRows();
  const Nanos now = clock_.Now();
  bool clean = false, trim = false;
  {
    MutexLock lock(mu_);
    trim = now >= next_trim_;
    if (trim) next_trim_ = now + kTouch;
    if (next_clean_.count() == 0) next_clean_ = now + limits_.clean_interval;
    if (now >= next_clean_) {
      clean = true;
      next_clean_ = now + limits_.clean_interval;
    }
  }
  if (clean) Clean();
  if (trim) ReturnFreeMemory();
}

Result<void> CacheImpl::Checkpoint() {
  MutexLock lock(mu_);
  const uint64_t mine = ++checkpoints_asked_;
  janitor_wake_.NotifyAll();
  while (checkpoints_done_ < mine && !stopping_) checkpoint_done_.Wait(mu_);
  return last_checkpoint_;
}

std::vector<std::shared_ptr<CachedImage>> CacheImpl::TakeDirtyImages() {
  MutexLock lock(mu_);
  std::vector<std::shared_ptr<CachedImage>> images;
  images.swap(dirty_);
  return images;
}

Result<void> CacheImpl::CheckpointNow() {
  struct Item {
    std::shared_ptr<CachedImage> image;
    CachedImage::Dirty dirty;
  };
  std::vector<Item> items;
  Result<void> result;
  for (auto& image : TakeDirtyImages()) {
    Item item{image, image->TakeDirty()};
    if (!item.dirty.file) continue;
    if (auto synced = item.dirty.file->Sync(); !synced) {
      StorageFailed(synced.error());
      image->ReturnDirty(item.dirty, true);
      result = synced;
      continue;
    }
    items.push_back(std::move(item));
  }
  IndexBatch batch;
  const Nanos now = clock_.Now();
  std::vector<uint64_t> disk_bytes;
  Aliases::Changes aliases;
  for (const Item& item : items) disk_bytes.push_back(budget_.BytesOf(item.image->row()));
  {
    MutexLock lock(mu_);
    for (size_t i = 0; i < items.size(); ++i) {
      Entry* entry = table_.Find(items[i].image->row());
      if (entry == nullptr) continue;
      entry->row.generation = items[i].dirty.generation;
      entry->row.chunks_present = items[i].dirty.chunks_present;
      entry->row.suspect = items[i].dirty.suspect;
      entry->row.disk_bytes = disk_bytes[i];
      if (!entry->passed_through) entry->damaged = false;  // chunks_present tells it now
      if (items[i].dirty.dropped) {
        entry->announced = entry->seal_announced = entry->complete_at_start = entry->verified_untold = false;
        if (entry->row.verdict == Verdict::kVerified) entry->row.verdict = Verdict::kPending;
      }
      entry->changed = false;
      batch.put_images.push_back(entry->row);
      for (ChunkSegment& segment : items[i].dirty.segments)
        batch.put_segments.emplace_back(entry->row.row, segment);
    }
    aliases = aliases_.TakeChanges();
    batch.put_aliases = aliases.put;
    batch.remove_aliases = aliases.remove;
    if (now >= next_touch_) {
      next_touch_ = now + kTouch;
      for (const auto& [row, entry] : table_.all())
        if (entry->stored && std::exchange(entry->changed, false)) batch.put_images.push_back(entry->row);
    }
  }
  if (auto applied = index_->Apply(std::move(batch)); !applied) {
    StorageFailed(applied.error());
    for (const Item& item : items) item.image->ReturnDirty(item.dirty, false);
    MutexLock lock(mu_);
    aliases_.ReturnChanges(aliases);
    return applied;
  }
  for (const Item& item : items) NoteCheckpointed(item.image);
  return result;
}

void CacheImpl::NoteCheckpointed(const std::shared_ptr<CachedImage>& image) {
  bool completed = false, verify = false, recheck = false;
  {
    MutexLock lock(mu_);
    Entry* entry = table_.Find(image->row());
    if (entry == nullptr) return;
    entry->stored = true;
    completed = entry->row.chunks_present == image->chunks() && !entry->announced && entry->row.verdict != Verdict::kFailed;
    verify = entry->row.verdict == Verdict::kUnknown || entry->row.verdict == Verdict::kPending;
    recheck = completed && entry->row.suspect;
  }
  AnnounceSealed(image->row());
  if (!completed) return TellRepaired(*image, false);
  scrubber_->OnCompleted(image->info().id);
  if (verify) verifier_->Consider(image);  // keeps it until the verdict, though nobody else may use it any more
  if (recheck) verifier_->Recheck(image);
  LogInfo("{}: complete ({})", image->info().id.name, FormatSize(image->info().size));
  Announce(Event::kCompleted, image->info(), {"", image->info().size});
  bool verified = false;
  {
    MutexLock lock(mu_);
    if (Entry* entry = table_.Find(image->row())) {
      entry->announced = true;  // not before it was told: see VerifyPassed. The janitor alone comes here
      verified = std::exchange(entry->verified_untold, false);
    }
  }
  if (verified) Announce(Event::kVerified, image->info(), {"", image->info().size});
  TellRepaired(*image, true);
}

void CacheImpl::UpdateHeadroom() {
  const auto space = storage_->Space();
  if (!space) return;
  const double min_free = Limits().min_free;
  const auto keep = static_cast<uint64_t>(static_cast<double>(space->total) * min_free);
  budget_.SetDiskHeadroom(space->available > keep ? space->available - keep : 0);
}

void CacheImpl::RetryFills() {
  std::vector<std::shared_ptr<CachedImage>> due;
  {
    MutexLock lock(mu_);
    const Nanos now = clock_.Now();
    for (auto& [row, retry] : retries_)
      if (retry.image && retry.at <= now) due.push_back(std::move(retry.image));
  }
  for (const auto& image : due) image->StartFill(Urgency::kBackground);
}

// Images that were complete but not verified when the last daemon ended.
void CacheImpl::VerifyLeftOver() {
  std::vector<ImageInfo> left;
  {
    MutexLock lock(mu_);
    for (const auto& [row, entry] : table_.all()) {
      const uint64_t chunks = ChunksOf(entry->row.info.size);
      if (!entry->invalid() && entry->stored && entry->row.chunks_present == chunks &&
          entry->row.info.id.source == backend_.source() && entry->row.verdict == Verdict::kPending)
        left.push_back(entry->row.info);
    }
  }
  for (const ImageInfo& info : left) {
    Error error;
    if (auto image = Use(info, error)) verifier_->Consider(image);
  }
}

}  // namespace glintfs
