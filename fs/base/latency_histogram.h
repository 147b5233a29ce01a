// LatencyHistogram: how often something took how long, from microseconds to half a minute. Counting costs some nanoseconds and
// is spread over the processors' cache lines, so that threads which count at once do not slow each other down.
// Thread-safe and lock-free.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "fs/base/clock.h"

namespace glintfs {

// Upper bounds of the buckets, in nanoseconds; one more bucket takes the rest.
inline constexpr std::array<int64_t, 20> kHistogramBounds = {
    10'000,     25'000,     50'000,     100'000,     250'000,     500'000,     1'000'000,     2'500'000,     5'000'000,     10'000'000,
    25'000'000, 50'000'000, 100'000'000, 250'000'000, 500'000'000, 1'000'000'000, 2'500'000'000, 5'000'000'000, 10'000'000'000, 30'000'000'000};

struct HistogramCounts {
  std::array<uint64_t, kHistogramBounds.size() + 1> buckets{};  // not cumulative
  Nanos sum{0};
};

class LatencyHistogram {
 public:
  void Count(Nanos took);
  HistogramCounts counts() const;

 private:
  static constexpr size_t kShards = 16;
  struct alignas(64) Shard {
    std::array<std::atomic<uint64_t>, kHistogramBounds.size() + 1> buckets{};
    std::atomic<int64_t> sum{0};
  };
  std::array<Shard, kShards> shards_;
};

}  // namespace glintfs
