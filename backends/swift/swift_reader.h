// SwiftReader: one version of one object, read by ranges; of a dynamic large object, its segments one by one.
#pragma once

#include <memory>
#include <string>

#include "backends/backend.h"
#include "backends/swift/account.h"
#include "backends/swift/segments.h"
#include "fs/base/mutex.h"

namespace glintfs {

class SwiftReader final : public ImageReader {
 public:
  // `key` is the object's whole name.
  SwiftReader(std::shared_ptr<SwiftAccount> account, std::string container, std::string key, const ImageInfo& image);

 private:
  using SharedSegments = std::shared_ptr<const SwiftSegments>;

  Result<void> DoFetch(Extent extent, DataSink& sink, std::stop_token stop) override;
  Result<void> FetchSegments(Extent extent, DataSink& sink, std::stop_token stop);
  Result<SharedSegments> Segments(std::stop_token stop);

  const std::shared_ptr<SwiftAccount> account_;
  const std::string container_;
  const std::string key_;
  const std::string version_;

  Mutex mu_;
  SharedSegments segments_ GUARDED_BY(mu_);  // once they are known
};

}  // namespace glintfs
