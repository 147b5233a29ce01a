// What a backend was asked, how long it took and what went wrong: for /metrics and `glintctl status`.
//
// A request is one call to the store's client: an attempt of the retry layer, a look for a sidecar. How many messages it takes on
// the wire is the client's affair (librbd reads a 4 MiB object with one, an S3 client follows redirects).
//
// Thread-safe and lock-free: counting costs a demand read nothing.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "backends/backend.h"

namespace glintfs {

enum class Operation { kStat, kList, kOpen, kHoles, kChecksum, kFetch };
inline constexpr std::array kOperations = {Operation::kStat,  Operation::kList,     Operation::kOpen,
                                           Operation::kHoles, Operation::kChecksum, Operation::kFetch};
std::string_view OperationName(Operation operation);  // "stat", "list", …

// Upper bounds of the latency buckets, in seconds; one more bucket takes the rest.
inline constexpr std::array kLatencyBounds = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0};

struct LatencyCounts {
  std::array<uint64_t, kLatencyBounds.size() + 1> buckets{};  // not cumulative
  Nanos sum{0};

  uint64_t count() const;
  // The bound below which `share` of the requests were, in seconds; 0 when there were none. The largest bound for the last bucket.
  double Quantile(double share) const;
};

struct BackendStats {
  std::string backend;  // "rbd"
  // By Operation. To the answer; of fetches, to the first byte. Failed requests are in there too.
  std::array<LatencyCounts, kOperations.size()> latency{};
  std::array<uint64_t, kErrcCount> errors{};  // by Errc; neither what the caller gave up nor "no such name"
  uint64_t bytes = 0;    // of images, as they came from the store
  uint64_t retries = 0;

  uint64_t requests() const;
  uint64_t error_count() const;
};

class BackendMeter {
 public:
  explicit BackendMeter(std::string backend) : backend_(std::move(backend)) {}

  void Count(Operation operation, Nanos latency);
  void CountError(Errc code);
  void CountBytes(uint64_t bytes) { bytes_.fetch_add(bytes, std::memory_order_relaxed); }
  void CountRetry() { retries_.fetch_add(1, std::memory_order_relaxed); }

  BackendStats stats() const;

 private:
  struct Latency {
    std::array<std::atomic<uint64_t>, kLatencyBounds.size() + 1> buckets{};
    std::atomic<int64_t> sum{0};  // ns
  };

  const std::string backend_;
  std::array<Latency, kOperations.size()> latency_;
  std::array<std::atomic<uint64_t>, kErrcCount> errors_{};
  std::atomic<uint64_t> bytes_{0}, retries_{0};
};

// A decorator that counts what passes.
std::unique_ptr<Backend> MakeMetered(std::unique_ptr<Backend> inner, std::shared_ptr<BackendMeter> meter);

}  // namespace glintfs
