#include "fs/fuse/opened_image.h"

#include <utility>

#include "fs/cache/cached_image.h"

namespace glintfs {
namespace {

class OpenedFromCache final : public OpenedImage {
 public:
  explicit OpenedFromCache(std::shared_ptr<CachedImage> image) : image_(std::move(image)) {}
  void Read(std::unique_ptr<ReadOp> op) override { image_->Read(std::move(op)); }
  bool Cancel(uint64_t op_id) override { return image_->Cancel(op_id); }
  bool HasContent() override { return image_->progress().chunks_present > 0; }

 private:
  const std::shared_ptr<CachedImage> image_;
};

}  // namespace

ImageOpener CacheOpener(Cache& cache) {
  return [&cache](const ImageInfo& info) -> Result<std::shared_ptr<OpenedImage>> {
    GLINTFS_ASSIGN(auto image, cache.OpenImage(info));
    return std::shared_ptr<OpenedImage>(std::make_shared<OpenedFromCache>(std::move(image)));
  };
}

}  // namespace glintfs
