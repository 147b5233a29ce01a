// cached_images lists what Glance would call cached: images that are there as a whole (complete, verified). Partial
// ones are an implementation detail to Glance's clients, which would take them for served from disk; GET /v1/images
// shows them.
//
// A misspelt parameter of prune is refused: "dryrun=1" must not prune.
#include "control/cache_api.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "control/reply.h"
#include "fs/base/size_text.h"

namespace glintfs {
namespace {

using nlohmann::json;

std::optional<HttpResponse> CheckName(const std::string& image) {
  if (IsValidName(image)) return std::nullopt;
  return ErrorResponse(400, "not a valid image name");
}

HttpResponse ListCache(Service& service) {
  json cached = json::array(), queued = json::array();
  for (const ImageStatus& image : service.Images()) {
    if (image.state != ImageState::kComplete && image.state != ImageState::kVerified) continue;
    cached.push_back({{"image_id", image.info.id.name},
                      {"hits", image.hits},
                      {"last_accessed", JsonSeconds(image.last_access)},
                      {"last_modified", JsonSeconds(image.last_progress)},
                      {"size", image.info.size}});
  }
  for (const QueueEntry& entry : service.Queue()) queued.push_back(entry.name);
  return JsonResponse(200, {{"cached_images", std::move(cached)}, {"queued_images", std::move(queued)}});
}

HttpResponse QueueOne(Service& service, const std::string& image) {
  if (auto bad = CheckName(image)) return *bad;
  if (auto queued = service.QueueImage(image, false); !queued) return ErrorResponse(queued.error());
  return EmptyResponse(202);
}

HttpResponse DeleteOne(Service& service, const std::string& image) {
  if (auto bad = CheckName(image)) return *bad;
  if (auto evicted = service.Evict(image); !evicted) return ErrorResponse(evicted.error());
  return EmptyResponse(204);
}

HttpResponse DeleteAll(Service& service, const HttpRequest& request) {
  const std::string_view target = request.Header("x-image-cache-clear-target").value_or("");
  const bool both = target.empty() || EqualsIgnoringCase(target, "both");
  const bool cache = both || EqualsIgnoringCase(target, "cache");
  const bool queue = both || EqualsIgnoringCase(target, "queue");
  if (!cache && !queue) return ErrorResponse(400, "x-image-cache-clear-target must be cache, queue or both");
  if (queue) service.ClearQueue();  // first: queued images are not evicted
  if (cache) service.ClearCache();
  return EmptyResponse(204);
}

struct PruneRequest {
  std::optional<uint64_t> to;
  bool dry_run = false;
  bool extended = false;  // any parameter of ours was given
};

std::optional<bool> ParseBool(std::string_view text) {
  if (text.empty() || text == "1" || EqualsIgnoringCase(text, "true")) return true;
  if (text == "0" || EqualsIgnoringCase(text, "false")) return false;
  return std::nullopt;
}

Result<void> SetPruneText(PruneRequest& prune, const std::string& name, const std::string& value) {
  if (name == "to") {
    GLINTFS_ASSIGN(prune.to, ParseSize(value));
  } else if (name == "dry_run") {
    const auto flag = ParseBool(value);
    if (!flag) return Error{Errc::kInvalid, "dry_run must be true or false"};
    prune.dry_run = *flag;
  } else {
    return Error{Errc::kInvalid, "unknown parameter " + name + ": prune takes to and dry_run"};
  }
  prune.extended = true;
  return {};
}

Result<void> SetPruneJson(PruneRequest& prune, const std::string& name, const json& value) {
  if (value.is_string()) return SetPruneText(prune, name, value.get<std::string>());
  if (name == "to" && value.is_number_unsigned()) {
    prune.to = value.get<uint64_t>();
  } else if (name == "dry_run" && value.is_boolean()) {
    prune.dry_run = value.get<bool>();
  } else {
    return Error{Errc::kInvalid, R"(prune takes {"to": "5G" or bytes, "dry_run": true or false})"};
  }
  prune.extended = true;
  return {};
}

Result<PruneRequest> ParsePrune(const HttpRequest& request) {
  PruneRequest prune;
  for (const auto& [name, value] : request.query) GLINTFS_TRY(SetPruneText(prune, name, value));
  if (request.body.empty()) return prune;
  const json body = json::parse(request.body, nullptr, false);
  if (!body.is_object()) return Error{Errc::kInvalid, "the body must be empty or a JSON object"};
  for (const auto& [name, value] : body.items()) GLINTFS_TRY(SetPruneJson(prune, name, value));
  return prune;
}

HttpResponse Prune(Service& service, const HttpRequest& request) {
  const auto prune = ParsePrune(request);
  if (!prune) return ErrorResponse(prune.error());
  const PruneResult result = service.Prune(prune->to, prune->dry_run);
  json answer = {{"total_files_pruned", result.files}, {"total_bytes_pruned", result.bytes}};
  if (prune->extended) {
    answer["dry_run"] = prune->dry_run;
    answer["images"] = result.names;
  }
  return JsonResponse(200, answer);
}

HttpResponse Clean(Service& service, const HttpRequest& request) {
  const auto report = request.query.find("report");
  const auto wanted = report == request.query.end() ? std::optional<bool>(false) : ParseBool(report->second);
  if (!wanted) return ErrorResponse(400, "report must be true or false");
  const PruneResult result = service.Clean();
  if (!*wanted) return EmptyResponse(200);
  return JsonResponse(
      200, {{"total_files_cleaned", result.files}, {"total_bytes_cleaned", result.bytes}, {"images", result.names}});
}

}  // namespace

std::vector<Route> CacheRoutes(Service& s) {
  return {
      {"GET", "/v2/cache", [&s](const HttpRequest&, const std::string&) { return ListCache(s); }},
      {"DELETE", "/v2/cache", [&s](const HttpRequest& request, const std::string&) { return DeleteAll(s, request); }},
      {"POST", "/v2/cache/prune", [&s](const HttpRequest& request, const std::string&) { return Prune(s, request); }},
      {"POST", "/v2/cache/clean", [&s](const HttpRequest& request, const std::string&) { return Clean(s, request); }},
      {"PUT", "/v2/cache/{image}", [&s](const HttpRequest&, const std::string& image) { return QueueOne(s, image); }},
      {"DELETE", "/v2/cache/{image}",
       [&s](const HttpRequest&, const std::string& image) { return DeleteOne(s, image); }},
  };
}

}  // namespace glintfs
