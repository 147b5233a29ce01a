// What the catalogue and the file system ask: rows, opening, names and versions. See cache_impl.h for the other parts.
//
// Opening is single flight: the first thread marks the entry as loading and reads its chunk set without the lock; others wait
// for it. They are FUSE workers waiting for one local read of the index, never for the source.
#include "fs/cache/cache.h"


#include <cassert>
#include <set>

#include "fs/base/log.h"
#include "fs/cache/cache_impl.h"
#include "fs/cache/layout.h"

namespace glintfs {
namespace {

constexpr size_t kMaxPromisedRows = 200'000;


}  // namespace

std::string RowKey(const ImageId& id) { return id.source + '\0' + id.name + '\0' + id.version; }

std::string_view ScrubStateName(ScrubStatus::State state) {
  switch (state) {
    case ScrubStatus::State::kNever: return "never";
    case ScrubStatus::State::kWaiting: return "waiting";
    case ScrubStatus::State::kRunning: return "running";
    case ScrubStatus::State::kGood: return "good";
    case ScrubStatus::State::kRepaired: return "repaired";
    case ScrubStatus::State::kFailed: return "failed";
  }
  return "";
}

std::string_view RemovalName(Removal reason) {
  switch (reason) {
    case Removal::kRoom: return "room";
    case Removal::kLimit: return "limit";
    case Removal::kPrune: return "prune";
    case Removal::kRequest: return "request";
    case Removal::kSuperseded: return "superseded";
    case Removal::kInvalid: return "invalid";
    case Removal::kStalled: return "stalled";
    case Removal::kDamaged: return "damaged";
    case Removal::kLost: return "lost";
  }
  return "";
}

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
  budget_.Touch(image->row());  // a scrub may be what has it in use so far
  image->ResumeFills();
  const bool hit = image->progress().chunks_present > 0;
  {
    MutexLock lock(mu_);
    if (Entry* entry = table_.Find(image->row())) NoteOpenLocked(*entry, hit);
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

std::shared_ptr<CachedImage> CacheImpl::Use(const ImageInfo& info, Error& error, bool touch) {
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
    if (budget_.Acquire(row.row, touch)) break;
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
    ++entry->instances;
    entry->loading = false;
    if (entry->passed_through) image->MarkSealed();
  }
  changed_.NotifyAll();
  if (image->chunks() == 0 && !stored) image->StoreEmpty();
  if (stored && image->progress().complete) {  // so that it becomes sealed, if an earlier end or the source was in the way
    if (row.suspect) verifier_->Recheck(image);
    if (row.verdict == Verdict::kUnknown) verifier_->Consider(image);
  }
  return image;
}

// Whatever of the stored state is not there is absent. A file that cannot be opened now (no descriptors, an I/O error) is left as
// it is: this time the image is read past the cache.
std::shared_ptr<CachedImage> CacheImpl::Load(const ImageRow& row, bool stored) {
  bool leave_alone = false;
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
      leave_alone = !TellsOfTheFile(file.error().code);
      LogWarn("{}: its data file cannot be used ({}): it is {}", row.info.id.name, file.error().message,
              leave_alone ? "read past the cache until it is opened again" : "fetched anew");
    }
  }
  auto image = std::make_shared<CachedImage>(row.info, row.row, options_.chunk_size, *this, std::move(state));
  if (leave_alone) image->LeaveFileAlone();
  return image;
}

// ---------------------------------------------------------------------------------------------------- names and versions

void CacheImpl::SetAlias(std::string_view alias, std::string_view own_name) {
  MutexLock lock(mu_);
  aliases_.Set(alias, own_name);
}

std::string CacheImpl::OwnName(std::string_view name) {
  MutexLock lock(mu_);
  return aliases_.OwnName(name).value_or(std::string(name));
}

std::vector<std::string> CacheImpl::AliasesOf(std::string_view own_name) {
  MutexLock lock(mu_);
  return aliases_.Of(own_name);
}

std::optional<ImageInfo> CacheImpl::FindNewest(std::string_view name) {
  MutexLock lock(mu_);
  const Entry* entry = table_.Newest(backend_.source(), aliases_.OwnName(name).value_or(std::string(name)));
  return entry == nullptr ? std::nullopt : std::optional(entry->row.info);
}

std::vector<ListEntry> CacheImpl::NamesIn(std::string_view directory) {
  const std::string prefix = directory.empty() ? "" : std::string(directory) + "/";
  std::set<std::pair<std::string, bool>> names;
  const auto add = [&](const std::string& name) {
    if (!name.starts_with(prefix)) return;
    const std::string rest = name.substr(prefix.size());
    const size_t slash = rest.find('/');
    names.emplace(rest.substr(0, slash), slash != std::string::npos);
  };
  {
    MutexLock lock(mu_);
    for (const auto& [row, entry] : table_.all())
      if (!entry->invalid() && entry->row.info.id.source == backend_.source()) add(entry->row.info.id.name);
    for (const auto& [alias, own_name] : aliases_.all()) {
      const Entry* entry = table_.Newest(backend_.source(), own_name);
      if (entry != nullptr && !entry->invalid()) add(alias);
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
  TellSuperseded(retired);
}

void CacheImpl::TellSuperseded(const std::vector<ImageInfo>& retired) {
  for (const ImageInfo& info : retired)
    LogInfo("{}: the source has another version now; this one serves only what is cached of it", info.id.name);
  for (const ImageInfo& info : retired) Announce(Event::kInvalidated, info, {"the source has another version", 0});
}

void CacheImpl::Gone(std::string_view name) {
  std::vector<ImageInfo> retired;
  {
    MutexLock lock(mu_);
    aliases_.Remove(name);
    for (Entry* entry : table_.Versions(backend_.source(), name)) RetireLocked(*entry, retired);
  }
  for (const ImageInfo& info : retired) Announce(Event::kInvalidated, info, {"the source has it no more", 0});
}

void CacheImpl::SetEventHandler(EventHandler handler) {
  MutexLock lock(mu_);
  event_handler_ = std::move(handler);
  while (announcing_ > 0) changed_.Wait(mu_);
}

void CacheImpl::Announce(Event event, const ImageInfo& info, EventDetail detail) {
  EventHandler handler;
  {
    MutexLock lock(mu_);
    handler = event_handler_;
    if (!handler) return;
    ++announcing_;
  }
  handler(event, info, detail);
  {
    MutexLock lock(mu_);
    --announcing_;
  }
  changed_.NotifyAll();
}

}  // namespace glintfs
