#include "backends/registry.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "backends/detached.h"
#include "backends/dir/dir_backend.h"
#include "backends/glance/glance.h"
#include "backends/http/http_backend.h"
#include "backends/http/settings.h"
#include "backends/meter.h"
#include "backends/retrying.h"
#include "backends/s3/s3.h"
#include "backends/sidecar.h"
#include "backends/swift/swift.h"
#ifdef GLINTFS_CEPH
#include "backends/ceph/module.h"
#endif

namespace glintfs {
namespace {

using MadeBackend = Result<std::unique_ptr<Backend>>;

MadeBackend MakeDir(std::string_view source, const BackendOptions& options) {
  std::string_view path = source;
  if (path.starts_with("dir://")) path.remove_prefix(6);
  if (!path.starts_with('/'))
    return Error{Errc::kInvalid, fmt::format("{}: the path must be absolute: dir:///srv/images", source)};
  if (path.find('\0') != std::string_view::npos) return Error{Errc::kInvalid, "a path cannot hold a zero byte"};
  std::string normal = std::filesystem::path(path).lexically_normal().string();
  while (normal.size() > 1 && normal.ends_with('/')) normal.pop_back();
  const bool may_hang = IsOnRemoteFileSystem(normal);
  std::unique_ptr<Backend> backend = std::make_unique<DirBackend>(std::move(normal), options.max_parallel);
  return may_hang ? MakeDetached(std::move(backend)) : std::move(backend);
}

MadeBackend MakeHttp(std::string_view source, const BackendOptions& options) {
  GLINTFS_ASSIGN(HttpUrl url, ParseSourceUrl(source));
  if (options.listing != "auto" && options.listing != "none")
    return Error{Errc::kInvalid, fmt::format("listing={}: use auto or none", options.listing)};
  HttpBackend::Options http;
  http.http = HttpSettingsFrom(options);
  GLINTFS_ASSIGN(HttpCredentials credentials, LoadHttpCredentials(options.user_file, options.token_file));
  if (!credentials.empty()) http.authorizer = std::make_shared<FixedAuthorizer>(std::move(credentials));
  http.list = options.listing == "auto";
  http.max_parallel = std::max(options.max_parallel, 1);
  return std::unique_ptr<Backend>(std::make_unique<HttpBackend>(std::move(url), std::move(http)));
}

#ifdef GLINTFS_CEPH
MadeBackend MakeCeph(std::string_view source, const BackendOptions& options) {
  GLINTFS_ASSIGN(const CephModule* module, LoadCephModule());
  return (source.starts_with("rbd:") ? module->rbd : module->rados)(source, options);
}
#endif

struct Scheme {
  std::string_view name;
  bool sidecars;  // files of checksums may lie beside the images
  MadeBackend (*make)(std::string_view source, const BackendOptions& options);
};

constexpr Scheme kSchemes[] = {
    {"dir", true, MakeDir},
    {"http", true, MakeHttp},
    {"https", true, MakeHttp},
    {"s3", true, MakeS3},
    {"swift", true, MakeSwift},
    {"glance", false, MakeGlance},
    {"glance+https", false, MakeGlance},
#ifdef GLINTFS_CEPH
    {"rbd", false, MakeCeph},
    {"rados", false, MakeCeph},
#endif
};

}  // namespace

std::vector<std::string> KnownSchemes() {
  std::vector<std::string> names;
  for (const Scheme& scheme : kSchemes) names.emplace_back(scheme.name);
  return names;
}

Result<std::unique_ptr<Backend>> MakeBackend(std::string_view source, const BackendOptions& options) {
  const size_t colon = source.find("://");
  const std::string_view name = source.starts_with('/') ? "dir" : source.substr(0, colon);
  if (!options.ca_file.empty() && ::access(options.ca_file.c_str(), R_OK) != 0)
    return ErrnoError(errno, "ca_file " + options.ca_file);
  const bool has_scheme = source.starts_with('/') || colon != std::string_view::npos;
  for (const Scheme& scheme : kSchemes) {
    if (!has_scheme || scheme.name != name) continue;
    GLINTFS_ASSIGN(auto backend, scheme.make(source, options));
    const auto meter = std::make_shared<BackendMeter>(std::string(scheme.name));
    backend = MakeMetered(std::move(backend), meter);
    if (scheme.sidecars && options.checksums) backend = MakeSidecar(std::move(backend));
    RetryPolicy policy = PolicyFrom(options);
    policy.meter = meter;
    return MakeRetrying(std::move(backend), std::move(policy));
  }
  // Only the scheme is repeated: the rest may hold a password.
  return Error{Errc::kInvalid, fmt::format("{} is no known kind of source: use one of {}://",
                                           has_scheme ? fmt::format("'{}://'", name) : "a source without a scheme",
                                           fmt::join(KnownSchemes(), "://, "))};
}

}  // namespace glintfs
