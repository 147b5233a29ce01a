// How a name is resolved:
//
//   HEAD key   200   an image: size and version from the headers
//              404   ListObjectsV2 prefix=key/ max-keys=1: some key is a directory, none is "not found"
//              else  the same as a GET of the first byte: an answer to HEAD has no body, which is where S3 says what is wrong
//
// The root is asked for by a listing, which shows at the mount whether keys, bucket and region are right. Whoever may not list gets
// there with listing=none, and then a refusal of the listing alone is no reason to stop.
#include "backends/s3/backend.h"

#include <fmt/format.h>

#include "backends/http/handlers.h"
#include "backends/http/range.h"
#include "backends/s3/answer.h"
#include "backends/s3/body.h"
#include "backends/s3/reader.h"
#include "backends/s3/xml.h"

namespace glintfs {
namespace {

constexpr std::string_view kAccessDenied = "AccessDenied";

bool IsMissing(const OriginResponse& response) { return response.status == 404 || response.status == 410; }

}  // namespace

S3Backend::S3Backend(S3Location location, Options options)
    : Backend(location.Text()),
      location_(std::move(location)),
      anonymous_(options.authorizer == nullptr),
      list_(options.list),
      max_parallel_(options.max_parallel),
      client_(std::make_shared<HttpClient>(std::move(options.http), std::move(options.authorizer))) {}

OriginRequest S3Backend::HeadOf(std::string_view name) const {
  return {.head = true, .url = location_.ObjectUrl(KeyOf(name)), .headers = {}, .follow_redirects = false};
}

// Why a HEAD was refused.
Error S3Backend::Refusal(const OriginRequest& request, const OriginResponse& response, std::stop_token stop) {
  const long status = response.status;
  if (status != 400 && status != 401 && status != 403 && (status < 300 || status > 399))
    return S3Error(request, response, "", location_.region);
  OriginRequest again = request;
  again.head = false;
  again.headers.push_back(RangeHeader({0, 1}));
  KeepS3Body keep;
  const auto answer = client_->Perform(again, keep, stop);
  if (!answer) return answer.error();
  if (answer->status < 300 || answer->status == 416 || IsMissing(*answer)) return S3Error(request, response, "", location_.region);
  Error error = S3Error(request, *answer, keep.body(), location_.region);
  if (ParseS3Failure(keep.body()).code == kAccessDenied)
    error.message += "; so S3 answers also for a key that does not exist, to those who may not list the bucket";
  return error;
}

Error S3Backend::ListingError(const OriginRequest& request, const OriginResponse& response, std::string_view body) const {
  Error error = S3Error(request, response, body, location_.region);
  if (ParseS3Failure(body).code != kAccessDenied) return error;
  error.message += anonymous_ ? "; not everybody may list the bucket: give keys, or mount with listing=none if objects are public"
                              : "; these keys may not list the bucket (s3:ListBucket): allow it, or mount with listing=none";
  return error;
}

Result<NameInfo> S3Backend::DoStat(std::string_view name, std::stop_token stop) {
  if (name.empty()) return StatRoot(stop);
  const OriginRequest request = HeadOf(name);
  IgnoreBody ignore;
  GLINTFS_ASSIGN(const OriginResponse response, client_->Perform(request, ignore, stop));
  if (response.status == 200) return InfoFrom(name, request, response);
  if (!IsMissing(response)) return Refusal(request, response, stop);
  GLINTFS_ASSIGN(const bool is_directory, HasKeysBelow(KeyOf(name) + "/", stop));
  if (is_directory) return NameInfo{.is_directory = true, .image = {}};
  return S3Error(request, response, "", location_.region);
}

Result<NameInfo> S3Backend::InfoFrom(std::string_view name, const OriginRequest& request, const OriginResponse& response) const {
  const auto nonsense = [&](std::string_view what) {
    return Error{Errc::kInvalid, fmt::format("{}: {}", HttpClient::Describe(request), what)};
  };
  const auto size = response.headers.ContentLength();
  if (!size) return nonsense(size.error().message);
  if (!*size) return nonsense("the server does not tell the size");
  ImageInfo image{.id = {source(), std::string(name), S3Version(response.headers, **size)}, .size = **size, .mtime = {}};
  if (image.id.version.empty()) return nonsense("no ETag and no date: changes could not be seen");
  if (const auto modified = LastModified(response.headers)) image.mtime = std::chrono::seconds(*modified);
  return NameInfo{.is_directory = false, .image = std::move(image)};
}

Result<bool> S3Backend::HasKeysBelow(std::string_view prefix, std::stop_token stop) {
  const HttpUrl url = location_.QueryUrl(
      {{"encoding-type", "url"}, {"list-type", "2"}, {"max-keys", "1"}, {"prefix", std::string(prefix)}});
  const OriginRequest request{.head = false, .url = url, .headers = {}, .follow_redirects = false};
  KeepS3Body keep;
  GLINTFS_ASSIGN(const OriginResponse response, client_->Perform(request, keep, stop));
  if (response.status != 200) {
    // Where listing is not allowed nobody can say whether a name is a directory; the root is one.
    if (!list_ && ParseS3Failure(keep.body()).code == kAccessDenied) return prefix == location_.source.prefix;
    return ListingError(request, response, keep.body());
  }
  auto listing = ParseS3Listing(keep.body(), prefix);
  if (!listing) return Error{listing.error().code, fmt::format("{}: {}", HttpClient::Describe(request), listing.error().message)};
  return listing->found;
}

Result<NameInfo> S3Backend::StatRoot(std::stop_token stop) {
  const std::string& prefix = location_.source.prefix;
  GLINTFS_ASSIGN(const bool exists, HasKeysBelow(prefix, stop));
  if (!exists && !prefix.empty()) return Error{Errc::kNotFound, fmt::format("{}: no key begins with '{}'", source(), prefix)};
  return NameInfo{.is_directory = true, .image = {}};
}

Result<Listing> S3Backend::DoList(std::string_view directory, std::string_view cursor, std::stop_token stop) {
  if (!list_) return Error{Errc::kNotSupported, "listing is switched off (listing=none)"};
  const std::string prefix = directory.empty() ? location_.source.prefix : KeyOf(directory) + "/";
  std::map<std::string, std::string> parameters{{"delimiter", "/"}, {"encoding-type", "url"}, {"list-type", "2"}};
  if (!cursor.empty()) parameters["continuation-token"] = cursor;
  if (!prefix.empty()) parameters["prefix"] = prefix;
  const OriginRequest request{.head = false, .url = location_.QueryUrl(parameters), .headers = {}, .follow_redirects = false};
  KeepS3Body keep;
  GLINTFS_ASSIGN(const OriginResponse response, client_->Perform(request, keep, stop));
  if (response.status != 200) return ListingError(request, response, keep.body());
  const auto nonsense = [&](const std::string& what) {
    return Error{Errc::kInvalid, fmt::format("{}: {}", HttpClient::Describe(request), what)};
  };
  auto listing = ParseS3Listing(keep.body(), prefix);
  if (!listing) return nonsense(listing.error().message);
  if (!cursor.empty() && listing->page.next_cursor == cursor) return nonsense("the listing turns in a circle");
  if (!listing->found && cursor.empty() && !directory.empty()) {
    GLINTFS_ASSIGN(const NameInfo info, DoStat(directory, stop));  // it tells what else the name is: nothing, or an image
    if (!info.is_directory) return Error{Errc::kNotDirectory, fmt::format("{} is not a directory", directory)};
  }
  return std::move(listing->page);
}

Result<std::unique_ptr<ImageReader>> S3Backend::DoOpen(const ImageInfo& image, std::stop_token) {
  return std::unique_ptr<ImageReader>(
      std::make_unique<S3Reader>(client_, location_.ObjectUrl(KeyOf(image.id.name)), location_.region, image));
}

Result<std::optional<Checksum>> S3Backend::DoFindChecksum(const ImageInfo& image, std::stop_token stop) {
  OriginRequest request = HeadOf(image.id.name);
  request.headers.emplace_back("x-amz-checksum-mode: ENABLED");
  if (std::string condition = ConditionFor(HttpPartOf(image.id.version)); !condition.empty())
    request.headers.push_back(std::move(condition));
  IgnoreBody ignore;
  GLINTFS_ASSIGN(const OriginResponse response, client_->Perform(request, ignore, stop));
  if (response.status != 200) return Refusal(request, response, stop);
  GLINTFS_TRY(CheckVersion(response.headers, HttpPartOf(image.id.version)));
  GLINTFS_TRY(CheckVersionId(response.headers, image.id.version));
  return S3Checksum(response.headers);
}

}  // namespace glintfs
