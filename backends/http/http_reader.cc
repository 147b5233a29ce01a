// One GET per fetch, with the condition that the server still holds the version (412 otherwise), and the answer's own
// validators checked again: not every server knows conditions, and a proxy may answer from an older copy.
#include "backends/http/http_reader.h"

#include <fmt/format.h>

#include <algorithm>

#include "backends/http/handlers.h"

namespace glintfs {
namespace {

// Passes the extent's bytes on. Of a 200 the rest of the object is not waited for.
class FetchHandler final : public HttpHandler {
 public:
  FetchHandler(const OriginRequest& request, Extent extent, uint64_t size, const std::string& version, DataSink& sink)
      : request_(request), version_(version), body_(extent, size, sink) {}

  Result<bool> OnHeaders(const OriginResponse& response) override {
    refuses_ranges_ = RefusesRanges(response.headers);
    GLINTFS_ASSIGN(const RangeAnswer answer, CheckRangeAnswer(request_, response, body_.extent(), body_.size(), version_));
    body_.Begin(answer);
    return true;
  }

  Result<bool> OnBody(std::span<const std::byte> data) override { return body_.Write(data); }

  bool refuses_ranges() const { return refuses_ranges_; }
  bool whole_object() const { return body_.is_prefix(); }

 private:
  const OriginRequest& request_;
  const std::string& version_;
  ExtentBody body_;
  bool refuses_ranges_ = false;
};

}  // namespace

HttpReader::HttpReader(std::shared_ptr<HttpClient> client, std::shared_ptr<RangelessNames> rangeless, HttpUrl url,
                       const ImageInfo& image)
    : ImageReader(image.size),
      client_(std::move(client)),
      rangeless_(std::move(rangeless)),
      url_(std::move(url)),
      id_(image.id) {}

Result<void> HttpReader::DoFetch(Extent extent, DataSink& sink, std::stop_token stop) {
  const bool rangeless = rangeless_->Contains(id_.name);
  if (rangeless && extent.offset != 0)
    return Error{Errc::kNotSupported, url_.Text() + ": the server has no ranges for this object"};
  OriginRequest request{.head = false, .url = url_, .headers = {}, .stop_at_directory = true};
  if (!rangeless) request.headers.push_back(RangeHeader(extent));
  if (std::string condition = ConditionFor(id_.version); !condition.empty()) request.headers.push_back(condition);

  FetchHandler handler(request, extent, size(), id_.version, sink);
  auto response = client_->Perform(request, handler, stop);
  const bool answered_whole = handler.whole_object() && extent.length < size();
  const bool refused = !response && response.error().code == Errc::kNotSupported;
  if (!rangeless && (handler.refuses_ranges() || answered_whole || refused)) rangeless_->Set(id_.name, true);
  if (!response) return std::move(response).error();
  return {};
}

}  // namespace glintfs
