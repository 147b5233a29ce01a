// Images are shown as active and public, with the fields that clients print. What we do not know (owner, formats) is null or
// what fits any image; nobody downloads through this API.
#include "control/glance_discovery.h"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "control/reply.h"
#include "fs/base/percent.h"

namespace glintfs {
namespace {

using nlohmann::json;

// Newest first. 2.14 brought /v2/cache, 2.18 prune and clean.
constexpr const char* kVersions[] = {"v2.18", "v2.17", "v2.16", "v2.15", "v2.14", "v2.13", "v2.12", "v2.11", "v2.10", "v2.9",
                                     "v2.8",  "v2.7",  "v2.6",  "v2.5",  "v2.4",  "v2.3",  "v2.2",  "v2.1",  "v2.0"};
constexpr size_t kDefaultLimit = 25;
constexpr size_t kMaxLimit = 1000;

constexpr std::string_view kSchemas[] = {"image",
                                         "images",
                                         "member",
                                         "members",
                                         "metadefs/namespace",
                                         "metadefs/namespaces",
                                         "metadefs/object",
                                         "metadefs/objects",
                                         "metadefs/property",
                                         "metadefs/properties",
                                         "metadefs/resource_type",
                                         "metadefs/resource_types",
                                         "metadefs/tag",
                                         "metadefs/tags",
                                         "task",
                                         "tasks"};

// "https://host:9393", as the client calls us; empty, so that links are relative, when it does not say or writes nonsense.
std::string BaseUrl(const HttpRequest& request) {
  const std::string_view host = request.Header("Host").value_or("");
  const bool sound = !host.empty() && host.size() <= 255 && std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view(".-_:[]").find(c) != std::string_view::npos;
  });
  return sound ? request.scheme + "://" + std::string(host) : "";
}

HttpResponse Versions(const HttpRequest& request, int status) {
  const json links = json::array({{{"rel", "self"}, {"href", BaseUrl(request) + "/v2/"}}});
  json versions = json::array();
  for (const char* version : kVersions)
    versions.push_back({{"id", version}, {"status", versions.empty() ? "CURRENT" : "SUPPORTED"}, {"links", links}});
  return JsonResponse(status, {{"versions", std::move(versions)}});
}

json Properties() {
  json properties;
  const json text = {{"type", {"null", "string"}}}, number = {{"type", {"null", "integer"}}};
  for (const char* name : {"id", "name", "status", "visibility", "container_format", "disk_format", "created_at", "updated_at",
                           "checksum", "owner", "os_hash_algo", "os_hash_value", "self", "file", "schema"})
    properties[name] = text;
  for (const char* name : {"size", "virtual_size", "min_disk", "min_ram"}) properties[name] = number;
  for (const char* name : {"protected", "os_hidden"}) properties[name] = {{"type", "boolean"}};
  properties["tags"] = {{"type", "array"}, {"items", {{"type", "string"}}}};
  return properties;
}

HttpResponse Schema(const std::string& name) {
  if (std::find(std::begin(kSchemas), std::end(kSchemas), name) == std::end(kSchemas))
    return ErrorResponse(404, "there is no schema " + name);
  json schema = {{"name", name.substr(name.rfind('/') + 1)}, {"properties", json::object()}};
  if (name == "image") {
    schema["properties"] = Properties();
    schema["additionalProperties"] = {{"type", "string"}};
  }
  return JsonResponse(200, schema);
}

json IsoTime(Nanos time) {
  const std::time_t seconds = std::chrono::duration_cast<std::chrono::seconds>(time).count();
  std::tm utc{};
  char text[32] = "";
  if (::gmtime_r(&seconds, &utc) == nullptr || std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0) return nullptr;
  return text;
}

// The checksum that this very version of it was compared with, as Glance names it: MD5 has a place of its own.
json ImageJson(Service& service, const ImageInfo& image, const std::string& name) {
  const std::string self = "/v2/images/" + PercentEncode(image.id.name);
  const auto cached = service.Image(image.id.name);
  const bool known = cached && cached->info.id == image.id && cached->checksum && cached->state != ImageState::kInvalid;
  const bool md5 = known && cached->checksum->algorithm == "md5";
  return {{"id", image.id.name},
          {"name", name},
          {"status", "active"},
          {"visibility", "public"},
          {"size", image.size},
          {"virtual_size", nullptr},
          {"container_format", "bare"},
          {"disk_format", "raw"},
          {"checksum", md5 ? json(cached->checksum->hex) : json(nullptr)},
          {"os_hash_algo", known && !md5 ? json(cached->checksum->algorithm) : json(nullptr)},
          {"os_hash_value", known && !md5 ? json(cached->checksum->hex) : json(nullptr)},
          {"owner", nullptr},
          {"created_at", IsoTime(image.mtime)},
          {"updated_at", IsoTime(image.mtime)},
          {"min_disk", 0},
          {"min_ram", 0},
          {"protected", false},
          {"os_hidden", false},
          {"tags", json::array()},
          {"self", self},
          {"file", self + "/file"},
          {"schema", "/v2/schemas/image"}};
}

HttpResponse Image(Service& service, const std::string& name) {
  const Error missing{Errc::kNotFound, "No image found with ID " + name};
  if (!IsValidName(name)) return ErrorResponse(missing);
  const auto image = service.FindImage(name);
  if (image) return JsonResponse(200, ImageJson(service, *image, image->id.name));
  // A directory is no image, and Glance has no other word for it. Clients go on to ask by name after a 404 only.
  return ErrorResponse(image.error().code == Errc::kIsDirectory ? missing : image.error());
}

std::string Get(const HttpRequest& request, const char* key) {
  const auto it = request.query.find(key);
  return it == request.query.end() ? "" : it->second;
}

// Clients pass on what the user typed; operators of Glance's filters ("in:a,b", "eq:a") beside plain values.
std::string WithoutOperator(const std::string& value) {
  return value.starts_with("eq:") ? value.substr(3) : value;
}

// Filters that none of ours can pass: all are active, public and not hidden.
bool FiltersAllOut(const HttpRequest& request) {
  const std::string hidden = Get(request, "os_hidden"), status = WithoutOperator(Get(request, "status"));
  return EqualsIgnoringCase(hidden, "true") || hidden == "1" || (!status.empty() && status != "active" && !status.starts_with("in:"));
}

struct Named {
  ImageInfo image;
  std::string name;
};

Result<std::vector<Named>> Find(Service& service, const HttpRequest& request) {
  std::vector<Named> found;
  const std::string name = WithoutOperator(Get(request, "name")), id = WithoutOperator(Get(request, "id"));
  const bool asked = request.query.contains("name") || request.query.contains("id");
  if (FiltersAllOut(request) || (asked && !IsValidName(name.empty() ? id : name))) return found;
  if (!asked) {
    for (const ImageStatus& image : service.Images())
      if (image.state != ImageState::kInvalid) found.push_back({image.info, image.info.id.name});
    return found;
  }
  if (!name.empty()) {
    GLINTFS_ASSIGN(const std::vector<ImageInfo> images, service.FindImagesNamed(name));
    for (const ImageInfo& image : images)
      if (id.empty() || image.id.name == id) found.push_back({image, name});
    return found;
  }
  auto image = service.FindImage(id);
  if (image) {
    found.push_back({*image, image->id.name});
  } else if (image.error().code != Errc::kNotFound && image.error().code != Errc::kIsDirectory) {
    return image.error();
  }
  return found;
}

// As in Glance: "limit" of at most a thousand, 25 if nothing is said; nullopt for nonsense.
std::optional<size_t> Limit(const HttpRequest& request) {
  if (!request.query.contains("limit")) return kDefaultLimit;
  const std::string text = Get(request, "limit");
  size_t limit = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), limit);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return std::min(limit, kMaxLimit);
}

// The query once more, with another marker ("" for none).
std::string PageLink(const HttpRequest& request, const std::string& marker) {
  std::string query;
  const auto add = [&](const std::string& key, const std::string& value) {
    query += (query.empty() ? "?" : "&") + PercentEncode(key) + "=" + PercentEncode(value);
  };
  for (const auto& [key, value] : request.query)
    if (key != "marker") add(key, value);
  if (!marker.empty()) add("marker", marker);
  return "/v2/images" + query;
}

HttpResponse Images(Service& service, const HttpRequest& request) {
  const auto limit = Limit(request);
  if (!limit) return ErrorResponse(400, "limit param must be a number");
  auto found = Find(service, request);
  if (!found) return ErrorResponse(found.error());
  auto begin = found->begin();
  if (const std::string marker = Get(request, "marker"); !marker.empty()) {
    begin = std::find_if(begin, found->end(), [&](const Named& named) { return named.image.id.name == marker; });
    if (begin == found->end()) return ErrorResponse(400, "there is no image " + marker + " to go on after");
    ++begin;
  }
  const auto end = begin + static_cast<ptrdiff_t>(std::min<size_t>(*limit, static_cast<size_t>(found->end() - begin)));
  json images = json::array();
  for (auto it = begin; it != end; ++it) images.push_back(ImageJson(service, it->image, it->name));
  json answer = {{"images", std::move(images)}, {"first", PageLink(request, "")}, {"schema", "/v2/schemas/images"}};
  if (end != found->end() && end != begin) answer["next"] = PageLink(request, (end - 1)->image.id.name);
  return JsonResponse(200, answer);
}

}  // namespace

std::vector<Route> GlanceRoutes(Service& s) {
  return {
      {"GET", "/", [](const HttpRequest& request, const std::string&) { return Versions(request, 300); }},
      {"GET", "/versions", [](const HttpRequest& request, const std::string&) { return Versions(request, 200); }},
      {"GET", "/v2", [](const HttpRequest& request, const std::string&) { return Versions(request, 200); }},
      {"GET", "/v2/", [](const HttpRequest& request, const std::string&) { return Versions(request, 200); }},
      {"GET", "/v2/schemas/{schema}", [](const HttpRequest&, const std::string& schema) { return Schema(schema); }},
      {"GET", "/v2/images", [&s](const HttpRequest& request, const std::string&) { return Images(s, request); }},
      {"GET", "/v2/images/{image}", [&s](const HttpRequest&, const std::string& image) { return Image(s, image); }},
  };
}

}  // namespace glintfs
