#include "backends/swift/swift.h"

#include <fmt/format.h>

#include <algorithm>

#include "backends/http/settings.h"
#include "backends/swift/login.h"
#include "backends/swift/swift_backend.h"

namespace glintfs {

Result<std::unique_ptr<Backend>> MakeSwift(std::string_view source, const BackendOptions& options) {
  constexpr std::string_view kScheme = "swift://";
  if (source.starts_with(kScheme)) source.remove_prefix(kScheme.size());
  const size_t slash = std::min(source.find('/'), source.size());
  SwiftBackend::Options swift;
  swift.container = source.substr(0, slash);
  std::string_view prefix = source.substr(std::min(slash + 1, source.size()));
  while (prefix.ends_with('/')) prefix.remove_suffix(1);
  if (!IsValidName(swift.container))
    return Error{Errc::kInvalid, "swift://: name a container: swift://container or swift://container/prefix"};
  if (!prefix.empty() && !IsValidName(prefix))
    return Error{Errc::kInvalid, fmt::format("swift://{}: the prefix after it cannot be that of images: no '//', '.', '..' or "
                                             "control characters", swift.container)};
  if (!prefix.empty()) swift.prefix = std::string(prefix) + "/";
  GLINTFS_ASSIGN(swift.login, MakeSwiftLogin(options));
  swift.http = HttpSettingsFrom(options);
  swift.http.ca_file = swift.login.auth->ca_file();
  swift.max_parallel = std::max(options.max_parallel, 1);
  return std::unique_ptr<Backend>(std::make_unique<SwiftBackend>(std::move(swift)));
}

}  // namespace glintfs
