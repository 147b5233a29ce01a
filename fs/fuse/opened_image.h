// OpenedImage: what the file system needs of an image that is being read. The cache's CachedImage behind an interface,
// so that the file system can be run without a cache on disk.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "backends/backend.h"
#include "fs/base/result.h"
#include "fs/cache/cache.h"
#include "fs/cache/read_op.h"

namespace glintfs {

// Thread-safe. While it lives, the image counts as in use.
class OpenedImage {
 public:
  virtual ~OpenedImage() = default;
  // As CachedImage::Read and ::Cancel.
  virtual void Read(std::unique_ptr<ReadOp> op) = 0;
  virtual bool Cancel(uint64_t op_id) = 0;
  // Is anything of it in the cache? If not, what the kernel still has of it may be of an image that was found wrong.
  virtual bool HasContent() { return true; }
};

using ImageOpener = std::function<Result<std::shared_ptr<OpenedImage>>(const ImageInfo&)>;

// Opens with Cache::OpenImage.
ImageOpener CacheOpener(Cache& cache);

}  // namespace glintfs
