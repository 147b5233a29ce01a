// Readahead: tells sequential streams from random reads of one image, and what to fetch ahead for each. Pure; not thread-safe.
//
//        next        planned_end
//   ─────┼───window───┼            a stream: read up to `next`, fetched or in flight up to `planned_end`
//
// Several readers of one image are several streams. A stream's window starts at 1 MiB with its second read and doubles up
// to 32 MiB each time the reader has used half of it. A stream that is dropped with most of its window unread halves the
// window the next ones start with.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "backends/backend.h"

namespace glintfs {

class Readahead {
 public:
  static constexpr uint64_t kMinWindow = 1 << 20;
  static constexpr uint64_t kMaxWindow = 32 << 20;
  static constexpr size_t kMaxStreams = 32;

  // A read of [offset, offset+length). Returns the bytes to fetch ahead, not clipped to the image; nullopt for none.
  std::optional<Extent> OnRead(uint64_t offset, uint64_t length);

  // Largest window; kMaxWindow unless the cache has no room for more.
  void set_max_window(uint64_t bytes) { max_window_ = bytes; }
  // Did the last OnRead belong to a stream?
  bool last_was_sequential() const { return last_was_sequential_; }
  size_t streams() const { return streams_.size(); }

 private:
  struct Stream {
    uint64_t next = 0;         // bytes
    uint64_t window = 0;       // bytes; 0 until the second read
    uint64_t planned_end = 0;  // bytes
    uint64_t last_use = 0;     // tick
  };

  Stream* FindStream(uint64_t offset, uint64_t length);
  void StartStream(uint64_t offset, uint64_t length);

  std::vector<Stream> streams_;
  uint64_t tick_ = 0;
  bool last_was_sequential_ = false;
  uint64_t start_window_ = kMinWindow;
  uint64_t max_window_ = kMaxWindow;
};

}  // namespace glintfs
