#include "fs/fuse/opened_image.h"

#include <algorithm>
#include <utility>

#include "fs/cache/cached_image.h"
#include "fs/cache/sealed_image.h"

namespace glintfs {
namespace {

class OpenedFromCache final : public OpenedImage {
 public:
  explicit OpenedFromCache(std::shared_ptr<CachedImage> image) : image_(std::move(image)) {}
  void Read(std::unique_ptr<ReadOp> op) override { image_->Read(std::move(op)); }
  bool Cancel(uint64_t op_id) override { return image_->Cancel(op_id); }
  std::optional<CachedImage::Hit> TryRead(uint64_t offset, size_t length) override { return image_->TryRead(offset, length); }
  bool HasContent() override { return image_->progress().chunks_present > 0; }

 private:
  const std::shared_ptr<CachedImage> image_;
};

class OpenedForKernel final : public OpenedImage {
 public:
  OpenedForKernel(Cache& cache, RowId row, std::shared_ptr<SealedImage> image, std::shared_ptr<Passthrough> passthrough,
                  int32_t backing_id)
      : cache_(cache),
        row_(row),
        image_(std::move(image)),
        passthrough_(std::move(passthrough)),
        backing_id_(backing_id) {}
  ~OpenedForKernel() override { passthrough_->Unregister(backing_id_); }

  void Read(std::unique_ptr<ReadOp> op) override { op->Fail({Errc::kIo, "the kernel reads this image by itself"}); }
  bool Cancel(uint64_t) override { return false; }
  int32_t backing_id() const override { return backing_id_; }
  void Opened() override { cache_.SealedOpened(row_); }
  void Closed() override { cache_.SealedClosed(row_); }

 private:
  Cache& cache_;
  const RowId row_;
  const std::shared_ptr<SealedImage> image_;
  const std::shared_ptr<Passthrough> passthrough_;
  const int32_t backing_id_;
};

}  // namespace

// The kernel keeps the file by itself: no descriptor stays open here.
Result<std::shared_ptr<OpenedImage>> OpenForKernel(Cache& cache, RowId row, std::shared_ptr<Passthrough> passthrough) {
  GLINTFS_ASSIGN(OpenedSealed sealed, cache.OpenSealed(row));
  GLINTFS_ASSIGN(const int32_t id, passthrough->Register(sealed.file->fd()));
  return std::shared_ptr<OpenedImage>(
      std::make_shared<OpenedForKernel>(cache, row, std::move(sealed.image), std::move(passthrough), id));
}

ImageOpener CacheOpener(Cache& cache) {
  return [&cache](const ImageInfo& info) -> Result<std::shared_ptr<OpenedImage>> {
    GLINTFS_ASSIGN(auto image, cache.OpenImage(info));
    return std::shared_ptr<OpenedImage>(std::make_shared<OpenedFromCache>(std::move(image)));
  };
}

}  // namespace glintfs
