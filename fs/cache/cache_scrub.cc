// Scrubbing: which images, and what is done about what is found. The looking itself is in scrubber.cc.
#include "fs/base/log.h"
#include "fs/cache/cache_impl.h"

namespace glintfs {

Result<void> CacheImpl::Scrub(std::string_view name) {
  const auto status = StatusOf(name);
  if (!status || status->state == ImageState::kAbsent) return Error{Errc::kNotFound, fmt::format("nothing of {} is cached", name)};
  scrubber_->Add(status->info);
  return {};
}

uint64_t CacheImpl::ScrubAll() {
  uint64_t images = 0;
  for (const ImageStatus& status : List()) {
    if (status.state == ImageState::kAbsent) continue;
    scrubber_->Add(status.info);
    ++images;
  }
  return images;
}

// Without a touch: being scrubbed is no use.
Result<std::shared_ptr<CachedImage>> CacheImpl::UseForScrub(const ImageInfo& info) {
  {
    MutexLock lock(mu_);
    if (table_.Find(info.id) == nullptr) return Error{Errc::kNotFound, "nothing of it is cached"};
  }
  Error error;
  if (auto image = Use(info, error, false)) return image;
  return error;
}

bool CacheImpl::ReplaceScrubbed(const ImageId& id) {
  RowId row;
  std::shared_ptr<CachedImage> live;  // let go without the lock
  bool open;
  {
    MutexLock lock(mu_);
    const Entry* entry = table_.Find(id);
    if (entry == nullptr) return false;
    row = entry->row.row;
    live = entry->live.lock();
    open = entry->sealed_opens > 0 || (live && live->open_handles.load() > 0);
  }
  Replace(row);
  janitor_wake_.NotifyAll();
  return open;
}

// The one it was compared with, else the one the source has by now. While the verifier is about to do it, it is left to it.
std::optional<Checksum> CacheImpl::ChecksumForScrub(const ImageInfo& info, std::stop_token stop) {
  {
    MutexLock lock(mu_);
    const Entry* entry = table_.Find(info.id);
    if (entry == nullptr || entry->invalid() || entry->row.verdict == Verdict::kPending) return std::nullopt;
    if (entry->row.checksum) return entry->row.checksum;
  }
  auto found = AskChecksum(info, std::move(stop));
  if (!found || !*found || !Digest::Make((*found)->algorithm)) return std::nullopt;
  MutexLock lock(mu_);
  if (Entry* entry = table_.Find(info.id)) {
    entry->row.checksum = *found;
    entry->changed = true;
  }
  return *found;
}

}  // namespace glintfs
