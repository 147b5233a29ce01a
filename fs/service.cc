#include "fs/service.h"

#include <algorithm>

#include "backends/openstack/uuid.h"
#include "fs/base/size_text.h"
#include "fs/doctor.h"
#include "fs/process_stats.h"

#ifndef GLINTFS_VERSION
#error "GLINTFS_VERSION comes from CMakeLists.txt"
#endif

namespace glintfs {
namespace {
constexpr size_t kMostShown = 100;  // fetches and fills
}

DaemonService::DaemonService(RunningSettings& settings, EventLog& events, Backend& backend, Cache& cache, Catalog& catalog,
                             Clock& clock)
    : settings_(settings), events_(events), backend_(backend), cache_(cache), catalog_(catalog), clock_(clock), started_(clock.Now()) {}

ServiceStatus DaemonService::Status() {
  const Health health = catalog_.health();
  const Options options = settings_.Get();
  ServiceStatus status;
  status.version = GLINTFS_VERSION;
  status.source = backend_.source();
  status.mountpoint = options.mountpoint;
  status.mount_problem = mount_->WhyNot();
  status.cache_directory = options.cache.directory;
  status.uptime = clock_.Now() - started_;
  status.source_reachable = health.reachable;
  status.source_error = health.error;
  if (!health.reachable && health.since.count() != 0)
    status.source_error += fmt::format(" (for {})", FormatDuration(clock_.WallNow() - health.since));
  status.fill = FindSetting("fill")->get(options);
  status.chunk_size = options.cache.chunk_size;
  status.cache = cache_.Stats();
  if (const auto meter = backend_.meter()) status.backend = meter->stats();
  status.process = ReadProcessStats();
  MutexLock lock(mu_);
  status.passthrough_refused = passthrough_refused_;
  return status;
}

void DaemonService::SetPassthrough(std::string refused) {
  MutexLock lock(mu_);
  passthrough_refused_ = std::move(refused);
}

Result<void> DaemonService::QueueImage(std::string_view name, bool now) {
  GLINTFS_ASSIGN(const CatalogEntry entry, catalog_.LookupAndWait(std::string(name), stopping_.get_token()));
  if (entry.is_directory) return Error{Errc::kIsDirectory, fmt::format("{} is a directory", name)};
  return cache_.Enqueue(entry.image, now);
}

Result<void> DaemonService::CancelFill(std::string_view name) { return cache_.CancelFill(cache_.OwnName(name)); }

Activity DaemonService::Current() {
  const CacheActivity now = cache_.Activity();
  Activity activity;
  for (const FetchStatus& fetch : now.fetches)
    activity.fetches.push_back({.name = fetch.name,
                                .offset = fetch.offset,
                                .length = fetch.length,
                                .received = fetch.received,
                                .urgency = std::string(fetch.urgency),
                                .age = fetch.age});
  for (const FillStatus& fill : now.fills)
    activity.fills.push_back(
        {.name = fill.name, .size = fill.size, .cached_bytes = fill.cached_bytes, .rate = fill.rate, .queued = fill.queued});
  std::sort(activity.fetches.begin(), activity.fetches.end(), [](const auto& a, const auto& b) { return a.age > b.age; });
  std::sort(activity.fills.begin(), activity.fills.end(), [](const auto& a, const auto& b) { return a.rate > b.rate; });
  if (activity.fetches.size() > kMostShown) activity.fetches.resize(kMostShown);
  if (activity.fills.size() > kMostShown) activity.fills.resize(kMostShown);
  return activity;
}

Result<std::vector<SettingChange>> DaemonService::ChangeSettings(const std::map<std::string, std::string>& values) {
  return settings_.Change(values);
}

Result<SourceListing> DaemonService::SourceEntries(std::string_view directory) {
  GLINTFS_ASSIGN(const CatalogListing listing, catalog_.ListAndWait(std::string(directory), stopping_.get_token()));
  const std::string prefix = directory.empty() ? "" : std::string(directory) + "/";
  SourceListing result;
  result.complete = listing.from_source;
  result.entries.reserve(listing.entries->size());
  for (const ListEntry& entry : *listing.entries) result.entries.push_back({.name = prefix + entry.name, .is_directory = entry.is_directory});
  return result;
}

std::vector<Finding> DaemonService::Doctor() {
  return ExamineDaemon(settings_.Get(), backend_, Status(), mount_->place(), stopping_.get_token());
}

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
  if (!settings_.Get().backend.openstack.names || !found.empty()) return found;
  GLINTFS_TRY(add(fmt::format("by-name/{}", name)));
  if (!found.empty()) return found;
  GLINTFS_ASSIGN(const CatalogListing names, catalog_.ListAndWait("by-name", stopping_.get_token()));
  const std::string prefix = fmt::format("{}~", name);
  for (const ListEntry& entry : *names.entries) {
    if (!entry.name.starts_with(prefix) || entry.name.size() != prefix.size() + kUuidLength) continue;
    GLINTFS_TRY(add("by-name/" + entry.name));
  }
  // A listing of what is known, for the source does not answer, does not tell that there is none.
  const Health health = catalog_.health();
  if (found.empty() && !health.reachable) return Error{Errc::kUnavailable, health.error};
  return found;
}

}  // namespace glintfs
