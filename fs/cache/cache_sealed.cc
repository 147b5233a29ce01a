// Sealed images: what may be read past this process, and what happens when a chunk of one turns out to be bad.
//
//   complete ∧ checkpointed ∧ nothing suspect ∧ judged ─▶ sealed ──OpenSealed──▶ passed through
//                                                            │                        │ a chunk is found bad
//                                                   chunk found bad                   ▼
//                                                            ▼              damaged: its readers go on, bad chunks come from
//                                             partial again, filled         the source, the image goes when nobody uses it
//
// The row of the index lags behind the image by up to a checkpoint. So the row only says that an image may be sealed; the
// image itself, if it is in use, has the last word (CachedImage::Seal).
#include "fs/base/log.h"
#include "fs/cache/cache_impl.h"
#include "fs/cache/layout.h"

namespace glintfs {
namespace {

class SealedUse final : public SealedImage {
 public:
  explicit SealedUse(std::function<void()> closed) : closed_(std::move(closed)) {}
  ~SealedUse() override { closed_(); }

 private:
  const std::function<void()> closed_;
};

}  // namespace

bool CacheImpl::SealedLocked(const Entry& entry) const {
  const ImageRow& row = entry.row;
  const bool judged = row.verdict == Verdict::kVerified || row.verdict == Verdict::kNoChecksum ||
                      (row.verdict == Verdict::kUnknown && entry.checksum_out_of_reach);
  return judged && entry.stored && !entry.damaged && !entry.invalid() && !row.suspect && row.generation != 0 &&
         row.chunks_present == ChunksOf(row.info.size);
}

std::optional<RowId> CacheImpl::SealedRow(const ImageId& id) {
  MutexLock lock(mu_);
  const Entry* entry = table_.Find(id);
  return entry != nullptr && SealedLocked(*entry) ? std::optional(entry->row.row) : std::nullopt;
}

Result<OpenedSealed> CacheImpl::OpenSealed(RowId row) {
  const Error not_sealed{Errc::kNotFound, "not sealed"};
  ImageRow found;
  std::shared_ptr<CachedImage> live;
  for (;;) {
    {
      MutexLock lock(mu_);
      Entry* entry = table_.Find(row);
      if (entry == nullptr || !SealedLocked(*entry)) return not_sealed;
      entry->passed_through = true;  // before anyone can read, and whoever loads the image from now on sees it
      found = entry->row;
      live = entry->live.lock();
    }
    if (budget_.Acquire(row)) break;
    MutexLock lock(mu_);  // it is being evicted: the entry goes in a moment
    changed_.WaitFor(mu_, std::chrono::milliseconds(20));
  }
  auto file = live && !live->Seal() ? Result<std::unique_ptr<File>>(Error{Errc::kCorrupt, "a chunk of it is bad"})
                                    : storage_->Open(layout::DataPath(row, found.generation), found.info.size);
  if (!file) {
    budget_.Release(row);
    // Short of descriptors or memory, or an I/O error: that says nothing about the file.
    if (!TellsOfTheFile(file.error().code)) return file.error();
    LogWarn("{}: its data file cannot be used as it is: {}", found.info.id.name, file.error().message);
    (void)MarkDamaged(row);
    Replace(row);
    return not_sealed;
  }
  auto use = std::make_shared<SealedUse>([this, row] {
    budget_.Release(row);
    changed_.NotifyAll();
  });
  return OpenedSealed{std::move(use), std::move(*file)};
}

void CacheImpl::SealedOpened(RowId row) {
  MutexLock lock(mu_);
  Entry* entry = table_.Find(row);
  if (entry == nullptr) return;
  ++entry->sealed_opens;
  ++counters_.passthrough_opens;
  NoteOpenLocked(*entry, true);
}

void CacheImpl::SealedClosed(RowId row) {
  MutexLock lock(mu_);
  if (Entry* entry = table_.Find(row)) --entry->sealed_opens;
}

void CacheImpl::NoteOpenLocked(Entry& entry, bool hit) {
  entry.row.last_access = clock_.WallNow();
  entry.row.hits += hit ? 1 : 0;
  entry.changed = true;
}

// Says so once for each time an image becomes sealed.
void CacheImpl::AnnounceSealed(RowId row) {
  ImageInfo info;
  {
    MutexLock lock(mu_);
    Entry* entry = table_.Find(row);
    if (entry == nullptr || !SealedLocked(*entry) || std::exchange(entry->seal_announced, true)) return;
    info = entry->row.info;
  }
  Announce(Event::kSealed, info);
}

// True when that is news.
bool CacheImpl::MarkDamaged(RowId row) {
  MutexLock lock(mu_);
  Entry* entry = table_.Find(row);
  if (entry == nullptr) return false;
  entry->seal_announced = false;
  return !std::exchange(entry->damaged, true);
}

// One event for people for all that is found bad of an image until all of it is back.
void CacheImpl::OnDropped(RowId row, uint64_t chunk) {
  (void)MarkDamaged(row);
  ImageInfo info;
  bool passed_through, news;
  {
    MutexLock lock(mu_);
    const Entry* entry = table_.Find(row);
    if (entry == nullptr) return;
    info = entry->row.info;
    passed_through = entry->passed_through;
    std::set<uint64_t>& bad = bad_chunks_[row];
    news = bad.empty();
    bad.insert(chunk);
  }
  if (passed_through && !scrubber_->Owns(info.id)) Replace(row);
  Announce(Event::kChunkDropped, info);
  if (news) Announce(Event::kDamaged, info, {"a part of it on disk is bad; it is to be fetched again", 0});
}

// From the janitor, after a checkpoint of the image.
void CacheImpl::TellRepaired(CachedImage& image, bool completed) {
  std::vector<uint64_t> back;
  bool repaired;
  {
    MutexLock lock(mu_);
    repaired = completed && replaced_.erase(RowKey(image.info().id)) > 0;
    if (const auto it = bad_chunks_.find(image.row()); it != bad_chunks_.end()) back.assign(it->second.begin(), it->second.end());
  }
  if (!back.empty()) {
    std::erase_if(back, [&image](uint64_t chunk) { return !image.IsPresent(chunk); });
    MutexLock lock(mu_);
    if (const auto it = bad_chunks_.find(image.row()); it != bad_chunks_.end()) {
      for (const uint64_t chunk : back) it->second.erase(chunk);
      if (it->second.empty()) {
        bad_chunks_.erase(it);
        repaired = true;
      }
    }
  }
  if (repaired) Announce(Event::kRepaired, image.info(), {"what was bad of it on disk has been fetched again", 0});
}

void CacheImpl::Replace(RowId row) {
  MutexLock lock(mu_);
  damaged_.insert(row);
}

void CacheImpl::RemoveDamaged() {
  std::vector<RowId> rows;
  {
    MutexLock lock(mu_);
    rows.assign(damaged_.begin(), damaged_.end());
  }
  std::erase_if(rows, [this](RowId row) { return !budget_.ChooseVictim(row, true); });
  if (rows.empty()) return;
  RemoveImages(rows, Removal::kDamaged);
}

}  // namespace glintfs
