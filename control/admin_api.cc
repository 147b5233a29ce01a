// Times are seconds since 1970 as numbers, null when there is none; sizes are bytes, rates bytes per second. Keys are
// only ever added.
#include "control/admin_api.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>

#include "fs/base/percent.h"
#include "fs/base/size_text.h"
#include "control/reply.h"

namespace glintfs {
namespace {

using nlohmann::json;

json TimeOrNull(Nanos time) { return time.count() == 0 ? json(nullptr) : json(JsonSeconds(time)); }

json LimitsJson(const CacheLimits& limits) {
  return {{"max_size", limits.max_size},
          {"low_mark", limits.low_mark},
          {"min_free", limits.min_free},
          {"fill_rate", limits.fill_rate},
          {"stall_seconds", JsonSeconds(limits.stall_time)},
          {"clean_interval_seconds", JsonSeconds(limits.clean_interval)}};
}

json CountersJson(const CacheStats& stats) {
  return {{"read_hits", stats.read_hits},
          {"read_misses", stats.read_misses},
          {"bytes_read", stats.bytes_read},
          {"bytes_fetched",
           {{"demand", stats.bytes_fetched[0]},
            {"readahead", stats.bytes_fetched[1]},
            {"queued", stats.bytes_fetched[2]},
            {"background", stats.bytes_fetched[3]}}},
          {"fetch_errors", stats.fetch_errors},
          {"bypassed_bytes", stats.bypassed_bytes},
          {"evictions", stats.evictions},
          {"evicted_bytes", stats.evicted_bytes},
          {"stalled_removed", stats.stalled_removed},
          {"invalid_removed", stats.invalid_removed},
          {"checksum_ok", stats.checksum_ok},
          {"checksum_failed", stats.checksum_failed},
          {"bad_chunks", stats.bad_chunks},
          {"index_commits", stats.index_commits}};
}

json SourceJson(const BackendStats& stats) {
  json operations = json::object(), errors = json::object();
  for (const Operation operation : kOperations) {
    const LatencyCounts& counts = stats.latency[static_cast<size_t>(operation)];
    operations[std::string(OperationName(operation))] = {{"requests", counts.count()},
                                                         {"seconds", std::chrono::duration<double>(counts.sum).count()},
                                                         {"median_below", counts.Quantile(0.5)},
                                                         {"p99_below", counts.Quantile(0.99)}};
  }
  for (size_t i = 0; i < stats.errors.size(); ++i)
    if (stats.errors[i] != 0) errors[std::string(ErrcName(static_cast<Errc>(i)))] = stats.errors[i];
  return {{"backend", stats.backend},
          {"requests", stats.requests()},
          {"bytes", stats.bytes},
          {"retries", stats.retries},
          {"errors", errors},
          {"operations", operations}};
}

// Empty while the disk has room for what is read next. A cache that is as large as its disk allows is always near min_free: only what
// is well below, or what evicting everything would not mend, is worth a word.
std::string DiskProblem(const CacheStats& cache) {
  const double keep = static_cast<double>(cache.disk_total) * cache.limits.min_free;
  const auto available = static_cast<double>(cache.disk_available);
  if (available >= keep * 0.9 && available + static_cast<double>(cache.used_bytes) >= keep) return {};
  return fmt::format("cache: the disk has {} available, min_free keeps {}: nothing new is cached, but in place of what can be evicted",
                     FormatSize(cache.disk_available), FormatSize(static_cast<uint64_t>(keep)));
}

json StatusJson(const ServiceStatus& status, size_t queued) {
  const CacheStats& cache = status.cache;
  json problems = json::array();
  if (!status.source_reachable) problems.push_back("source: " + status.source_error);
  if (!status.mount_problem.empty()) problems.push_back("mount: " + status.mount_problem);
  if (!cache.storage_error.empty()) problems.push_back("cache: " + cache.storage_error);
  if (cache.no_room)
    problems.push_back("cache: it is full and nothing can be evicted: all in it is open, pinned, queued or being filled, or others have "
                       "filled its disk. What does not fit is read past it and not kept");
  if (cache.limits.max_size != 0 && cache.used_bytes > cache.limits.max_size)
    problems.push_back(fmt::format("cache: it holds {} more than max_size: what is open, pinned or queued is not evicted",
                                   FormatSize(cache.used_bytes - cache.limits.max_size)));
  if (std::string disk = DiskProblem(cache); !disk.empty()) problems.push_back(std::move(disk));
  return {{"version", status.version},
          {"source", status.source},
          {"mountpoint", status.mountpoint},
          {"cache_directory", status.cache_directory},
          {"uptime_seconds", JsonSeconds(status.uptime)},
          {"health", problems.empty() ? "ok" : "degraded"},
          {"problems", problems},
          {"source_reachable", status.source_reachable},
          {"fill", status.fill},
          {"chunk_size", status.chunk_size},
          {"passthrough", {{"on", status.passthrough_refused.empty()}, {"refused", status.passthrough_refused}}},
          {"limits", LimitsJson(cache.limits)},
          {"use",
           {{"used_bytes", cache.used_bytes},
            {"reserved_bytes", cache.reserved_bytes},
            {"disk_total_bytes", cache.disk_total},
            {"disk_available_bytes", cache.disk_available}}},
          {"images",
           {{"total", cache.images},
            {"absent", cache.absent},
            {"partial", cache.partial},
            {"complete", cache.complete},
            {"verified", cache.verified},
            {"invalid", cache.invalid},
            {"pinned", cache.pinned},
            {"open", cache.open_images},
            {"queued", queued}}},
          {"in_flight",
           {{"fetches_running", cache.fetches_running},
            {"fetches_waiting", cache.fetches_waiting},
            {"reads_parked", cache.reads_parked}}},
          {"counters", CountersJson(cache)},
          {"source_requests", SourceJson(status.backend)}};
}

json ImageJson(const ImageStatus& image) {
  json checksum = nullptr;
  if (image.checksum) checksum = {{"algorithm", image.checksum->algorithm}, {"value", image.checksum->hex}};
  return {{"name", image.info.id.name},
          {"href", "/v1/images/" + PercentEncode(image.info.id.name)},
          {"version", image.info.id.version},
          {"size", image.info.size},
          {"mtime", TimeOrNull(image.info.mtime)},
          {"state", std::string(ImageStateName(image.state))},
          {"chunk_size", image.chunk_size},
          {"chunks", image.chunks},
          {"chunks_present", image.chunks_present},
          {"cached_bytes", image.cached_bytes},
          {"disk_bytes", image.disk_bytes},
          {"hits", image.hits},
          {"last_access", TimeOrNull(image.last_access)},
          {"last_progress", TimeOrNull(image.last_progress)},
          {"pinned", image.pinned},
          {"filling", image.filling},
          {"open_count", image.open_count},
          {"fill_rate", image.fill_rate},
          {"error", image.error},
          {"checksum", checksum},
          {"checksum_asked", image.checksum_asked},
          {"scrub",
           {{"state", std::string(ScrubStateName(image.scrub.state))},
            {"checked_bytes", image.scrub.checked_bytes},
            {"bad_chunks", image.scrub.bad_chunks},
            {"finished", TimeOrNull(image.scrub.finished)},
            {"error", image.scrub.error}}}};
}

// How far it is, is asked only for what runs: a queue may be long.
json QueueEntryJson(Service& service, const QueueEntry& entry) {
  json result = {{"name", entry.name},
                 {"href", "/v1/images/" + PercentEncode(entry.name)},
                 {"added", TimeOrNull(entry.added)},
                 {"attempts", entry.attempts},
                 {"next_try", TimeOrNull(entry.next_try)},
                 {"error", entry.error},
                 {"running", entry.running},
                 {"size", nullptr},
                 {"cached_bytes", nullptr},
                 {"fill_rate", nullptr}};
  if (entry.size) result["size"] = *entry.size;
  if (!entry.running) return result;
  if (const auto image = service.Image(entry.name)) {
    result["size"] = image->info.size;
    result["cached_bytes"] = image->cached_bytes;
    result["fill_rate"] = image->fill_rate;
  }
  return result;
}

HttpResponse GetStatus(Service& service) {
  const ServiceStatus status = service.Status();
  return JsonResponse(200, StatusJson(status, service.Queue().size()));
}

HttpResponse GetImages(Service& service) {
  json images = json::array();
  for (const ImageStatus& image : service.Images()) images.push_back(ImageJson(image));
  return JsonResponse(200, {{"images", std::move(images)}});
}

HttpResponse GetImage(Service& service, const std::string& name) {
  if (!IsValidName(name)) return ErrorResponse(400, "not a valid image name");
  const auto image = service.Image(name);
  if (!image) return ErrorResponse(404, "nothing is cached of " + name);
  return JsonResponse(200, ImageJson(*image));
}

HttpResponse GetQueue(Service& service) {
  json queue = json::array();
  for (const QueueEntry& entry : service.Queue()) queue.push_back(QueueEntryJson(service, entry));
  return JsonResponse(200, {{"queue", std::move(queue)}});
}

HttpResponse GetPins(Service& service) {
  json pins = json::array(), hrefs = json::array();
  for (const std::string& name : service.Pins()) {
    pins.push_back(name);
    hrefs.push_back("/v1/images/" + PercentEncode(name));
  }
  return JsonResponse(200, {{"pins", std::move(pins)}, {"hrefs", std::move(hrefs)}});
}

HttpResponse SetPinned(Service& service, const std::string& name, bool pinned) {
  if (!IsValidName(name)) return ErrorResponse(400, "not a valid image name");
  if (auto done = service.SetPinned(name, pinned); !done) return ErrorResponse(done.error());
  return EmptyResponse(204);
}

}  // namespace

std::vector<Route> AdminRoutes(Service& s) {
  return {
      {"GET", "/v1/status", [&s](const HttpRequest&, const std::string&) { return GetStatus(s); }},
      {"GET", "/v1/images", [&s](const HttpRequest&, const std::string&) { return GetImages(s); }},
      {"GET", "/v1/images/{image}", [&s](const HttpRequest&, const std::string& image) { return GetImage(s, image); }},
      {"GET", "/v1/queue", [&s](const HttpRequest&, const std::string&) { return GetQueue(s); }},
      {"GET", "/v1/pins", [&s](const HttpRequest&, const std::string&) { return GetPins(s); }},
      {"PUT", "/v1/pins/{image}",
       [&s](const HttpRequest&, const std::string& image) { return SetPinned(s, image, true); }},
      {"DELETE", "/v1/pins/{image}",
       [&s](const HttpRequest&, const std::string& image) { return SetPinned(s, image, false); }},
  };
}

}  // namespace glintfs
