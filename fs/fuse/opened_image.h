// OpenedImage: what the file system needs of an image that is being read. The cache's CachedImage behind an interface,
// so that the file system can be run without a cache on disk.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "backends/backend.h"
#include "fs/base/result.h"
#include "fs/cache/cache.h"
#include "fs/cache/cached_image.h"
#include "fs/cache/read_op.h"
#include "fs/fuse/passthrough.h"

namespace glintfs {

// Thread-safe. While it lives, the image counts as in use.
class OpenedImage {
 public:
  virtual ~OpenedImage() = default;
  // As CachedImage::Read and ::Cancel.
  virtual void Read(std::unique_ptr<ReadOp> op) = 0;
  virtual bool Cancel(uint64_t op_id) = 0;
  // As CachedImage::TryRead.
  virtual std::optional<CachedImage::Hit> TryRead(uint64_t, size_t) { return std::nullopt; }
  // Is anything of it in the cache? If not, what the kernel still has of it may be of an image that was found wrong.
  virtual bool HasContent() { return true; }
  // The number the kernel knows its file by and reads it itself; 0: it asks us for every read.
  virtual int32_t backing_id() const { return 0; }
  // A handle on it was opened or closed.
  virtual void Opened() {}
  virtual void Closed() {}
};

using ImageOpener = std::function<Result<std::shared_ptr<OpenedImage>>(const ImageInfo&)>;

// Opens with Cache::OpenImage.
ImageOpener CacheOpener(Cache& cache);

// Opens a sealed image for the kernel to read by itself. kNotFound: it is not sealed any more; any other error: its file cannot
// be opened now, or the kernel did not take it.
Result<std::shared_ptr<OpenedImage>> OpenForKernel(Cache& cache, RowId row, std::shared_ptr<Passthrough> passthrough);

}  // namespace glintfs
