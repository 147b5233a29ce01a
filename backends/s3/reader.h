// S3Reader: one version of one object, read by ranges.
#pragma once

#include <memory>
#include <string>

#include "backends/backend.h"
#include "backends/http/client.h"

namespace glintfs {

class S3Reader final : public ImageReader {
 public:
  S3Reader(std::shared_ptr<HttpClient> client, HttpUrl url, std::string region, const ImageInfo& image);

 private:
  Result<void> DoFetch(Extent extent, DataSink& sink, std::stop_token stop) override;

  const std::shared_ptr<HttpClient> client_;
  const HttpUrl url_;
  const std::string region_;
  const std::string version_;
};

}  // namespace glintfs
