// The limits of the cache, and the figures it keeps of itself. Plain values.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string>

#include "fs/base/clock.h"
#include "fs/base/latency_histogram.h"
#include "fs/cache/image_status.h"

namespace glintfs {

// What can change while the daemon runs (SIGHUP, control socket).
struct CacheLimits {
  uint64_t max_size = 10'000'000'000;  // bytes of disk; 0: unlimited
  double low_mark = 0.90;              // share of max_size that eviction goes down to
  double min_free = 0.05;              // share of the file system left free
  uint64_t fill_rate = 0;              // bytes/s for background and queued traffic together; 0: unlimited
  Nanos stall_time = std::chrono::hours(24);
  Nanos clean_interval = std::chrono::minutes(10);
};

struct IndexHealth {
  uint64_t commits = 0, commit_errors = 0;  // since the start
  Nanos last_commit{0};                     // wall clock; 0: none yet
  uint64_t size = 0;                        // bytes of its files
  HistogramCounts commit_latency;
};

struct ScrubCounts {
  uint64_t waiting = 0, running = 0;
  uint64_t bytes = 0;                           // checked since start
  uint64_t good = 0, repaired = 0, failed = 0;  // images; one that is repaired later counts in both of the last
};

struct CacheStats {
  CacheLimits limits;
  uint64_t used_bytes = 0;       // disk bytes counted against max_size
  uint64_t reserved_bytes = 0;   // part of used_bytes: being written now
  uint64_t disk_total = 0, disk_available = 0;  // of the file system
  uint64_t images = 0, absent = 0, partial = 0, complete = 0, verified = 0, invalid = 0, pinned = 0;
  uint64_t open_images = 0;
  uint64_t fetches_running = 0, fetches_waiting = 0, reads_parked = 0;
  // Counters since the daemon started.
  uint64_t read_hits = 0, read_misses = 0;          // reads answered at once / after waiting
  uint64_t bytes_read = 0;                          // to readers
  uint64_t bytes_fetched[4] = {0, 0, 0, 0};         // by urgency: demand, readahead, queued, background
  uint64_t fetch_errors = 0;
  uint64_t bypassed_bytes = 0;
  uint64_t evictions = 0, evicted_bytes = 0;
  uint64_t stalled_removed = 0, invalid_removed = 0;
  uint64_t checksum_ok = 0, checksum_failed = 0, bad_chunks = 0;
  uint64_t index_commits = 0;
  std::array<uint64_t, kRemovals> removed{}, removed_bytes{};  // by Removal
  uint64_t bytes_from_store = 0, bytes_from_bypass = 0;        // parts of bytes_read: after waiting; of what was not kept
  HistogramCounts hit_latency, miss_latency;                   // of reads answered at once / after waiting
  uint64_t fills_running = 0;
  double fill_rate = 0;                                        // bytes/s, of all of them
  uint64_t passthrough_opens = 0, passthrough_open = 0;        // since start; open now
  uint64_t storage_errors = 0;                                 // of the cache directory
  ScrubCounts scrub;
  IndexHealth index;
  bool no_room = false;                             // the last that was to be kept found no room, and there is none yet
  std::string storage_error;                        // why the cache does not store at the moment, empty when it does
};

}  // namespace glintfs
