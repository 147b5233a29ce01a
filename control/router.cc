#include "control/router.h"

#include <algorithm>
#include <exception>
#include <optional>

#include "fs/base/percent.h"
#include "control/reply.h"
#include "fs/base/log.h"

namespace glintfs {
namespace {

// What "{…}" of `pattern` stands for in `path`, still encoded; "" for a literal; nullopt when they do not match.
std::optional<std::string_view> Match(std::string_view pattern, std::string_view path) {
  const size_t brace = pattern.find('{');
  if (brace == pattern.npos) return path == pattern ? std::optional<std::string_view>("") : std::nullopt;
  const std::string_view prefix = pattern.substr(0, brace);
  if (path.size() < prefix.size() || path.substr(0, prefix.size()) != prefix) return std::nullopt;
  return path.substr(prefix.size());
}

bool IsLiteral(const Route& route) { return route.pattern.find('{') == std::string::npos; }

std::vector<Route> LiteralsFirst(std::vector<Route> routes) {
  std::stable_partition(routes.begin(), routes.end(), IsLiteral);
  return routes;
}

// So that a misspelt parameter does not mean "the default". What speaks as Glance takes what Glance takes.
std::optional<HttpResponse> CheckTakes(const Route& route, const HttpRequest& request) {
  if (!route.pattern.starts_with("/v1/")) return std::nullopt;
  for (const auto& parameter : request.query) {
    const std::string& name = parameter.first;
    if (std::find(route.parameters.begin(), route.parameters.end(), name) == route.parameters.end())
      return ErrorResponse(400, "unknown parameter " + name);
  }
  if (!request.body.empty() && !route.takes_body) return ErrorResponse(400, "this request takes no body");
  return std::nullopt;
}

HttpResponse Run(const Route& route, const HttpRequest& request, const std::string& image) {
  try {
    return route.handler(request, image);
  } catch (const std::exception& error) {
    LogError("control: {} {} failed: {}", request.method, route.pattern, error.what());
    return ErrorResponse(500, "internal error, see the log");
  }
}

}  // namespace

Router::Router(std::vector<Route> routes) : routes_(LiteralsFirst(std::move(routes))) {}

std::string Router::AllowedVerbs(std::string_view path) const {
  std::vector<std::string> verbs;
  for (const Route& route : routes_) {
    if (!Match(route.pattern, path)) continue;
    verbs.push_back(route.verb);
    if (route.verb == "GET") verbs.push_back("HEAD");
  }
  std::sort(verbs.begin(), verbs.end());
  verbs.erase(std::unique(verbs.begin(), verbs.end()), verbs.end());
  std::string text;
  for (const std::string& verb : verbs) text += (text.empty() ? "" : ", ") + verb;
  return text;
}

HttpResponse Router::Handle(const HttpRequest& request) const {
  const std::string_view verb = request.method == "HEAD" ? "GET" : std::string_view(request.method);
  for (const Route& route : routes_) {
    if (route.verb != verb) continue;
    const auto encoded = Match(route.pattern, request.path);
    if (!encoded) continue;
    const auto image = PercentDecode(*encoded);
    if (!image) return ErrorResponse(400, "the path has a '%' that two hex digits do not follow");
    if (auto refused = CheckTakes(route, request)) return std::move(*refused);
    return Run(route, request, *image);
  }
  const std::string allowed = AllowedVerbs(request.path);
  if (allowed.empty()) return ErrorResponse(404, "no such resource: " + request.path);
  HttpResponse response = ErrorResponse(405, "this resource takes " + allowed);
  response.headers.emplace_back("Allow", allowed);
  return response;
}

}  // namespace glintfs
