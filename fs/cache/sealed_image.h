// SealedImage: a complete image in use as a whole, by readers who go to its data file past this process (passthrough).
//
// From its first such use on the data file is never written, punched or truncated again: who reads it cannot be told that a
// chunk is bad. Should one turn out to be, other readers get it from the source, and the image is removed once nobody
// uses it. See cache_sealed.cc.
#pragma once

#include <memory>

#include "fs/base/file.h"

namespace glintfs {

// While it lives the image is in use: it is not evicted, and its disk bytes count. Thread-safe.
class SealedImage {
 public:
  virtual ~SealedImage() = default;
};

struct OpenedSealed {
  std::shared_ptr<SealedImage> image;
  std::unique_ptr<File> file;  // may be closed before `image`
};

}  // namespace glintfs
