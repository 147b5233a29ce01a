#include "backends/meter.h"

#include <algorithm>

namespace glintfs {
namespace {

Nanos Now() { return Clock::System().Now(); }

// Measures one request of `meter`.
class Timed {
 public:
  Timed(BackendMeter& meter, Operation operation) : meter_(meter), operation_(operation), started_(Now()) {}
  ~Timed() {
    if (!counted_) meter_.Count(operation_, Now() - started_);
  }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

  void Answered() {
    if (!counted_) meter_.Count(operation_, Now() - started_);
    counted_ = true;
  }
  template <typename T>
  Result<T> Judge(Result<T> result) {
    // That there is no such name is an answer: of every look for a file of checksums, say. So is that it is of another kind.
    const bool about_names = operation_ == Operation::kStat || operation_ == Operation::kList;
    const bool answer = !result && about_names &&
                        (result.error().code == Errc::kNotFound || result.error().code == Errc::kNotDirectory ||
                         result.error().code == Errc::kIsDirectory);
    if (!result && !answer) meter_.CountError(result.error().code);
    return result;
  }

 private:
  BackendMeter& meter_;
  const Operation operation_;
  const Nanos started_;
  bool counted_ = false;
};

class MeteredSink final : public DataSink {
 public:
  MeteredSink(DataSink& inner, BackendMeter& meter, Timed& timed) : inner_(inner), meter_(meter), timed_(timed) {}
  bool Write(std::span<const std::byte> data) override {
    timed_.Answered();
    meter_.CountBytes(data.size());
    return inner_.Write(data);
  }

 private:
  DataSink& inner_;
  BackendMeter& meter_;
  Timed& timed_;
};

class MeteredReader final : public ImageReader {
 public:
  MeteredReader(std::unique_ptr<ImageReader> inner, std::shared_ptr<BackendMeter> meter)
      : ImageReader(inner->size()), inner_(std::move(inner)), meter_(std::move(meter)) {}

  Result<std::vector<Extent>> Holes(std::stop_token stop) override {
    Timed timed(*meter_, Operation::kHoles);
    return timed.Judge(inner_->Holes(stop));
  }

 private:
  Result<void> DoFetch(Extent extent, DataSink& sink, std::stop_token stop) override {
    Timed timed(*meter_, Operation::kFetch);
    MeteredSink metered(sink, *meter_, timed);
    return timed.Judge(inner_->Fetch(extent, metered, stop));
  }

  const std::unique_ptr<ImageReader> inner_;
  const std::shared_ptr<BackendMeter> meter_;
};

class Metered final : public Backend {
 public:
  Metered(std::unique_ptr<Backend> inner, std::shared_ptr<BackendMeter> meter)
      : Backend(inner->source()), inner_(std::move(inner)), meter_(std::move(meter)) {}

  int max_parallel_fetches() const override { return inner_->max_parallel_fetches(); }
  std::shared_ptr<const BackendMeter> meter() const override { return meter_; }

 private:
  Result<NameInfo> DoStat(std::string_view name, std::stop_token stop) override {
    Timed timed(*meter_, Operation::kStat);
    return timed.Judge(inner_->Stat(name, stop));
  }
  Result<Listing> DoList(std::string_view directory, std::string_view cursor, std::stop_token stop) override {
    Timed timed(*meter_, Operation::kList);
    return timed.Judge(inner_->List(directory, cursor, stop));
  }
  Result<std::unique_ptr<ImageReader>> DoOpen(const ImageInfo& image, std::stop_token stop) override {
    Timed timed(*meter_, Operation::kOpen);
    auto reader = timed.Judge(inner_->Open(image, stop));
    if (!reader) return reader;
    return std::unique_ptr<ImageReader>(std::make_unique<MeteredReader>(std::move(*reader), meter_));
  }
  Result<std::optional<Checksum>> DoFindChecksum(const ImageInfo& image, std::stop_token stop) override {
    Timed timed(*meter_, Operation::kChecksum);
    return timed.Judge(inner_->FindChecksum(image, stop));
  }

  const std::unique_ptr<Backend> inner_;
  const std::shared_ptr<BackendMeter> meter_;
};

}  // namespace

std::string_view OperationName(Operation operation) {
  switch (operation) {
    case Operation::kStat: return "stat";
    case Operation::kList: return "list";
    case Operation::kOpen: return "open";
    case Operation::kHoles: return "holes";
    case Operation::kChecksum: return "checksum";
    case Operation::kFetch: return "fetch";
  }
  return "unknown";
}

uint64_t LatencyCounts::count() const {
  uint64_t sum_of_buckets = 0;
  for (const uint64_t bucket : buckets) sum_of_buckets += bucket;
  return sum_of_buckets;
}

double LatencyCounts::Quantile(double share) const {
  const auto wanted = share * static_cast<double>(count());
  uint64_t below = 0;
  for (size_t i = 0; i < kLatencyBounds.size(); ++i) {
    below += buckets[i];
    if (below != 0 && static_cast<double>(below) >= wanted) return kLatencyBounds[i];
  }
  return count() == 0 ? 0 : kLatencyBounds.back();
}

uint64_t BackendStats::requests() const {
  uint64_t sum = 0;
  for (const LatencyCounts& counts : latency) sum += counts.count();
  return sum;
}

uint64_t BackendStats::error_count() const {
  uint64_t sum = 0;
  for (const uint64_t count : errors) sum += count;
  return sum;
}

void BackendMeter::Count(Operation operation, Nanos latency) {
  Latency& counts = latency_[static_cast<size_t>(operation)];
  const double seconds = std::chrono::duration<double>(latency).count();
  const auto bound = std::lower_bound(kLatencyBounds.begin(), kLatencyBounds.end(), seconds);
  counts.buckets[static_cast<size_t>(bound - kLatencyBounds.begin())].fetch_add(1, std::memory_order_relaxed);
  counts.sum.fetch_add(latency.count(), std::memory_order_relaxed);
}

void BackendMeter::CountError(Errc code) {
  if (code != Errc::kCancelled) errors_[static_cast<size_t>(code)].fetch_add(1, std::memory_order_relaxed);
}

BackendStats BackendMeter::stats() const {
  BackendStats stats;
  stats.backend = backend_;
  for (size_t i = 0; i < latency_.size(); ++i) {
    for (size_t j = 0; j < latency_[i].buckets.size(); ++j)
      stats.latency[i].buckets[j] = latency_[i].buckets[j].load(std::memory_order_relaxed);
    stats.latency[i].sum = Nanos(latency_[i].sum.load(std::memory_order_relaxed));
  }
  for (size_t i = 0; i < errors_.size(); ++i) stats.errors[i] = errors_[i].load(std::memory_order_relaxed);
  stats.bytes = bytes_.load(std::memory_order_relaxed);
  stats.retries = retries_.load(std::memory_order_relaxed);
  return stats;
}

std::unique_ptr<Backend> MakeMetered(std::unique_ptr<Backend> inner, std::shared_ptr<BackendMeter> meter) {
  return std::make_unique<Metered>(std::move(inner), std::move(meter));
}

}  // namespace glintfs
