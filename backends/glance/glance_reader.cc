// The answers that carry data say nothing of a version but Content-MD5, the checksum of the whole image. That is enough, with one
// question beforehand:
//
//   * the data of an active image never changes: Glance has no request that replaces it, and an id is not given out again until an
//     administrator purges the database (a deleted image keeps its row, so that a second image of that id is refused);
//   * so the image is asked for once per reader, and must be active and of the version that is wanted; from then on its MD5 is
//     known, and an answer with another one, after a purge or from another Glance behind the same address, is stale;
//   * an image that Glance has no MD5 of (its data was put into the store by others) has the version of its last change, and is
//     trusted for as long as the reader lives.
//
// Stores that have no ranges (rbd, s3, swift, http) make Glance answer 400 to them; the image is then asked for as a whole, from
// the start. RangelessNames keeps that, as one such answer costs a round trip.
#include "backends/glance/glance_reader.h"

#include <fmt/format.h>

#include <algorithm>

#include "backends/http/handlers.h"

namespace glintfs {
namespace {

class FetchHandler final : public HttpHandler {
 public:
  FetchHandler(const GlanceClient& client, const OriginRequest& request, Extent extent, uint64_t size, bool by_range,
               const std::string& md5, DataSink& sink)
      : client_(client), request_(request), by_range_(by_range), md5_(md5), body_(extent, size, sink) {}

  Result<bool> OnHeaders(const OriginResponse& response) override {
    if (by_range_ && (response.status == 400 || response.status == 501)) {
      no_ranges_ = true;
      return false;
    }
    if (response.status != 200 && response.status != 206) return Meaning(response);
    const std::string md5 = response.headers.Find("content-md5").value_or("");
    if (!md5_.empty() && !md5.empty() && md5 != md5_)
      return Failure(Errc::kStale, "the image's checksum has changed", response.status);
    GLINTFS_ASSIGN(const RangeAnswer answer, CheckRangeAnswer(request_, response, body_.extent(), body_.size(), ""));
    body_.Begin(answer);
    return true;
  }

  Result<bool> OnBody(std::span<const std::byte> data) override { return body_.Write(data); }

  bool no_ranges() const { return no_ranges_; }
  bool whole_image() const { return body_.is_prefix(); }

 private:
  Error Failure(Errc code, std::string_view meaning, long status) const {
    return Error{code, fmt::format("{}: {} ({})", HttpClient::Describe(request_), meaning, status)};
  }
  Error Meaning(const OriginResponse& response) const {
    const long status = response.status;
    if (status == 204) return Failure(Errc::kNotFound, "Glance has the image, but its store not the data", status);
    if (status == 404 || status == 410) return Failure(Errc::kNotFound, "the image is gone", status);
    if (status == 403) return Failure(Errc::kAccessDenied, "the image is deactivated, or may not be downloaded", status);
    return client_.StatusError(request_, response);
  }

  const GlanceClient& client_;
  const OriginRequest& request_;
  const bool by_range_;
  const std::string& md5_;
  ExtentBody body_;
  bool no_ranges_ = false;
};

}  // namespace

GlanceReader::GlanceReader(std::shared_ptr<GlanceClient> client, std::shared_ptr<RangelessNames> rangeless, const ImageInfo& image)
    : ImageReader(image.size), client_(std::move(client)), rangeless_(std::move(rangeless)), id_(image.id) {}

Result<void> GlanceReader::DoFetch(Extent extent, DataSink& sink, std::stop_token stop) {
  GLINTFS_ASSIGN(const std::string md5, CheckVersion(stop));
  const bool rangeless = rangeless_->Contains(id_.name);
  const Error refusal{Errc::kNotSupported, fmt::format("image {}: its store in Glance has no ranges", id_.name)};
  if (rangeless && extent.offset != 0) return refusal;
  // The whole image is not asked for as a range: every store can give it.
  const bool by_range = !rangeless && extent.length < size();
  GLINTFS_ASSIGN(const Answer answer, Get(extent, by_range, md5, sink, stop));
  if (answer == Answer::kDone) return {};
  rangeless_->Set(id_.name, true);
  if (extent.offset != 0) return refusal;
  GLINTFS_TRY(Get(extent, false, md5, sink, stop));
  return {};
}

// The MD5 of the image's data, "" when Glance has none.
Result<std::string> GlanceReader::CheckVersion(std::stop_token stop) {
  {
    MutexLock lock(mu_);
    if (md5_) return *md5_;
  }
  GLINTFS_ASSIGN(const std::optional<ImageRecord> image, client_->Show(id_.name, std::move(stop)));
  if (!image) return Error{Errc::kNotFound, fmt::format("image {} is gone", id_.name)};
  if (image->status == "deactivated") return Error{Errc::kAccessDenied, fmt::format("image {} is deactivated", id_.name)};
  if (!image->active()) return Error{Errc::kNotFound, fmt::format("image {} is not active any more", id_.name)};
  if (image->size != size() || VersionOf(*image) != id_.version)
    return Error{Errc::kStale, fmt::format("image {} has changed: {} now", id_.name, VersionOf(*image))};
  MutexLock lock(mu_);
  md5_ = image->checksum;
  return *md5_;
}

Result<GlanceReader::Answer> GlanceReader::Get(Extent extent, bool by_range, const std::string& md5, DataSink& sink,
                                               std::stop_token stop) {
  GLINTFS_ASSIGN(OriginRequest request, client_->DataRequest(id_.name, stop));
  if (by_range) request.headers.push_back(RangeHeader(extent));
  FetchHandler handler(*client_, request, extent, size(), by_range, md5, sink);
  auto response = client_->http().Perform(request, handler, std::move(stop));
  const bool refused = !response && response.error().code == Errc::kNotSupported;
  if (by_range && (handler.whole_image() || refused)) rangeless_->Set(id_.name, true);
  if (!response) return std::move(response).error();
  return handler.no_ranges() ? Answer::kNoRanges : Answer::kDone;
}

}  // namespace glintfs
