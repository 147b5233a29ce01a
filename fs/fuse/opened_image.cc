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
  OpenedForKernel(Cache& cache, RowId row, uint64_t size, std::shared_ptr<SealedImage> image,
                  std::shared_ptr<Passthrough> passthrough, int32_t backing_id)
      : cache_(cache),
        row_(row),
        size_(size),
        image_(std::move(image)),
        passthrough_(std::move(passthrough)),
        backing_id_(backing_id) {}
  ~OpenedForKernel() override { passthrough_->Unregister(backing_id_); }

  // The kernel does not ask; this is for a READ without a handle.
  void Read(std::unique_ptr<ReadOp> op) override {
    ReadData data;
    data.file = &image_->file();
    data.offset = op->offset;
    if (op->offset < size_) data.length = std::min<uint64_t>(op->length, size_ - op->offset);
    if (!op->Done(data)) op->Fail({Errc::kIo, "the data file cannot be read"});
  }
  bool Cancel(uint64_t) override { return false; }
  int32_t backing_id() const override { return backing_id_; }
  void Opened() override { cache_.SealedOpened(row_); }
  void Closed() override { cache_.SealedClosed(row_); }

 private:
  Cache& cache_;
  const RowId row_;
  const uint64_t size_;
  const std::shared_ptr<SealedImage> image_;
  const std::shared_ptr<Passthrough> passthrough_;
  const int32_t backing_id_;
};

}  // namespace

Result<std::shared_ptr<OpenedImage>> OpenForKernel(Cache& cache, RowId row, const ImageInfo& image,
                                                   std::shared_ptr<Passthrough> passthrough) {
  auto sealed = cache.OpenSealed(row);
  if (!sealed) return Error{Errc::kNotFound, "not sealed"};
  GLINTFS_ASSIGN(const int32_t id, passthrough->Register(sealed->file().fd()));
  return std::shared_ptr<OpenedImage>(
      std::make_shared<OpenedForKernel>(cache, row, image.size, std::move(sealed), std::move(passthrough), id));
}

ImageOpener CacheOpener(Cache& cache) {
  return [&cache](const ImageInfo& info) -> Result<std::shared_ptr<OpenedImage>> {
    GLINTFS_ASSIGN(auto image, cache.OpenImage(info));
    return std::shared_ptr<OpenedImage>(std::make_shared<OpenedFromCache>(std::move(image)));
  };
}

}  // namespace glintfs
