// Verifier: compares whole images with the checksum their source publishes, on one thread of its own.
//
// While an image fills, the verifier hashes along its contiguous prefix, soon after the bytes came, so that they are read
// back from memory; when the last chunk arrives little is left to do. It reads each chunk against its chunk hash, so that
// what it verifies is what is on disk.
//
// Thread-safe. Callbacks happen on the verifier's thread, without locks.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "backends/backend.h"
#include "fs/base/mutex.h"
#include "fs/base/thread.h"
#include "fs/cache/image_status.h"

namespace glintfs {

class CachedImage;

class Verifier {
 public:
  struct Callbacks {
    // The image's checksum; nullopt: it has none, or it cannot be had now (asked again when the image is considered again).
    // May wait for the source.
    std::function<std::optional<Checksum>(CachedImage&, std::stop_token)> find_checksum;
    std::function<void(CachedImage&)> passed;
    std::function<void(CachedImage&, std::string message)> failed;
  };
  explicit Verifier(Callbacks callbacks);
  ~Verifier();

  // Starts to follow this image, if it does not already.
  void Consider(const std::shared_ptr<CachedImage>& image);
  // Checks the chunks of a complete image that are suspect, in the background, so that it need not be done read by read.
  void Recheck(const std::shared_ptr<CachedImage>& image);
  void Stop();

 private:
  struct Hashing;

  void Run(std::stop_token stop);
  // False when there is no more to do for it, now or ever.
  bool Follow(Hashing& hashing, std::stop_token stop);

  const Callbacks callbacks_;
  Mutex mu_;
  CondVar wake_;
  std::vector<std::shared_ptr<CachedImage>> considered_ GUARDED_BY(mu_);
  std::vector<std::shared_ptr<CachedImage>> rechecks_ GUARDED_BY(mu_);
  bool stopping_ GUARDED_BY(mu_) = false;
  std::map<RowId, std::unique_ptr<Hashing>> hashing_;  // the thread's own
  Thread thread_;
};

// A running digest. Not thread-safe.
class Digest {
 public:
  // As Checksum::algorithm names it; null for one that is not known here.
  static std::unique_ptr<Digest> Make(const std::string& algorithm);
  virtual ~Digest() = default;
  virtual void Update(std::span<const std::byte> data) = 0;
  virtual std::string FinishHex() = 0;  // lower case
};

}  // namespace glintfs
