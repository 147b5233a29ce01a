// What operators see: images, figures, what is being fetched. A status is put together in two steps: what the table knows, under the
// cache's lock, then what the image itself says, if it is in use.
#include <algorithm>

#include "fs/cache/cache_impl.h"

namespace glintfs {
namespace {

// What the table says of an image: what is neither invalid nor verified counts as absent until Refined() tells more.
ImageState Told(bool invalid, Verdict verdict) {
  if (invalid) return ImageState::kInvalid;
  return verdict == Verdict::kVerified ? ImageState::kVerified : ImageState::kAbsent;
}

ImageState Refined(ImageState told, bool complete, uint64_t chunks_present) {
  if (told == ImageState::kInvalid || (told == ImageState::kVerified && complete)) return told;
  if (complete) return ImageState::kComplete;
  return chunks_present > 0 ? ImageState::kPartial : ImageState::kAbsent;
}

bool CompleteInTable(uint64_t chunks, uint64_t chunks_present, uint64_t disk_bytes) {
  return chunks_present == chunks && (chunks > 0 || disk_bytes > 0);
}

void Count(CacheStats& s, ImageState state) {
  ++s.images;
  switch (state) {
    case ImageState::kAbsent: ++s.absent; break;
    case ImageState::kPartial: ++s.partial; break;
    case ImageState::kComplete: ++s.complete; break;
    case ImageState::kVerified: ++s.verified; break;
    case ImageState::kInvalid: ++s.invalid; break;
  }
}

}  // namespace

ImageStatus CacheImpl::StatusLocked(const Entry& entry) {
  const ImageRow& row = entry.row;
  ImageStatus s;
  s.info = row.info;
  s.row = row.row;
  s.chunk_size = options_.chunk_size;
  s.chunks = ChunksOf(row.info.size);
  s.chunks_present = row.chunks_present;
  s.cached_bytes = std::min(row.info.size, row.chunks_present * options_.chunk_size);
  s.disk_bytes = row.disk_bytes;
  s.hits = row.hits;
  s.last_access = row.last_access;
  s.last_progress = row.last_progress;
  s.pinned = pins_.contains(row.info.id.name);
  s.open_count = entry.sealed_opens;
  s.error = row.error;
  s.checksum = row.checksum;
  s.checksum_asked = row.verdict != Verdict::kUnknown || entry.checksum_out_of_reach;
  s.state = Told(entry.invalid(), row.verdict);
  if (entry.invalid() && s.error.empty()) s.error = "superseded: the source has another version, or none";
  return s;
}

// Without the cache's lock: asks the image itself, when it is in use.
void CacheImpl::AddLive(ImageStatus& s, const std::shared_ptr<CachedImage>& live) {
  bool complete = CompleteInTable(s.chunks, s.chunks_present, s.disk_bytes);
  if (live) {
    const auto progress = live->progress();
    s.chunks_present = progress.chunks_present;
    s.cached_bytes = progress.cached_bytes;
    s.filling = progress.filling;
    s.fill_rate = progress.fill_rate;
    s.open_count += live->open_handles.load();
    if (s.error.empty()) s.error = progress.error;
    complete = progress.complete;
  }
  s.disk_bytes = budget_.BytesOf(s.row);
  s.scrub = scrubber_->StatusOf(s.info.id);
  s.state = Refined(s.state, complete, s.chunks_present);
}

ImageStatus CacheImpl::StatusOf(const ImageInfo& info) {
  ImageStatus status;
  std::shared_ptr<CachedImage> live;
  {
    MutexLock lock(mu_);
    const Entry* entry = table_.Find(info.id);
    if (entry == nullptr) {
      status.info = info;
      status.row = RowForLocked(info.id);
      status.chunk_size = options_.chunk_size;
      status.chunks = ChunksOf(info.size);
      status.pinned = pins_.contains(info.id.name);
      return status;
    }
    status = StatusLocked(*entry);
    live = entry->live.lock();
  }
  AddLive(status, live);
  return status;
}

std::optional<ImageStatus> CacheImpl::StatusOf(std::string_view name) {
  std::optional<ImageInfo> info;
  {
    MutexLock lock(mu_);
    for (const Entry* entry : table_.Versions(backend_.source(), name))
      if (!info || entry->row.row > table_.Find(info->id)->row.row) info = entry->row.info;
  }
  if (!info) return std::nullopt;
  return StatusOf(*info);
}

std::vector<ImageStatus> CacheImpl::List() {
  std::vector<std::pair<ImageStatus, std::shared_ptr<CachedImage>>> found;
  {
    MutexLock lock(mu_);
    found.reserve(table_.size());
    for (const auto& [row, entry] : table_.all())
      if (entry->row.info.id.source == backend_.source()) found.emplace_back(StatusLocked(*entry), entry->live.lock());
  }
  std::vector<ImageStatus> list;
  list.reserve(found.size());
  for (auto& [status, live] : found) {
    AddLive(status, live);
    list.push_back(std::move(status));
  }
  std::sort(list.begin(), list.end(), [](const ImageStatus& a, const ImageStatus& b) {
    return std::tie(a.info.id.name, a.row) < std::tie(b.info.id.name, b.row);
  });
  return list;
}

// One pass over the table without copying a name: statfs(2), systemd's status line and every scrape come here, and there may be
// a hundred thousand images.
void CacheImpl::CountImages(CacheStats& s) {
  struct InUse {
    ImageState told;
    int sealed_opens;
    std::shared_ptr<CachedImage> image;
  };
  std::vector<InUse> in_use;
  {
    MutexLock lock(mu_);
    s.limits = limits_;
    s.pinned = pins_.size();
    s.storage_error = storage_error_;
    for (const auto& [number, entry] : table_.all()) {
      s.passthrough_open += static_cast<uint64_t>(entry->sealed_opens);
      const ImageRow& row = entry->row;
      if (row.info.id.source != backend_.source()) continue;
      const ImageState told = Told(entry->invalid(), row.verdict);
      if (auto image = entry->live.lock()) {
        in_use.push_back({told, entry->sealed_opens, std::move(image)});
        continue;
      }
      const bool complete = CompleteInTable(ChunksOf(row.info.size), row.chunks_present, row.disk_bytes);
      Count(s, Refined(told, complete, row.chunks_present));
      s.open_images += entry->sealed_opens > 0 ? 1 : 0;
    }
  }
  for (const InUse& used : in_use) {
    const auto progress = used.image->progress();
    Count(s, Refined(used.told, progress.complete, progress.chunks_present));
    s.open_images += used.sealed_opens + used.image->open_handles.load() > 0 ? 1 : 0;
    s.fills_running += progress.filling ? 1 : 0;
    s.fill_rate += progress.fill_rate;
  }
}

CacheStats CacheImpl::Stats() {
  CacheStats s;
  CountImages(s);
  const Budget::Use use = budget_.GetUse();
  s.used_bytes = use.used;
  s.no_room = wanted_room_ != 0;
  s.reserved_bytes = use.reserved;
  if (auto space = storage_->Space()) {
    s.disk_total = space->total;
    s.disk_available = space->available;
  }
  const FetchQueue::Load load = fetches_->load();
  s.fetches_running = load.running;
  s.fetches_waiting = load.waiting;
  s.reads_parked = counters_.reads_parked;
  s.read_hits = counters_.read_hits;
  s.read_misses = counters_.read_misses;
  s.bytes_read = counters_.bytes_read;
  for (int i = 0; i < kUrgencies; ++i) s.bytes_fetched[i] = counters_.bytes_fetched[i];
  s.fetch_errors = counters_.fetch_errors;
  s.bypassed_bytes = counters_.bypassed_bytes;
  for (size_t i = 0; i < kRemovals; ++i) {
    s.removed[i] = counters_.removed[i];
    s.removed_bytes[i] = counters_.removed_bytes[i];
  }
  for (const Removal evicted : {Removal::kRoom, Removal::kLimit, Removal::kPrune, Removal::kRequest}) {
    s.evictions += s.removed[static_cast<size_t>(evicted)];
    s.evicted_bytes += s.removed_bytes[static_cast<size_t>(evicted)];
  }
  s.stalled_removed = s.removed[static_cast<size_t>(Removal::kStalled)];
  s.invalid_removed = s.removed[static_cast<size_t>(Removal::kInvalid)] + s.removed[static_cast<size_t>(Removal::kSuperseded)];
  s.checksum_ok = counters_.checksum_ok;
  s.checksum_failed = counters_.checksum_failed;
  s.bad_chunks = counters_.bad_chunks;
  s.bytes_from_store = counters_.bytes_from_store;
  s.bytes_from_bypass = counters_.bytes_from_bypass;
  s.hit_latency = counters_.hit_latency.counts();
  s.miss_latency = counters_.miss_latency.counts();
  s.passthrough_opens = counters_.passthrough_opens;
  s.storage_errors = counters_.storage_errors;
  s.scrub = scrubber_->counts();
  s.index = index_->health();
  s.index_commits = s.index.commits;
  return s;
}

CacheActivity CacheImpl::Activity() {
  CacheActivity activity;
  std::unordered_set<RowId> filling;
  for (const auto& flight : fetches_->Flights()) {
    CachedImage& image = *flight->image;
    if (auto fetch = image.Describe(*flight)) activity.fetches.push_back(std::move(*fetch));
    if (!flight->fill || !filling.insert(image.row()).second) continue;
    const auto progress = image.progress();
    if (progress.filling)
      activity.fills.push_back({image.info().id.name, image.info().size, progress.cached_bytes, progress.fill_rate, progress.queued});
  }
  return activity;
}

}  // namespace glintfs
