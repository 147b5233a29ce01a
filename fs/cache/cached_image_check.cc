// Checking what is on disk: chunks against their hashes, before a first use after a crash, for the verifier and for a scrub; and what
// may be sealed. A chunk that turns out bad is absent from then on.
#include <algorithm>

#include "fs/base/log.h"
#include "fs/cache/cached_image.h"

namespace glintfs {

void CachedImage::CheckRange(uint64_t offset, uint64_t length) {
  if (length == 0 || offset >= info_.size) return;
  const uint64_t last = (std::min(info_.size, offset + length) - 1) / chunk_size_;
  std::vector<std::byte> buffer;
  for (uint64_t chunk = offset / chunk_size_; chunk <= last; ++chunk) ReadChecked(chunk, buffer);
}

CachedImage::Check CachedImage::CheckChunk(uint64_t chunk, std::vector<std::byte>& buffer, bool from_disk) {
  std::shared_ptr<File> file;
  uint64_t want;
  {
    MutexLock lock(mu_);
    if (!present_.Has(chunk)) return Check::kAbsent;
    file = file_;
    want = hashes_[chunk];
  }
  buffer.resize(ChunkLength(chunk));
  const uint64_t offset = chunk * chunk_size_;
  const auto read = from_disk ? file->ReadFromDisk(buffer, offset) : file->ReadAt(buffer, offset);
  const bool good = read && HashChunk(buffer) == want;
  bool report = false, dropped = false;
  {
    MutexLock lock(mu_);
    const bool was_suspect = suspect_.Remove(chunk);
    if (!good) dropped = present_.Remove(chunk);
    if (dropped) MarkDirtyLocked(chunk);
    dropped_ |= dropped;
    if (dropped || (was_suspect && suspect_.empty())) report = !std::exchange(dirty_, true);
  }
  if (dropped) {
    host_.counters().bad_chunks.fetch_add(1, std::memory_order_relaxed);
    LogWarn("{}: chunk {} on disk {}; it is dropped and is to be fetched again", info_.id.name, chunk,
            read ? "does not match its hash" : "cannot be read (" + read.error().message + ")");
  }
  if (dropped) host_.OnDropped(row_, chunk);
  if (report) host_.OnDirty(shared_from_this());
  return good ? Check::kGood : Check::kBad;
}

bool CachedImage::IsPresent(uint64_t chunk) {
  MutexLock lock(mu_);
  return present_.Has(chunk);
}

bool CachedImage::IsInFlight(uint64_t chunk) {
  MutexLock lock(mu_);
  return in_flight_.Find(chunk) != nullptr || std::find(storing_.begin(), storing_.end(), chunk) != storing_.end();
}

uint64_t CachedImage::NextPresent(uint64_t from) {
  MutexLock lock(mu_);
  return present_.FirstPresent(from, chunks_);
}

void CachedImage::CheckIfSuspect(uint64_t chunk) {
  {
    MutexLock lock(mu_);
    if (!suspect_.Has(chunk)) return;
  }
  std::vector<std::byte> buffer;
  ReadChecked(chunk, buffer);
}

bool CachedImage::Seal() {
  if (file_left_alone_) return true;  // as far as this image is concerned
  MutexLock lock(mu_);
  if (failed_ || !present_.full() || !suspect_.empty()) return false;
  sealed_ = true;
  return true;
}

}  // namespace glintfs
