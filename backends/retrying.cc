// A fetch and its retries:
//
//   Fetch [a, b) ──▶ inner.Fetch [a, b)         fails after k bytes
//                    inner.Fetch [a+k, b)       …
//                    kNotSupported at a+k, and a = 0: the source has no ranges and cannot resume;
//                    inner.Fetch [0, b), the first k bytes dropped (it is one version, so they are the same ones)
//
// While the sink blocks (back-pressure) the deadline stands still: that is not the source's fault.
#include "backends/retrying.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "backends/deadline.h"
#include "backends/meter.h"
#include "backends/retry_hint.h"
#include "fs/base/log.h"
#include "fs/base/size_text.h"

namespace glintfs {
namespace {

constexpr uint64_t kRealProgress = 64 << 10;

bool IsWorthRetrying(Errc code) { return code == Errc::kUnavailable || code == Errc::kTimedOut || code == Errc::kIo; }

double Random() {
  thread_local std::minstd_rand engine(std::random_device{}());
  return std::uniform_real_distribution<double>(0.0, 1.0)(engine);
}

// The policy and the timer, shared with readers, which may outlive the backend.
struct Shared {
  RetryPolicy policy;
  DeadlineTimer timer;
};

// The attempts of one call.
class Attempts {
 public:
  Attempts(const RetryPolicy& policy, DeadlineWatch& watch, std::stop_token outer, std::string what)
      : policy_(policy), watch_(watch), outer_(std::move(outer)), what_(std::move(what)) {
    TakeRetryHint();
  }

  void Restart() { failed_ = 0; }

  // After a failure: waits and returns nullopt to try again, or the error to end with.
  std::optional<Error> Again(Error error) {
    if (outer_.stop_requested()) return Error{Errc::kCancelled, what_ + ": given up"};
    if (watch_.expired()) return Expired(error);
    if (!IsWorthRetrying(error.code) || ++failed_ > policy_.retries) return error;
    const Nanos delay = RetryDelay(policy_, failed_, TakeRetryHint());
    if (delay >= watch_.left()) return error;  // the deadline would come first, and say less
    LogDebug("{}: {}; attempt {} of {} in {}", what_, error.message, failed_ + 1, policy_.retries + 1,
             FormatDuration(delay));
    last_ = std::move(error);
    if (policy_.meter) policy_.meter->CountRetry();
    const bool slept = policy_.sleep ? policy_.sleep(delay, watch_.token()) : SleepUnlessStopped(delay, watch_.token());
    if (slept) return std::nullopt;
    if (outer_.stop_requested()) return Error{Errc::kCancelled, what_ + ": given up"};
    return Expired(*last_);
  }

 private:
  Error Expired(const Error& error) const {
    const std::string& why = last_ && error.code == Errc::kCancelled ? last_->message : error.message;
    return Error{Errc::kTimedOut, fmt::format("{}: no answer in time: {}", what_, why)};
  }

  const RetryPolicy& policy_;
  DeadlineWatch& watch_;
  const std::stop_token outer_;
  const std::string what_;
  int failed_ = 0;
  std::optional<Error> last_;
};

// Drops the first `skip` bytes, counts the rest, keeps the deadline going.
class ResumingSink final : public DataSink {
 public:
  ResumingSink(DataSink& inner, DeadlineWatch& watch) : inner_(inner), watch_(watch) {}

  bool Write(std::span<const std::byte> data) override {
    const auto dropped = static_cast<size_t>(std::min<uint64_t>(skip_, data.size()));
    skip_ -= dropped;
    data = data.subspan(dropped);
    watch_.Pause();
    const bool more = data.empty() || inner_.Write(data);
    watch_.Progress();
    passed_ += data.size();
    enough_ = !more;
    return more;
  }

  void set_skip(uint64_t bytes) { skip_ = bytes; }
  uint64_t passed() const { return passed_; }
  bool enough() const { return enough_; }

 private:
  DataSink& inner_;
  DeadlineWatch& watch_;
  uint64_t skip_ = 0;
  uint64_t passed_ = 0;
  bool enough_ = false;
};

template <typename Call>
auto Ask(Shared& shared, const std::stop_token& stop, std::string what, Call call) -> decltype(call(stop)) {
  DeadlineWatch watch(shared.timer, shared.policy.ask_deadline, stop);
  Attempts attempts(shared.policy, watch, stop, std::move(what));
  for (;;) {
    auto result = call(watch.token());
    if (result) return result;
    if (auto error = attempts.Again(std::move(result).error())) return std::move(*error);
  }
}

class RetryingReader final : public ImageReader {
 public:
  RetryingReader(std::shared_ptr<Shared> shared, std::unique_ptr<ImageReader> inner, std::string what)
      : ImageReader(inner->size()), shared_(std::move(shared)), inner_(std::move(inner)), what_(std::move(what)) {}

  Result<std::vector<Extent>> Holes(std::stop_token stop) override {
    return Ask(*shared_, stop, what_, [this](std::stop_token token) { return inner_->Holes(token); });
  }

 private:
  Result<void> DoFetch(Extent extent, DataSink& sink, std::stop_token stop) override {
    DeadlineWatch watch(shared_->timer, shared_->policy.fetch_deadline, stop);
    Attempts attempts(shared_->policy, watch, stop, what_);
    ResumingSink resuming(sink, watch);
    bool from_start = false;
    uint64_t progress_at = 0;
    for (;;) {
      const uint64_t done = resuming.passed();
      resuming.set_skip(from_start ? done : 0);
      const Extent rest = from_start ? extent : Extent{extent.offset + done, extent.length - done};
      auto result = inner_->Fetch(rest, resuming, watch.token());
      if (result || resuming.enough()) return result;
      if (resuming.passed() == extent.length)  // all there; how the connection ended does not matter
        return IsWorthRetrying(result.error().code) ? Result<void>() : result;
      if (result.error().code == Errc::kNotSupported && extent.offset == 0 && done > 0 && !from_start) {
        from_start = true;
        continue;
      }
      if (resuming.passed() >= progress_at + kRealProgress) {
        progress_at = resuming.passed();
        attempts.Restart();
      }
      if (auto error = attempts.Again(std::move(result).error())) return std::move(*error);
    }
  }

  const std::shared_ptr<Shared> shared_;
  const std::unique_ptr<ImageReader> inner_;
  const std::string what_;
};

class Retrying final : public Backend {
 public:
  Retrying(std::unique_ptr<Backend> inner, RetryPolicy policy)
      : Backend(inner->source()), inner_(std::move(inner)), shared_(std::make_shared<Shared>()) {
    shared_->policy = std::move(policy);
  }

  int max_parallel_fetches() const override { return inner_->max_parallel_fetches(); }
  std::shared_ptr<const BackendMeter> meter() const override { return inner_->meter(); }

 private:
  Result<NameInfo> DoStat(std::string_view name, std::stop_token stop) override {
    return Ask(*shared_, stop, Describe(name), [&](std::stop_token token) { return inner_->Stat(name, token); });
  }
  Result<Listing> DoList(std::string_view directory, std::string_view cursor, std::stop_token stop) override {
    return Ask(*shared_, stop, Describe(directory),
               [&](std::stop_token token) { return inner_->List(directory, cursor, token); });
  }
  Result<std::optional<Checksum>> DoFindChecksum(const ImageInfo& image, std::stop_token stop) override {
    return Ask(*shared_, stop, Describe(image.id.name),
               [&](std::stop_token token) { return inner_->FindChecksum(image, token); });
  }
  Result<std::unique_ptr<ImageReader>> DoOpen(const ImageInfo& image, std::stop_token stop) override {
    auto opened = Ask(*shared_, stop, Describe(image.id.name),
                      [&](std::stop_token token) { return inner_->Open(image, token); });
    if (!opened) return std::move(opened).error();
    return std::unique_ptr<ImageReader>(
        std::make_unique<RetryingReader>(shared_, std::move(*opened), Describe(image.id.name)));
  }

  std::string Describe(std::string_view name) const { return fmt::format("{} '{}'", source(), name); }

  const std::unique_ptr<Backend> inner_;
  const std::shared_ptr<Shared> shared_;
};

}  // namespace

RetryPolicy PolicyFrom(const BackendOptions& options) {
  RetryPolicy policy;
  policy.retries = options.retries;
  policy.ask_deadline = options.ask_deadline;
  policy.fetch_deadline = options.fetch_deadline;
  return policy;
}

Nanos RetryDelay(const RetryPolicy& policy, int attempt, Nanos hint) {
  Nanos longest = policy.base;
  for (int i = 1; i < attempt && longest < policy.cap; ++i) longest *= 2;
  const double jitter = policy.random ? policy.random() : Random();
  const auto delay = std::chrono::duration_cast<Nanos>(std::min(longest, policy.cap) * jitter);
  return std::max(delay, hint);
}

std::unique_ptr<Backend> MakeRetrying(std::unique_ptr<Backend> inner, RetryPolicy policy) {
  return std::make_unique<Retrying>(std::move(inner), std::move(policy));
}

}  // namespace glintfs
