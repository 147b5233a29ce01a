// GlanceReader: one image of Glance, read by ranges where its store has them.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "backends/glance/glance_client.h"
#include "backends/http/http_backend.h"

namespace glintfs {

class GlanceReader final : public ImageReader {
 public:
  GlanceReader(std::shared_ptr<GlanceClient> client, std::shared_ptr<RangelessNames> rangeless, const ImageInfo& image);

 private:
  enum class Answer { kDone, kNoRanges };

  Result<void> DoFetch(Extent extent, DataSink& sink, std::stop_token stop) override;
  Result<std::string> CheckVersion(std::stop_token stop);
  Result<Answer> Get(Extent extent, bool by_range, const std::string& md5, DataSink& sink, std::stop_token stop);

  const std::shared_ptr<GlanceClient> client_;
  const std::shared_ptr<RangelessNames> rangeless_;
  const ImageId id_;

  Mutex mu_;
  std::optional<std::string> md5_ GUARDED_BY(mu_);  // set once the version was found to be the one of id_; empty: Glance has none
};

}  // namespace glintfs
