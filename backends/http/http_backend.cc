// How a name is resolved:
//
//   HEAD name   2xx            an image: size and version from the headers
//               405, 501       HEAD is not allowed, or no length came: GET of the first byte tells the same
//               3xx to name/   a directory
//               404            HEAD name/: 2xx or 403 is a directory (servers that do not redirect), else not found
#include "backends/http/http_backend.h"

#include <fmt/format.h>

#include "backends/http/handlers.h"
#include "backends/http/http_reader.h"
#include "backends/http/listing.h"
#include "backends/http/range.h"
#include "fs/base/log.h"

namespace glintfs {
namespace {

constexpr size_t kMaxListing = 64 << 20;   // bytes
constexpr size_t kMaxRangeless = 10'000;

bool IsSuccess(const OriginResponse& response) { return response.status >= 200 && response.status < 300; }
bool IsMissing(const OriginResponse& response) { return response.status == 404 || response.status == 410; }

// The size of the whole object, if the answer tells: from Content-Range, else from the length of a 200.
Result<std::optional<uint64_t>> SizeFrom(const OriginResponse& response) {
  if (const auto text = response.headers.Find("content-range"); text && response.status != 200) {
    const auto range = ParseContentRange(*text);
    if (!range) return Error{Errc::kInvalid, "Content-Range makes no sense"};
    return range->total;
  }
  if (response.status != 200) return std::optional<uint64_t>();
  return response.headers.ContentLength();
}

}  // namespace

bool RangelessNames::Contains(const std::string& name) const {
  MutexLock lock(mu_);
  return names_.contains(name);
}

void RangelessNames::Set(const std::string& name, bool rangeless) {
  MutexLock lock(mu_);
  if (!rangeless) {
    names_.erase(name);
    return;
  }
  if (names_.size() >= kMaxRangeless) names_.clear();
  names_.insert(name);
}

HttpBackend::HttpBackend(HttpUrl base, Options options)
    : Backend(base.Text()),
      base_(std::move(base)),
      list_(options.list),
      max_parallel_(options.max_parallel),
      client_(std::make_shared<HttpClient>(std::move(options.http), std::move(options.authorizer))),
      rangeless_(std::make_shared<RangelessNames>()) {}

HttpUrl HttpBackend::DirectoryUrl(std::string_view directory) const {
  HttpUrl url = base_.Below(directory);
  if (!url.path.ends_with('/')) url.path += '/';
  return url;
}

// The headers for a URL: by HEAD, or by a GET of the first byte where HEAD does not do. A missing length is no error
// here.
Result<OriginResponse> HttpBackend::Ask(const OriginRequest& request, std::stop_token stop) {
  IgnoreBody ignore;
  GLINTFS_ASSIGN(OriginResponse response, client_->Perform(request, ignore, stop));
  if (response.status == 405 || response.status == 501) return AskByRange(request, stop);
  if (response.status != 200 || request.url.path.ends_with('/')) return response;
  if (const auto length = response.headers.ContentLength(); length && !*length) return AskByRange(request, stop);
  return response;
}

Result<OriginResponse> HttpBackend::AskByRange(OriginRequest request, std::stop_token stop) {
  request.head = false;
  request.headers.push_back(RangeHeader({0, 1}));
  IgnoreBody ignore;
  return client_->Perform(request, ignore, stop);
}

Result<bool> HttpBackend::IsDirectory(std::string_view name, std::stop_token stop) {
  const OriginRequest request{.head = true, .url = DirectoryUrl(name), .headers = {}, .stop_at_directory = false};
  GLINTFS_ASSIGN(const OriginResponse response, Ask(request, stop));
  if (IsSuccess(response) || response.status == 403 || response.status == 416) return true;
  if (IsMissing(response)) return false;
  return StatusError(request, response);
}

Result<NameInfo> HttpBackend::DoStat(std::string_view name, std::stop_token stop) {
  const NameInfo directory{.is_directory = true, .image = {}};
  const OriginRequest request{.head = true, .url = base_.Below(name), .headers = {}, .stop_at_directory = true};
  if (name.empty()) {
    GLINTFS_ASSIGN(const bool exists, IsDirectory(name, stop));
    if (!exists) return Error{Errc::kNotFound, fmt::format("{}: the server says there is no such directory", source())};
    return directory;
  }
  GLINTFS_ASSIGN(const OriginResponse response, Ask(request, stop));
  if (response.is_directory) return directory;
  if (IsMissing(response)) {
    GLINTFS_ASSIGN(const bool is_directory, IsDirectory(name, stop));
    if (is_directory) return directory;
    return StatusError(request, response);
  }
  return InfoFrom(name, request, response);
}

Result<NameInfo> HttpBackend::InfoFrom(std::string_view name, const OriginRequest& request,
                                       const OriginResponse& response) {
  const auto size = SizeFrom(response);
  const bool empty_range = response.status == 416 && size && *size == 0u;  // the first byte of an empty object
  if (response.status != 200 && response.status != 206 && !empty_range) return StatusError(request, response);
  if (!size) return Error{Errc::kInvalid, fmt::format("{}: {}", HttpClient::Describe(request), size.error().message)};
  if (!*size)
    return Error{Errc::kInvalid, fmt::format("{}: the server does not tell the size", HttpClient::Describe(request))};

  ImageInfo image{
      .id = {source(), std::string(name), MakeHttpVersion(response.headers, **size)}, .size = **size, .mtime = {}};
  if (const auto modified = LastModified(response.headers)) image.mtime = std::chrono::seconds(*modified);
  if (IsLengthOnly(image.id.version) && !warned_no_validator_.exchange(true))
    LogWarn("{}: no ETag and no Last-Modified: a change that keeps the length cannot be seen",
            HttpClient::Describe(request));
  rangeless_->Set(image.id.name, RefusesRanges(response.headers));
  return NameInfo{.is_directory = false, .image = std::move(image)};
}

Result<Listing> HttpBackend::DoList(std::string_view directory, std::string_view, std::stop_token stop) {
  if (!list_) return Error{Errc::kNotSupported, "listing is switched off (listing=none)"};
  const OriginRequest request{.head = false,
                            .url = DirectoryUrl(directory),
                            .headers = {"Accept: application/json, text/html;q=0.9, */*;q=0.1"},
                            .stop_at_directory = false};
  KeepBody keep(kMaxListing, {Errc::kNotSupported, "the listing is too long"});
  GLINTFS_ASSIGN(const OriginResponse response, client_->Perform(request, keep, stop));
  if (response.status == 403)
    return Error{Errc::kNotSupported, fmt::format("{}: the server refuses to list", HttpClient::Describe(request))};
  if (IsMissing(response)) {
    GLINTFS_ASSIGN(const NameInfo info, DoStat(directory, stop));
    if (!info.is_directory) return Error{Errc::kNotDirectory, fmt::format("{} is not a directory", request.url.Text())};
    return Error{Errc::kNotSupported, fmt::format("{}: no listing there", HttpClient::Describe(request))};
  }
  if (response.status != 200) return StatusError(request, response);
  auto entries = ParseListing(response.url, response.headers.Find("content-type").value_or(""), keep.body());
  if (!entries) return Error{entries.error().code, fmt::format("{}: {}", request.url.Text(), entries.error().message)};
  return Listing{.entries = std::move(*entries), .next_cursor = {}};
}

Result<std::unique_ptr<ImageReader>> HttpBackend::DoOpen(const ImageInfo& image, std::stop_token) {
  return std::unique_ptr<ImageReader>(
      std::make_unique<HttpReader>(client_, rangeless_, base_.Below(image.id.name), image));
}

}  // namespace glintfs
