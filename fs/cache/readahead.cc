// The kernel splits one sequential reader into several requests that several FUSE workers carry here in any order, so a read
// belongs to a stream when it is near its position, not only exactly at it. How near depends on the size of the requests:
// 4 KiB random reads must not look like a stream, 1 MiB requests may be two or three ahead of each other.
#include "fs/cache/readahead.h"

#include <algorithm>

namespace glintfs {
namespace {
constexpr uint64_t kMinSlack = 128 << 10;
constexpr uint64_t kMaxSlack = 4 << 20;
}  // namespace

std::optional<Extent> Readahead::OnRead(uint64_t offset, uint64_t length) {
  ++tick_;
  Stream* stream = FindStream(offset, length);
  last_was_sequential_ = stream != nullptr;
  if (stream == nullptr) {
    StartStream(offset, length);
    return std::nullopt;
  }
  stream->last_use = tick_;
  stream->next = std::max(stream->next, offset + length);
  stream->planned_end = std::max(stream->planned_end, stream->next);
  if (stream->window != 0 && stream->next + stream->window / 2 < stream->planned_end) return std::nullopt;
  stream->window = stream->window == 0 ? start_window_ : stream->window * 2;
  stream->window = std::min(stream->window, max_window_);
  const uint64_t end = stream->next + stream->window;
  if (end <= stream->planned_end) return std::nullopt;
  const Extent ahead{stream->planned_end, end - stream->planned_end};
  stream->planned_end = end;
  return ahead;
}

Readahead::Stream* Readahead::FindStream(uint64_t offset, uint64_t length) {
  const uint64_t slack = std::clamp(length * 4, kMinSlack, kMaxSlack);
  Stream* best = nullptr;
  uint64_t best_distance = UINT64_MAX;
  for (Stream& stream : streams_) {
    const uint64_t distance = offset > stream.next ? offset - stream.next : stream.next - offset;
    if (distance <= slack && distance < best_distance) {
      best = &stream;
      best_distance = distance;
    }
  }
  return best;
}

void Readahead::StartStream(uint64_t offset, uint64_t length) {
  if (streams_.size() < kMaxStreams) {
    streams_.push_back({});
  } else {
    auto oldest = std::min_element(streams_.begin(), streams_.end(),
                                   [](const Stream& a, const Stream& b) { return a.last_use < b.last_use; });
    std::swap(*oldest, streams_.back());
    const Stream& dropped = streams_.back();
    if (dropped.window != 0) {
      const bool wasted = dropped.planned_end - dropped.next > dropped.window / 2;
      start_window_ = wasted ? std::max<uint64_t>(start_window_ / 2, 256 << 10) : kMinWindow;
    }
  }
  streams_.back() = {.next = offset + length, .window = 0, .planned_end = offset + length, .last_use = tick_};
}

}  // namespace glintfs
