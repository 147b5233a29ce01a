// Each GET carries the condition that the server still holds the version (412 otherwise), and the answer's own ETag is checked.
#include "backends/swift/swift_reader.h"

#include <fmt/format.h>

#include <algorithm>

#include "backends/http/handlers.h"
#include "backends/swift/answer.h"

namespace glintfs {
namespace {

constexpr std::string_view kRawManifest = "multipart-manifest=get";  // the object itself, even if it is a manifest

// What an object is to be, and which part of it is wanted.
struct Part {
  Extent extent;
  uint64_t size = 0;
  std::string_view version;
};

// Passes the bytes of one object on.
class ObjectHandler final : public HttpHandler {
 public:
  ObjectHandler(const SwiftAccount& account, const OriginRequest& request, const Part& part, DataSink& sink)
      : account_(account), request_(request), part_(part), body_(part.extent, part.size, sink) {}

  Result<bool> OnHeaders(const OriginResponse& response) override {
    if (response.status != 200 && response.status != 206) return account_.StatusError(request_, response);
    const auto version = SwiftVersion(response.headers);
    if (!version) return Error{Errc::kInvalid, fmt::format("{}: the answer lacks its ETag", HttpClient::Describe(request_))};
    if (*version != part_.version)
      return Error{Errc::kStale, fmt::format("{}: the object has changed", HttpClient::Describe(request_))};
    GLINTFS_ASSIGN(const RangeAnswer answer, CheckRangeAnswer(request_, response, part_.extent, part_.size, ""));
    body_.Begin(answer);
    return true;
  }

  Result<bool> OnBody(std::span<const std::byte> data) override {
    // A segment's end is not the extent's: the front door would take what is too much for the next one's.
    if (!body_.is_prefix() && data.size() > part_.extent.length - body_.passed())
      return Error{Errc::kInvalid, HttpClient::Describe(request_) + ": more bytes than asked for"};
    return body_.Write(data);
  }

  uint64_t passed() const { return body_.passed(); }
  bool enough() const { return body_.enough(); }

 private:
  const SwiftAccount& account_;
  const OriginRequest& request_;
  const Part& part_;
  ExtentBody body_;
};

// False when the sink has enough.
Result<bool> FetchPart(SwiftAccount& account, OriginRequest request, const Part& part, DataSink& sink, std::stop_token stop) {
  request.headers.push_back(RangeHeader(part.extent));
  if (std::string condition = SwiftCondition(part.version); !condition.empty()) request.headers.push_back(std::move(condition));
  ObjectHandler handler(account, request, part, sink);
  GLINTFS_TRY(account.Perform(request, handler, std::move(stop)));
  if (!handler.enough() && handler.passed() < part.extent.length)
    return Error{Errc::kUnavailable, fmt::format("{}: {} of {} bytes came", HttpClient::Describe(request), handler.passed(),
                                                 part.extent.length)};
  return !handler.enough();
}

}  // namespace

SwiftReader::SwiftReader(std::shared_ptr<SwiftAccount> account, std::string container, std::string key, const ImageInfo& image)
    : ImageReader(image.size),
      account_(std::move(account)),
      container_(std::move(container)),
      key_(std::move(key)),
      version_(image.id.version) {}

Result<void> SwiftReader::DoFetch(Extent extent, DataSink& sink, std::stop_token stop) {
  if (version_.starts_with("dlo:")) return FetchSegments(extent, sink, std::move(stop));
  GLINTFS_ASSIGN(OriginRequest request, account_->Request(container_, key_, stop));
  GLINTFS_TRY(FetchPart(*account_, std::move(request), {extent, size(), version_}, sink, std::move(stop)));
  return {};
}

Result<void> SwiftReader::FetchSegments(Extent extent, DataSink& sink, std::stop_token stop) {
  GLINTFS_ASSIGN(const SharedSegments segments, Segments(stop));
  const auto begins_after = [](uint64_t offset, const SwiftSegment& segment) { return offset < segment.offset; };
  auto segment = std::upper_bound(segments->list.begin(), segments->list.end(), extent.offset, begins_after);
  if (segment != segments->list.begin()) --segment;
  for (; segment != segments->list.end() && segment->offset < extent.end(); ++segment) {
    const uint64_t begin = std::max(extent.offset, segment->offset) - segment->offset;
    const uint64_t end = std::min(extent.end() - segment->offset, segment->size);
    GLINTFS_ASSIGN(OriginRequest request, account_->Request(segments->container, segment->name, stop));
    request.url.query = kRawManifest;
    const std::string version = "md5:" + segment->md5;
    auto more = FetchPart(*account_, std::move(request), {{begin, end - begin}, segment->size, version}, sink, stop);
    if (!more && more.error().code == Errc::kNotFound) return Error{Errc::kStale, more.error().message};
    if (!more) return std::move(more).error();
    if (!*more) return {};
  }
  return {};
}

Result<SwiftReader::SharedSegments> SwiftReader::Segments(std::stop_token stop) {
  {
    MutexLock lock(mu_);
    if (segments_) return segments_;
  }
  GLINTFS_ASSIGN(OriginRequest request, account_->Request(container_, key_, stop));
  request.url.query = kRawManifest;
  GLINTFS_ASSIGN(const OriginResponse response, account_->Head(request, stop));
  if (response.status != 200) return account_->StatusError(request, response);
  const auto stale = [&](std::string_view what) {
    return Error{Errc::kStale, fmt::format("{}: {}", HttpClient::Describe(request), what)};
  };
  const auto manifest = ManifestOf(response.headers);
  if (!manifest) return stale("is a large object no more");
  GLINTFS_ASSIGN(SwiftSegments found, ListSegments(*account_, *manifest, std::move(stop)));
  if (found.version != version_ || found.size != size()) return stale("its segments have changed");
  auto shared = std::make_shared<const SwiftSegments>(std::move(found));
  MutexLock lock(mu_);
  segments_ = shared;
  return SharedSegments(std::move(shared));
}

}  // namespace glintfs
