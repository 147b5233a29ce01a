// What a source means:
//
//   glance://host[:port][/prefix]        the API at http://host:port/prefix/v2/, port 9292 when none is given; glance+https: by TLS
//   glance://                            where the catalogue says, with the login of the settings
#include "backends/glance/glance.h"

#include <fmt/format.h>

#include "backends/glance/glance_backend.h"
#include "backends/http/settings.h"

namespace glintfs {
namespace {

constexpr char kDefaultPort[] = "9292";

std::string SchemeFor(const HttpUrl& url) { return url.scheme == "https" ? "glance+https" : "glance"; }

// Made of the settings alone: the same before and after an outage, and another for another cloud.
std::string SourceOf(const CloudIdentity& identity) {
  return identity.region.empty() ? fmt::format("glance:///{}/", identity.cloud)
                                 : fmt::format("glance:///{}/{}/", identity.cloud, identity.region);
}

// The port is looked for in the text: a HttpUrl does not have those that are the default of http and https.
Result<HttpUrl> ParseBase(std::string_view scheme, std::string_view rest) {
  if (rest.starts_with('/')) return Error{Errc::kInvalid, fmt::format("{}://{}: write {}://host:port/", scheme, rest, scheme)};
  GLINTFS_ASSIGN(HttpUrl url, ParseSourceUrl(fmt::format("{}://{}", scheme == "glance" ? "http" : "https", rest)));
  const std::string_view host = rest.substr(0, rest.find('/'));
  const size_t colon = host.find(':', host.find(']') == std::string_view::npos ? 0 : host.find(']'));
  const bool has_port = colon != std::string_view::npos && colon + 1 < host.size();
  url.port = has_port ? std::string(host.substr(colon + 1)) : kDefaultPort;
  return WithoutVersion(std::move(url));
}

}  // namespace

Result<std::unique_ptr<Backend>> MakeGlance(std::string_view source, const BackendOptions& options) {
  const size_t colon = source.find("://");
  const std::string_view scheme = source.substr(0, colon), rest = source.substr(colon + 3);
  GLINTFS_ASSIGN(std::shared_ptr<OpenStackAuth> auth, MakeOpenStackAuth(options));
  std::optional<HttpUrl> base;
  std::string name;
  if (rest.empty() || rest == "/") {
    if (!auth) {
      return Error{Errc::kInvalid,
                   fmt::format("{}: without a host, Glance is looked up in the catalogue of Keystone, and nothing says "
                               "how to log in: set cloud=, OS_CLOUD or the OS_* variables",
                               source)};
    }
    name = SourceOf(auth->identity());
  } else {
    GLINTFS_ASSIGN(base, ParseBase(scheme, rest));
    name = fmt::format("{}://{}:{}{}", SchemeFor(*base), base->host, base->port, base->path);
  }
  HttpSettings http = HttpSettingsFrom(options);
  if (auth) http.ca_file = auth->ca_file();
  auto client = std::make_shared<GlanceClient>(std::move(http), std::move(base), std::move(auth));
  return std::unique_ptr<Backend>(std::make_unique<GlanceBackend>(
      std::move(name), std::move(client),
      GlanceBackend::Options{.names = options.openstack.names, .max_parallel = std::max(options.max_parallel, 1)}));
}

}  // namespace glintfs
