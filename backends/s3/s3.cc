#include "backends/s3/s3.h"

#include <fmt/format.h>

#include <algorithm>

#include "backends/http/settings.h"
#include "backends/s3/backend.h"
#include "backends/s3/key_file.h"
#include "backends/s3/keys.h"

namespace glintfs {
namespace {

// The first that is not empty.
std::string FirstOf(std::initializer_list<std::string> texts) {
  for (const std::string& text : texts)
    if (!text.empty()) return text;
  return "";
}

}  // namespace

Result<std::unique_ptr<Backend>> MakeS3(std::string_view source, const BackendOptions& options) {
  GLINTFS_ASSIGN(S3Source parsed, ParseS3Source(source));
  GLINTFS_ASSIGN(const S3Addressing addressing, ParseS3Addressing(options.s3.addressing));
  if (options.listing != "auto" && options.listing != "none")
    return Error{Errc::kInvalid, fmt::format("listing={}: use auto or none", options.listing)};

  const S3Environment environment = S3Environment::OfProcess();
  const S3KeySource keys(options.s3, environment);
  GLINTFS_ASSIGN(S3KeySource::Found found, keys.Read(options.s3.anonymous));
  const std::string region = FirstOf({options.region, environment.region, found.region, "us-east-1"});
  const std::string endpoint = FirstOf({options.s3.endpoint, environment.endpoint, found.endpoint});
  GLINTFS_ASSIGN(S3Location location, LocateS3(std::move(parsed), endpoint, region, addressing));

  S3Backend::Options s3{.http = HttpSettingsFrom(options),
                        .authorizer = nullptr,
                        .list = options.listing == "auto",
                        .max_parallel = std::max(options.max_parallel, 1)};
  if (!options.s3.anonymous) s3.authorizer = std::make_shared<KeyFile>(keys, std::move(found.keys), region);
  return std::unique_ptr<Backend>(std::make_unique<S3Backend>(std::move(location), std::move(s3)));
}

}  // namespace glintfs
