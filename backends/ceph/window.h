// FetchThroughWindow: reads an extent in pieces, several at once, and passes them on in order.
//
//   pieces   [ready][ready][ on its way ][ on its way ]…      at most kWindowBytes
//                │      └─ Confirm() after they came: what they hold is of the version asked for
//                └─ sink.Write, then its buffer reads the next piece
//
// Left out: to stop a read that is on its way, which librbd cannot. A fetch that is stopped leaves its reads behind; they hold
// their buffers, and count in the budget, until Ceph's own deadline.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "backends/backend.h"

namespace glintfs {

// How many bytes of buffers all fetches of a backend may hold, and those that nobody uses now: fresh pages for each read are a
// twentieth of what a fetch costs. Thread-safe.
class ReadBudget {
 public:
  using Memory = std::unique_ptr<std::byte[]>;

  explicit ReadBudget(uint64_t bytes) : free_(bytes) {}
  Memory TakeMemory(uint64_t bytes);
  void GiveMemory(Memory memory, uint64_t bytes);
  bool TryTake(uint64_t bytes);
  bool Take(uint64_t bytes, std::stop_token stop);  // waits; false when stopped
  void Give(uint64_t bytes);

 private:
  std::mutex mu_;  // a leaf, as in SleepUnlessStopped
  std::condition_variable_any changed_;
  uint64_t free_;
  std::vector<std::pair<uint64_t, Memory>> spare_;  // with their sizes
};

// The end of one read. Finish may be called from any thread, once, and deletes.
class PieceDone {
 public:
  virtual ~PieceDone() = default;
  virtual void Finish(int64_t result) = 0;  // bytes read, or a negative errno
};

// One version of one image. Held until the last read has ended, so its destructor may run in a callback of librbd: it must not
// block.
class PieceSource {
 public:
  virtual ~PieceSource() = default;
  // Starts a read into `buffer` and passes `done` to it; 0, or a negative errno, after which `done` is still the caller's.
  virtual int Start(Extent extent, std::byte* buffer, PieceDone* done) = 0;
  // Whether what was read until now is of this version.
  virtual Result<void> Confirm(std::stop_token stop) = 0;
  virtual Error ErrorOf(int err, std::stop_token stop) = 0;
};

constexpr uint64_t kWindowBytes = 32 << 20;

// `piece_size`: reads begin and end at its multiples, except at the ends of the extent.
Result<void> FetchThroughWindow(std::shared_ptr<PieceSource> source, std::shared_ptr<ReadBudget> budget, uint64_t piece_size,
                                Extent extent, DataSink& sink, std::stop_token stop);

}  // namespace glintfs
