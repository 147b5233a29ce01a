#include "fs/base/latency_histogram.h"

#include <algorithm>

namespace glintfs {

void LatencyHistogram::Count(Nanos took) {
  static std::atomic<size_t> threads{0};
  thread_local const size_t mine = threads.fetch_add(1, std::memory_order_relaxed) % kShards;
  Shard& shard = shards_[mine];
  const auto bound = std::lower_bound(kHistogramBounds.begin(), kHistogramBounds.end(), took.count());
  shard.buckets[static_cast<size_t>(bound - kHistogramBounds.begin())].fetch_add(1, std::memory_order_relaxed);
  shard.sum.fetch_add(took.count(), std::memory_order_relaxed);
}

HistogramCounts LatencyHistogram::counts() const {
  HistogramCounts counts;
  for (const Shard& shard : shards_) {
    for (size_t i = 0; i < shard.buckets.size(); ++i) counts.buckets[i] += shard.buckets[i].load(std::memory_order_relaxed);
    counts.sum += Nanos(shard.sum.load(std::memory_order_relaxed));
  }
  return counts;
}

}  // namespace glintfs
