// HttpReader: one version of one image behind a URL, read by ranges.
#pragma once

#include <memory>

#include "backends/backend.h"
#include "backends/http/client.h"
#include "backends/http/http_backend.h"

namespace glintfs {

class HttpReader final : public ImageReader {
 public:
  HttpReader(std::shared_ptr<HttpClient> client, std::shared_ptr<RangelessNames> rangeless, HttpUrl url,
             const ImageInfo& image);

 private:
  Result<void> DoFetch(Extent extent, DataSink& sink, std::stop_token stop) override;

  const std::shared_ptr<HttpClient> client_;
  const std::shared_ptr<RangelessNames> rangeless_;
  const HttpUrl url_;
  const ImageId id_;
};

}  // namespace glintfs
