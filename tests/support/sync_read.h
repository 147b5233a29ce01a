// Reads of a CachedImage as a test wants them: started now, awaited later.
#pragma once

#include <future>
#include <memory>
#include <vector>

#include "fs/cache/cached_image.h"

namespace glintfs::testing {

using ReadResult = Result<std::vector<std::byte>>;

class PromiseOp final : public ReadOp {
 public:
  PromiseOp(uint64_t op_id, uint64_t at, size_t size) : ReadOp(op_id, at, size) {}

  bool Done(const ReadData& data) override {
    std::vector<std::byte> bytes(data.length);
    if (data.file != nullptr) {
      if (!data.file->ReadAt(bytes, data.offset)) return false;
    } else {
      bytes.assign(data.bytes.begin(), data.bytes.end());
    }
    promise.set_value(std::move(bytes));
    return true;
  }
  void Fail(const Error& error) override { promise.set_value(error); }

  std::promise<ReadResult> promise;
};

inline std::future<ReadResult> StartRead(CachedImage& image, uint64_t offset, size_t length, uint64_t id = 0) {
  auto op = std::make_unique<PromiseOp>(id, offset, length);
  auto future = op->promise.get_future();
  image.Read(std::move(op));
  return future;
}

// kTimedOut when nobody answers for a minute: a test should fail, not hang.
inline ReadResult Await(std::future<ReadResult> future) {
  if (future.wait_for(std::chrono::seconds(60)) != std::future_status::ready)
    return Error{Errc::kTimedOut, "the read was not answered"};
  return future.get();
}

inline ReadResult ReadNow(CachedImage& image, uint64_t offset, size_t length) {
  return Await(StartRead(image, offset, length));
}

inline bool IsReady(std::future<ReadResult>& future) {
  return future.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

}  // namespace glintfs::testing
