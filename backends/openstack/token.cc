#include "backends/openstack/token.h"

#include <fmt/format.h>

#include <cstdio>
#include <ctime>
#include <set>

#include "backends/openstack/bounded_json.h"

namespace glintfs {
namespace {

using nlohmann::json;

constexpr size_t kNamedEntries = 12;  // of a catalogue, in an error

json IdOrName(const std::string& id, const std::string& name) {
  return id.empty() ? json{{"name", name}} : json{{"id", id}};
}

json Named(const CloudName& who) {
  json object = IdOrName(who.id, who.name);
  if (who.id.empty()) object["domain"] = IdOrName(who.domain_id, who.domain_name);
  return object;
}

std::optional<json> ScopeOf(const CloudConfig& config) {
  if (config.method == CloudConfig::Method::kApplicationCredential) return std::nullopt;  // it has its own
  if (!config.trust_id.empty()) return json{{"OS-TRUST:trust", {{"id", config.trust_id}}}};
  if (config.system_scope) return json{{"system", {{"all", true}}}};
  if (!config.project.empty()) return json{{"project", Named(config.project)}};
  if (!config.domain.empty()) return json{{"domain", IdOrName(config.domain.id, config.domain.name)}};
  return std::nullopt;
}

void AddEndpoints(const json& service, std::vector<CatalogEntry>& catalog) {
  const auto endpoints = service.find("endpoints");
  if (endpoints == service.end() || !endpoints->is_array()) return;
  for (const json& endpoint : *endpoints) {
    if (!endpoint.is_object()) continue;
    std::string region = JsonText(endpoint, "region_id");
    if (region.empty()) region = JsonText(endpoint, "region");
    catalog.push_back({JsonText(service, "type"), std::move(region), JsonText(endpoint, "interface"), JsonText(endpoint, "url")});
  }
}

// What there is, for the one who asked for something else. Control characters of a server do not reach the log.
std::string Contents(const std::vector<CatalogEntry>& catalog) {
  std::set<std::string> texts;
  for (const CatalogEntry& entry : catalog) {
    std::string text = fmt::format("{} {} in '{}'", entry.service, entry.interface, entry.region).substr(0, 100);
    for (char& c : text)
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    if (texts.size() < kNamedEntries) texts.insert(std::move(text));
  }
  if (texts.empty()) return "it has none at all: is the login scoped to a project (OS_PROJECT_NAME)?";
  return fmt::format("it has {}{}", fmt::join(texts, ", "), catalog.size() > texts.size() ? ", …" : "");
}

}  // namespace

std::string MakeTokenRequest(const CloudConfig& config) {
  json identity;
  if (config.method == CloudConfig::Method::kPassword) {
    json user = Named(config.user);
    user["password"] = config.secret;
    identity = {{"methods", {"password"}}, {"password", {{"user", std::move(user)}}}};
  } else if (config.method == CloudConfig::Method::kApplicationCredential) {
    json credential = IdOrName(config.credential.id, config.credential.name);
    credential["secret"] = config.secret;
    if (config.credential.id.empty()) credential["user"] = Named(config.user);
    identity = {{"methods", {"application_credential"}}, {"application_credential", std::move(credential)}};
  } else {
    identity = {{"methods", {"token"}}, {"token", {{"id", config.secret}}}};
  }
  json auth{{"identity", std::move(identity)}};
  if (auto scope = ScopeOf(config)) auth["scope"] = std::move(*scope);
  // A password in another encoding than UTF-8 must not throw.
  return json{{"auth", std::move(auth)}}.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<TokenAnswer> ParseTokenAnswer(std::string_view body, Nanos wall_now) {
  GLINTFS_ASSIGN(const json answer, ParseBoundedJson(body));
  const auto token = answer.find("token");
  if (token == answer.end() || !token->is_object()) return Error{Errc::kInvalid, "the answer holds no token"};
  const auto expires = ParseIsoTime(JsonText(*token, "expires_at"));
  if (!expires) return Error{Errc::kInvalid, "the answer does not tell when the token expires"};
  TokenAnswer result;
  result.lifetime = *expires - ParseIsoTime(JsonText(*token, "issued_at")).value_or(wall_now);
  if (result.lifetime <= Nanos(0)) return Error{Errc::kInvalid, "the token expired before it was given"};
  if (const auto catalog = token->find("catalog"); catalog != token->end() && catalog->is_array())
    for (const json& service : *catalog)
      if (service.is_object()) AddEndpoints(service, result.catalog);
  return result;
}

Result<HttpUrl> FindEndpoint(const std::vector<CatalogEntry>& catalog, std::string_view service, const CloudConfig& config) {
  for (const CatalogEntry& entry : catalog) {
    if (entry.service != service || entry.interface != config.interface) continue;
    if (!config.region.empty() && entry.region != config.region) continue;
    auto url = ParseSourceUrl(entry.url);
    if (url) return url;
    return Error{Errc::kInvalid, fmt::format("the catalogue's URL of the {} service: {}", service, url.error().message)};
  }
  const std::string where = config.region.empty() ? "" : fmt::format(" in region '{}'", config.region);
  return Error{Errc::kInvalid, fmt::format("the catalogue of {} has no {} service with the {} interface{}; {}", config.Describe(),
                                           service, config.interface, where, Contents(catalog))};
}

std::optional<Nanos> ParseIsoTime(std::string_view text) {
  const std::string copy(text.substr(0, 40));
  struct tm time {};
  int end = 0;
  if (std::sscanf(copy.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d%n", &time.tm_year, &time.tm_mon, &time.tm_mday, &time.tm_hour,
                  &time.tm_min, &time.tm_sec, &end) != 6 ||
      end < 19)
    return std::nullopt;
  const bool sound = time.tm_year >= 1970 && time.tm_mon >= 1 && time.tm_mon <= 12 && time.tm_mday >= 1 && time.tm_mday <= 31 &&
                     time.tm_hour >= 0 && time.tm_hour < 24 && time.tm_min >= 0 && time.tm_min < 60 && time.tm_sec >= 0 &&
                     time.tm_sec <= 60;
  // Nanoseconds since 1970 end in 2262.
  if (!sound || time.tm_year > 2200) return std::nullopt;
  std::string_view rest = std::string_view(copy).substr(static_cast<size_t>(end));
  if (rest.starts_with('.')) rest.remove_prefix(std::min(rest.find_first_not_of("0123456789", 1), rest.size()));
  if (!rest.empty() && rest != "Z" && rest != "+00:00" && rest != "+0000") return std::nullopt;
  time.tm_year -= 1900;
  time.tm_mon -= 1;
  return std::chrono::seconds(::timegm(&time));
}

}  // namespace glintfs
