// One GET per fetch, on condition of the ETag (412 otherwise). The version id is not asked for: the server would go on giving an
// old version after the object was replaced, and a replaced image is to be noticed.
#include "backends/s3/reader.h"

#include <algorithm>

#include "backends/http/handlers.h"
#include "backends/s3/answer.h"
#include "backends/s3/body.h"

namespace glintfs {
namespace {

// Passes the extent's bytes on, and keeps the body of an answer that has none of them.
class FetchHandler final : public HttpHandler {
 public:
  FetchHandler(const OriginRequest& request, Extent extent, uint64_t size, const std::string& version, DataSink& sink)
      : request_(request), version_(version), body_(extent, size, sink) {}

  Result<bool> OnHeaders(const OriginResponse& response) override {
    failed_ = response.status != 200 && response.status != 206;
    if (failed_) return error_.OnHeaders(response);
    GLINTFS_ASSIGN(const RangeAnswer answer, CheckRangeAnswer(request_, response, body_.extent(), body_.size(), HttpPartOf(version_)));
    GLINTFS_TRY(CheckVersionId(response.headers, version_));
    body_.Begin(answer);
    return true;
  }

  Result<bool> OnBody(std::span<const std::byte> data) override {
    return failed_ ? error_.OnBody(data) : body_.Write(data);
  }

  bool failed() const { return failed_; }
  const std::string& error_body() const { return error_.body(); }

 private:
  const OriginRequest& request_;
  const std::string& version_;
  ExtentBody body_;
  bool failed_ = false;
  KeepS3Body error_;
};

}  // namespace

S3Reader::S3Reader(std::shared_ptr<HttpClient> client, HttpUrl url, std::string region, const ImageInfo& image)
    : ImageReader(image.size),
      client_(std::move(client)),
      url_(std::move(url)),
      region_(std::move(region)),
      version_(image.id.version) {}

Result<void> S3Reader::DoFetch(Extent extent, DataSink& sink, std::stop_token stop) {
  OriginRequest request{.head = false, .url = url_, .headers = {RangeHeader(extent)}, .follow_redirects = false};
  if (std::string condition = ConditionFor(HttpPartOf(version_)); !condition.empty())
    request.headers.push_back(std::move(condition));
  FetchHandler handler(request, extent, size(), version_, sink);
  GLINTFS_ASSIGN(const OriginResponse response, client_->Perform(request, handler, stop));
  if (handler.failed()) return S3Error(request, response, handler.error_body(), region_);
  return {};
}

}  // namespace glintfs
