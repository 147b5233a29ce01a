#include "fs/service.h"

#include <memory>
#include <optional>

#include "backends/openstack/uuid.h"
#include "fs/base/size_text.h"
#include "fs/doctor.h"

#ifndef GLINTFS_VERSION
#error "GLINTFS_VERSION comes from CMakeLists.txt"
#endif

namespace glintfs {

DaemonService::DaemonService(const Options& options, Backend& backend, Cache& cache, Catalog& catalog, Clock& clock)
    : options_(options), backend_(backend), cache_(cache), catalog_(catalog), clock_(clock), started_(clock.Now()) {}

ServiceStatus DaemonService::Status() {
  const Health health = catalog_.health();
  ServiceStatus status;
  status.version = GLINTFS_VERSION;
  status.source = backend_.source();
  status.mountpoint = options_.mountpoint;
  status.cache_directory = options_.cache.directory;
  status.uptime = clock_.Now() - started_;
  status.source_reachable = health.reachable;
  status.source_error = health.error;
  if (!health.reachable && health.since.count() != 0)
    status.source_error += fmt::format(" (for {})", FormatDuration(clock_.WallNow() - health.since));
  status.fill = FindSetting("fill")->get(options_);
  status.chunk_size = options_.cache.chunk_size;
  status.cache = cache_.Stats();
  if (const auto meter = backend_.meter()) status.backend = meter->stats();
  MutexLock lock(mu_);
  status.passthrough_refused = passthrough_refused_;
  return status;
}

void DaemonService::SetPassthrough(std::string refused) {
  MutexLock lock(mu_);
  passthrough_refused_ = std::move(refused);
}

Result<void> DaemonService::QueueImage(std::string_view name, bool /*now*/) {
  GLINTFS_ASSIGN(const CatalogEntry entry, catalog_.LookupAndWait(std::string(name), stopping_.get_token()));
  if (entry.is_directory) return Error{Errc::kIsDirectory, fmt::format("{} is a directory", name)};
  return cache_.Enqueue(entry.image);
}

Result<void> DaemonService::CancelFill(std::string_view name) { return cache_.Dequeue(cache_.OwnName(name)); }

EventPage DaemonService::Events(uint64_t, size_t) { return {}; }
Activity DaemonService::Current() { return {}; }
std::vector<SettingValue> DaemonService::Settings() { return {}; }
Result<std::vector<SettingChange>> DaemonService::ChangeSettings(const std::map<std::string, std::string>&) {
  return Error{Errc::kNotSupported, "not built yet"};
}
Result<std::vector<SourceEntry>> DaemonService::SourceEntries(std::string_view) {
  return Error{Errc::kNotSupported, "not built yet"};
}
std::vector<Finding> DaemonService::Doctor() { return ExamineDaemon(options_, backend_, Status(), stopping_.get_token()); }

Result<void> DaemonService::Evict(std::string_view given) {
  const std::string name = cache_.OwnName(given);
  const bool queued = static_cast<bool>(cache_.Dequeue(name));
  auto evicted = cache_.Evict(name);
  if (!evicted && evicted.error().code == Errc::kNotFound && queued) return {};
  return evicted;
}

Result<ImageInfo> DaemonService::FindImage(std::string_view name) {
  GLINTFS_ASSIGN(const CatalogEntry entry, catalog_.LookupAndWait(std::string(name), stopping_.get_token()));
  if (entry.is_directory) return Error{Errc::kIsDirectory, fmt::format("{} is a directory", name)};
  return entry.image;
}

// Names besides paths are those of glance's by-name/: NAME, or NAME~ID for each of several.
Result<std::vector<ImageInfo>> DaemonService::FindImagesNamed(std::string_view name) {
  std::vector<ImageInfo> found;
  const auto add = [&](const std::string& path) -> Result<void> {
    auto image = FindImage(path);
    if (image) {
      found.push_back(*image);
      return {};
    }
    const Errc code = image.error().code;
    if (code == Errc::kNotFound || code == Errc::kIsDirectory || code == Errc::kNotDirectory) return {};
    return image.error();
  };
  GLINTFS_TRY(add(std::string(name)));
  if (!options_.backend.openstack.names || !found.empty()) return found;
  GLINTFS_TRY(add(fmt::format("by-name/{}", name)));
  if (!found.empty()) return found;
  GLINTFS_ASSIGN(const std::vector<ListEntry> names, ListAndWait("by-name"));
  const std::string prefix = fmt::format("{}~", name);
  for (const ListEntry& entry : names) {
    if (!entry.name.starts_with(prefix) || entry.name.size() != prefix.size() + kUuidLength) continue;
    GLINTFS_TRY(add("by-name/" + entry.name));
  }
  // A listing of what is known, for the source does not answer, does not tell that there is none.
  const Health health = catalog_.health();
  if (found.empty() && !health.reachable) return Error{Errc::kUnavailable, health.error};
  return found;
}

Result<std::vector<ListEntry>> DaemonService::ListAndWait(const std::string& directory) {
  struct Outcome {
    Mutex mu;
    CondVar changed;
    std::optional<Result<ListingPtr>> listing GUARDED_BY(mu);

    void Set(Result<ListingPtr> result) {
      MutexLock lock(mu);
      listing.emplace(std::move(result));
      changed.NotifyAll();
    }
    Result<ListingPtr> Wait() {
      MutexLock lock(mu);
      while (!listing) changed.Wait(mu);
      return *listing;
    }
  };
  const auto outcome = std::make_shared<Outcome>();  // the callback may still be returning when this function has
  const RequestId id = catalog_.NewRequestId();
  catalog_.List(directory, id, [outcome](Result<ListingPtr> listing) { outcome->Set(std::move(listing)); });
  const std::stop_callback cancel(stopping_.get_token(), [this, id] { catalog_.Cancel(id); });
  GLINTFS_ASSIGN(const ListingPtr listing, outcome->Wait());
  return *listing;
}

}  // namespace glintfs
