// A handful of watches exist at a time (one per call in progress), so a plain list is looked through; a watch that
// moved is not re-sorted, the thread reads its time when it looks. Stop callbacks run outside the lock: they may do
// anything.
#include "backends/deadline.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

namespace glintfs {
namespace {
constexpr Nanos kIdle = std::chrono::hours(1);
constexpr Nanos kShortest = std::chrono::milliseconds(1);
}  // namespace

DeadlineTimer::~DeadlineTimer() {
  Thread thread;
  {
    MutexLock lock(mu_);
    stopping_ = true;
    thread = std::move(thread_);
    changed_.NotifyAll();
  }
  thread.Join();
}

// The thread is woken only when it would sleep too long: a wake-up per fetch is a context switch in a demand read's way.
void DeadlineTimer::Add(std::shared_ptr<Entry> entry) {
  const Nanos end = Clock::System().Now() + entry->limit;
  MutexLock lock(mu_);
  entries_.push_back(std::move(entry));
  if (!started_) {
    started_ = true;
    thread_ = Thread("deadline", [this](std::stop_token stop) { Run(stop); });
  }
  if (end < wakes_at_) changed_.NotifyAll();
}

void DeadlineTimer::Remove(const Entry* entry) {
  MutexLock lock(mu_);
  std::erase_if(entries_, [entry](const auto& other) { return other.get() == entry; });
}

std::vector<std::shared_ptr<DeadlineTimer::Entry>> DeadlineTimer::TakeDue(Nanos now, Nanos& next) {
  std::vector<std::shared_ptr<Entry>> due;
  next = now + kIdle;
  std::erase_if(entries_, [&](const std::shared_ptr<Entry>& entry) {
    const int64_t since = entry->since;
    const Nanos end = (since == kPaused ? now : Nanos(since)) + entry->limit;
    if (end <= now && since != kPaused) {
      due.push_back(entry);
      return true;
    }
    next = std::min(next, end);
    return false;
  });
  return due;
}

void DeadlineTimer::Run(std::stop_token) {
  for (;;) {
    std::vector<std::shared_ptr<Entry>> due;
    {
      MutexLock lock(mu_);
      if (stopping_) return;
      const Nanos now = Clock::System().Now();
      Nanos next{0};
      due = TakeDue(now, next);
      wakes_at_ = std::max(next, now + kShortest);
      if (due.empty()) changed_.WaitFor(mu_, wakes_at_ - now);
    }
    for (const auto& entry : due) {
      entry->expired = true;
      entry->source.request_stop();
    }
  }
}

DeadlineWatch::DeadlineWatch(DeadlineTimer& timer, Nanos limit, std::stop_token outer)
    : timer_(timer),
      entry_(std::make_shared<DeadlineTimer::Entry>(limit)),
      outer_(std::move(outer), RequestStop{entry_->source}) {
  Progress();
  timer_.Add(entry_);
}

DeadlineWatch::~DeadlineWatch() { timer_.Remove(entry_.get()); }

Nanos DeadlineWatch::left() const {
  const int64_t since = entry_->since;
  return since == DeadlineTimer::kPaused ? entry_->limit : Nanos(since) + entry_->limit - Clock::System().Now();
}

// A leaf std::mutex: a stop callback may run in a thread that holds anything.
bool SleepUnlessStopped(Nanos time, std::stop_token stop) {
  std::mutex mu;
  std::condition_variable_any changed;
  std::unique_lock lock(mu);
  // system_clock: see CondVar::WaitFor.
  changed.wait_until(lock, stop, std::chrono::system_clock::now() + time, [] { return false; });
  return !stop.stop_requested();
}

}  // namespace glintfs
