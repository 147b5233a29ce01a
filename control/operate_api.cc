// Events are asked for, not pushed: a client that follows them asks for what came after the last one it has. So a client that
// goes away or is slow holds nothing here, and one that comes back learns how many it missed.
#include "control/operate_api.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "control/reply.h"
#include "fs/base/percent.h"

namespace glintfs {

std::string_view EventKindName(ServiceEvent::Kind kind) {
  switch (kind) {
    case ServiceEvent::Kind::kQueued: return "queued";
    case ServiceEvent::Kind::kCancelled: return "cancelled";
    case ServiceEvent::Kind::kFilled: return "filled";
    case ServiceEvent::Kind::kVerified: return "verified";
    case ServiceEvent::Kind::kDamaged: return "damaged";
    case ServiceEvent::Kind::kRepaired: return "repaired";
    case ServiceEvent::Kind::kInvalid: return "invalid";
    case ServiceEvent::Kind::kEvicted: return "evicted";
    case ServiceEvent::Kind::kError: return "error";
    case ServiceEvent::Kind::kSourceAway: return "source-away";
    case ServiceEvent::Kind::kSourceBack: return "source-back";
    case ServiceEvent::Kind::kSettings: return "settings";
  }
  return "";
}

namespace {

using nlohmann::json;

constexpr uint64_t kMostEvents = 1000;

HttpResponse BadName() { return ErrorResponse(400, "not a valid image name"); }

std::optional<uint64_t> ParseNumber(const HttpRequest& request, const std::string& name, uint64_t absent) {
  const auto it = request.query.find(name);
  if (it == request.query.end()) return absent;
  const std::string& text = it->second;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

HttpResponse PutQueue(Service& service, const HttpRequest& request, const std::string& image) {
  if (!IsValidName(image)) return BadName();
  const auto it = request.query.find("now");
  const bool now = it != request.query.end() && (it->second.empty() || it->second == "true" || it->second == "1");
  if (it != request.query.end() && !now && it->second != "false" && it->second != "0")
    return ErrorResponse(400, "now must be true or false");
  if (auto queued = service.QueueImage(image, now); !queued) return ErrorResponse(queued.error());
  return EmptyResponse(202);
}

HttpResponse DeleteFromQueue(Service& service, const std::string& image) {
  if (!IsValidName(image)) return BadName();
  if (auto done = service.CancelFill(image); !done) return ErrorResponse(done.error());
  return EmptyResponse(204);
}

HttpResponse PostScrub(Service& service, const std::string& image) {
  if (!IsValidName(image)) return BadName();
  if (auto done = service.Scrub(image); !done) return ErrorResponse(done.error());
  return JsonResponse(202, {{"images", 1}});
}

HttpResponse GetEvents(Service& service, const HttpRequest& request) {
  const auto after = ParseNumber(request, "after", 0), limit = ParseNumber(request, "limit", kMostEvents);
  if (!after || !limit) return ErrorResponse(400, "after and limit must be numbers");
  const EventPage page = service.Events(*after, std::min(*limit, kMostEvents));
  json events = json::array();
  for (const ServiceEvent& event : page.events)
    events.push_back({{"sequence", event.sequence},
                      {"time", JsonSeconds(event.time)},
                      {"event", std::string(EventKindName(event.kind))},
                      {"name", event.name},
                      {"text", event.text},
                      {"bytes", event.bytes}});
  return JsonResponse(200, {{"events", std::move(events)}, {"last", page.last}, {"lost", page.lost}});
}

HttpResponse GetActivity(Service& service) {
  const Activity activity = service.Current();
  json fetches = json::array(), fills = json::array();
  for (const FetchActivity& fetch : activity.fetches)
    fetches.push_back({{"name", fetch.name},
                       {"href", "/v1/images/" + PercentEncode(fetch.name)},
                       {"offset", fetch.offset},
                       {"length", fetch.length},
                       {"received", fetch.received},
                       {"urgency", fetch.urgency},
                       {"age_seconds", JsonSeconds(fetch.age)}});
  for (const FillActivity& fill : activity.fills)
    fills.push_back({{"name", fill.name},
                     {"href", "/v1/images/" + PercentEncode(fill.name)},
                     {"size", fill.size},
                     {"cached_bytes", fill.cached_bytes},
                     {"fill_rate", fill.rate},
                     {"queued", fill.queued}});
  return JsonResponse(200, {{"fetches", std::move(fetches)}, {"fills", std::move(fills)}});
}

HttpResponse GetSettings(Service& service) {
  json settings = json::array();
  for (const SettingValue& setting : service.Settings())
    settings.push_back({{"name", setting.name},
                        {"value", setting.value},
                        {"default", setting.default_value},
                        {"allowed", setting.allowed},
                        {"help", setting.help},
                        {"changeable", setting.changeable}});
  return JsonResponse(200, {{"settings", std::move(settings)}});
}

// {"max_size": "20Gi", "fill_rate": 0}: values as in the TOML file.
Result<std::map<std::string, std::string>> ParseSettings(const HttpRequest& request) {
  const Error wrong{Errc::kInvalid, R"(the body must be a JSON object of settings: {"max_size": "20Gi"})"};
  const json body = json::parse(request.body, nullptr, false);
  if (!body.is_object() || body.empty()) return wrong;
  std::map<std::string, std::string> values;
  for (const auto& [name, value] : body.items()) {
    if (value.is_string()) {
      values[name] = value.get<std::string>();
    } else if (value.is_boolean()) {
      values[name] = value.get<bool>() ? "yes" : "no";
    } else if (value.is_number()) {
      values[name] = value.dump();
    } else {
      return wrong;
    }
  }
  return values;
}

HttpResponse PatchSettings(Service& service, const HttpRequest& request) {
  const auto values = ParseSettings(request);
  if (!values) return ErrorResponse(values.error());
  const auto changes = service.ChangeSettings(*values);
  if (!changes) return ErrorResponse(changes.error());
  json list = json::array();
  for (const SettingChange& change : *changes)
    list.push_back({{"name", change.name}, {"before", change.before}, {"after", change.after}});
  return JsonResponse(200, {{"changed", std::move(list)}});
}

HttpResponse GetSource(Service& service, const HttpRequest& request) {
  const auto it = request.query.find("directory");
  const std::string directory = it == request.query.end() ? "" : it->second;
  if (!directory.empty() && !IsValidName(directory)) return ErrorResponse(400, "not a valid directory name");
  const auto listing = service.SourceEntries(directory);
  if (!listing && listing.error().code == Errc::kNotFound)
    return ErrorResponse(404, directory.empty() ? listing.error().message : "there is no directory " + directory + " at the source");
  if (!listing) return ErrorResponse(listing.error());
  json list = json::array();
  for (const SourceEntry& entry : listing->entries)
    list.push_back({{"name", entry.name}, {"directory", entry.is_directory}, {"href", "/v1/images/" + PercentEncode(entry.name)}});
  return JsonResponse(200, {{"entries", std::move(list)}, {"complete", listing->complete}});
}

std::string_view LevelName(Finding::Level level) {
  switch (level) {
    case Finding::Level::kOk: return "ok";
    case Finding::Level::kWarn: return "warn";
    case Finding::Level::kFail: return "fail";
  }
  return "";
}

HttpResponse GetDoctor(Service& service) {
  json findings = json::array();
  for (const Finding& finding : service.Doctor())
    findings.push_back({{"check", finding.check},
                        {"level", std::string(LevelName(finding.level))},
                        {"text", finding.text},
                        {"advice", finding.advice}});
  return JsonResponse(200, {{"findings", std::move(findings)}});
}

}  // namespace

std::vector<Route> OperateRoutes(Service& s) {
  using Request = HttpRequest;
  using Name = std::string;
  return {
      {"PUT", "/v1/queue/{image}", [&s](const Request& request, const Name& image) { return PutQueue(s, request, image); }, {"now"}},
      {"DELETE", "/v1/queue/{image}", [&s](const Request&, const Name& image) { return DeleteFromQueue(s, image); }},
      {"DELETE", "/v1/queue",
       [&s](const Request&, const Name&) {
         s.ClearQueue();
         return EmptyResponse(204);
       }},
      {"POST", "/v1/scrub/{image}", [&s](const Request&, const Name& image) { return PostScrub(s, image); }},
      {"POST", "/v1/scrub", [&s](const Request&, const Name&) { return JsonResponse(202, {{"images", s.ScrubAll()}}); }},
      {"GET", "/v1/events", [&s](const Request& request, const Name&) { return GetEvents(s, request); }, {"after", "limit"}},
      {"GET", "/v1/activity", [&s](const Request&, const Name&) { return GetActivity(s); }},
      {"GET", "/v1/settings", [&s](const Request&, const Name&) { return GetSettings(s); }},
      {"PATCH", "/v1/settings", [&s](const Request& request, const Name&) { return PatchSettings(s, request); }, {}, true},
      {"GET", "/v1/source", [&s](const Request& request, const Name&) { return GetSource(s, request); }, {"directory"}},
      {"GET", "/v1/doctor", [&s](const Request&, const Name&) { return GetDoctor(s); }},
  };
}

}  // namespace glintfs
