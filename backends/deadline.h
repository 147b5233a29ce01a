// Deadlines for calls that only know a stop_token: a watch asks the call to stop when nothing has moved for too long.
//
//   DeadlineWatch watch(timer, std::chrono::seconds(15), stop);
//   auto result = call(watch.token());           // ends when `stop` does, or 15 s after the last Progress()
//   if (!result && watch.expired()) …
//
// DeadlineTimer is thread-safe and has one thread, started by the first watch. A DeadlineWatch belongs to one thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <vector>

#include "fs/base/clock.h"
#include "fs/base/mutex.h"
#include "fs/base/thread.h"

namespace glintfs {

class DeadlineTimer {
 public:
  DeadlineTimer() = default;
  ~DeadlineTimer();
  DeadlineTimer(const DeadlineTimer&) = delete;
  DeadlineTimer& operator=(const DeadlineTimer&) = delete;

 private:
  friend class DeadlineWatch;

  struct Entry {
    explicit Entry(Nanos time_limit) : limit(time_limit) {}
    const Nanos limit;
    std::atomic<int64_t> since{0};      // Clock::Now in ns; kPaused: time does not count
    std::atomic<bool> expired{false};
    std::stop_source source;
  };
  static constexpr int64_t kPaused = INT64_MAX;

  void Add(std::shared_ptr<Entry> entry);
  void Remove(const Entry* entry);
  void Run(std::stop_token stop);
  // Moves what is due from `entries_` to the answer; `next` is when to look again.
  std::vector<std::shared_ptr<Entry>> TakeDue(Nanos now, Nanos& next) REQUIRES(mu_);

  Mutex mu_;
  CondVar changed_;
  bool stopping_ GUARDED_BY(mu_) = false;
  std::vector<std::shared_ptr<Entry>> entries_ GUARDED_BY(mu_);
  Nanos wakes_at_ GUARDED_BY(mu_){0};  // when the thread looks next, unless notified
  Thread thread_ GUARDED_BY(mu_);
  bool started_ GUARDED_BY(mu_) = false;
};

class DeadlineWatch {
 public:
  // The timer must outlive the watch.
  DeadlineWatch(DeadlineTimer& timer, Nanos limit, std::stop_token outer);
  ~DeadlineWatch();
  DeadlineWatch(const DeadlineWatch&) = delete;
  DeadlineWatch& operator=(const DeadlineWatch&) = delete;

  std::stop_token token() const { return entry_->source.get_token(); }
  bool expired() const { return entry_->expired; }
  Nanos left() const;  // until it expires, if nothing moves

  void Progress() { entry_->since = Clock::System().Now().count(); }
  void Pause() { entry_->since = DeadlineTimer::kPaused; }  // until Progress()

 private:
  struct RequestStop {
    std::stop_source source;
    void operator()() { source.request_stop(); }
  };

  DeadlineTimer& timer_;
  const std::shared_ptr<DeadlineTimer::Entry> entry_;
  std::stop_callback<RequestStop> outer_;
};

// Returns false at once when `stop` is or gets requested, true after `time`.
bool SleepUnlessStopped(Nanos time, std::stop_token stop);

}  // namespace glintfs
