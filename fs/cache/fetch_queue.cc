// The rate limit is a debt, not a bucket: each chunk moves rate_free_at_ on by what it costs, and its flight sleeps until the
// debt it found is paid. One number, no burst after idling, and any number of flights share it fairly.
#include "fs/cache/fetch_queue.h"

#include <algorithm>
#include <utility>

#include "fs/cache/cached_image.h"

namespace glintfs {
namespace {

// How long a background flight steps aside for demand flights, per chunk. Bounded, so that a steady stream of demand reads
// slows a fill down but never stops it.
constexpr Nanos kYield = std::chrono::milliseconds(20);
constexpr Nanos kRateSlice = std::chrono::milliseconds(50);

bool IsBackground(const Flight& flight) { return flight.urgency.load() >= Urgency::kQueued; }

}  // namespace

FetchQueue::FetchQueue(int threads) : thread_count_(std::max(threads, 1)) {
  for (int i = 0; i < thread_count_; ++i)
    threads_.emplace_back("fetch-" + std::to_string(i), [this](std::stop_token) { Work(stop_.get_token()); });
}

FetchQueue::~FetchQueue() { Stop(); }

void FetchQueue::Stop() {
  stop_.request_stop();
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  work_.NotifyAll();
  pace_.NotifyAll();
  for (Thread& thread : threads_) thread.Join();
  std::array<std::deque<std::shared_ptr<Flight>>, kUrgencies> dropped;  // destroyed without the lock
  MutexLock lock(mu_);
  dropped.swap(waiting_);
}

int FetchQueue::LimitFor(Urgency urgency) const {
  switch (urgency) {
    case Urgency::kDemand: return thread_count_;
    case Urgency::kReadahead: return std::max(1, thread_count_ - std::max(1, thread_count_ / 8));
    case Urgency::kQueued:
    case Urgency::kBackground: return std::max(1, thread_count_ - std::max(1, thread_count_ / 4));
  }
  return 1;
}

void FetchQueue::Enqueue(std::shared_ptr<Flight> flight) {
  {
    MutexLock lock(mu_);
    CountDemandLocked(*flight);
    waiting_[static_cast<size_t>(flight->urgency.load())].push_back(std::move(flight));
  }
  work_.NotifyOne();
}

void FetchQueue::CountDemandLocked(Flight& flight) {
  if (flight.urgency.load() != Urgency::kDemand || std::exchange(flight.counted_demand, true)) return;
  demand_.fetch_add(1);
}

void FetchQueue::Requeue(const std::shared_ptr<Flight>& flight) {
  {
    MutexLock lock(mu_);
    for (auto& queue : waiting_) {
      auto it = std::find(queue.begin(), queue.end(), flight);
      if (it == queue.end()) continue;
      queue.erase(it);
      CountDemandLocked(*flight);
      waiting_[static_cast<size_t>(flight->urgency.load())].push_back(flight);
      break;
    }
  }
  pace_.NotifyAll();  // it may run already, and sleep in Pace
  work_.NotifyOne();
}

std::shared_ptr<Flight> FetchQueue::NextLocked() {
  for (int urgency = 0; urgency < kUrgencies; ++urgency) {
    auto& queue = waiting_[static_cast<size_t>(urgency)];
    if (queue.empty()) continue;
    if (running_ >= LimitFor(static_cast<Urgency>(urgency))) return nullptr;
    auto flight = std::move(queue.front());
    queue.pop_front();
    ++running_;
    flying_.push_back(flight);
    return flight;
  }
  return nullptr;
}

void FetchQueue::Work(std::stop_token stop) {
  for (;;) {
    std::shared_ptr<Flight> flight;
    {
      MutexLock lock(mu_);
      while (!stopping_ && !(flight = NextLocked())) work_.Wait(mu_);
      if (stopping_ && !flight) return;
    }
    flight->image->RunFlight(flight, stop);
    bool last_demand;
    {
      MutexLock lock(mu_);
      --running_;
      std::erase(flying_, flight);  // `flight` still holds it
      last_demand = flight->counted_demand && demand_.fetch_sub(1) == 1;
    }
    // This worker looks for the next flight itself: nobody else need wake for the place it leaves.
    if (last_demand) pace_.NotifyAll();
    flight.reset();  // may be the image's last reference
  }
}

Nanos FetchQueue::Pace(const Flight& flight, uint64_t bytes, std::stop_token stop) {
  if (!IsBackground(flight) || (demand_.load() == 0 && !rate_limited_.load())) return Nanos(0);
  Clock& clock = Clock::System();
  const Nanos begin = clock.Now();
  MutexLock lock(mu_);
  if (demand_.load() != 0 && !stopping_ && IsBackground(flight)) pace_.WaitFor(mu_, kYield);
  if (fill_rate_ != 0 && bytes != 0) {
    const Nanos due = std::max(rate_free_at_, clock.Now());
    rate_free_at_ = due + Nanos(static_cast<int64_t>(static_cast<double>(bytes) * 1e9 / static_cast<double>(fill_rate_)));
    while (IsBackground(flight) && !stopping_ && !stop.stop_requested() && fill_rate_ != 0) {
      const Nanos left = due - clock.Now();
      if (left <= Nanos(0)) break;
      pace_.WaitFor(mu_, std::min(left, kRateSlice));
    }
  }
  return clock.Now() - begin;
}

void FetchQueue::SetFillRate(uint64_t bytes_per_second) {
  rate_limited_ = bytes_per_second != 0;
  {
    MutexLock lock(mu_);
    fill_rate_ = bytes_per_second;
    rate_free_at_ = Nanos(0);
  }
  pace_.NotifyAll();
}

std::vector<std::shared_ptr<Flight>> FetchQueue::Flights() {
  MutexLock lock(mu_);
  std::vector<std::shared_ptr<Flight>> flights = flying_;
  for (const auto& queue : waiting_)
    for (const auto& flight : queue)
      if (flight->fill) flights.push_back(flight);
  return flights;
}

FetchQueue::Load FetchQueue::load() {
  MutexLock lock(mu_);
  Load load{.running = static_cast<uint64_t>(running_), .waiting = 0};
  for (const auto& queue : waiting_) load.waiting += queue.size();
  return load;
}

}  // namespace glintfs
