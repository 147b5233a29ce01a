// FetchQueue: the worker threads that run flights, most urgent first, and the pace they keep.
//
//   demand ────▶ any worker
//   readahead ─▶ all but 1/8 of them          so that a demand read always finds a worker
//   queued, background ─▶ all but 1/4
//
// Pace: queued and background flights keep to fill_rate together, and step aside while a demand flight waits or runs. A flight
// whose urgency was raised stops doing either at once.
//
// Thread-safe. The destructor stops the running flights and joins; flights that never ran are dropped: their images must have
// been aborted before.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <memory>
#include <stop_token>
#include <vector>

#include "fs/base/clock.h"
#include "fs/base/mutex.h"
#include "fs/base/thread.h"
#include "fs/cache/flight.h"

namespace glintfs {

class FetchQueue {
 public:
  explicit FetchQueue(int threads);
  ~FetchQueue();

  void Enqueue(std::shared_ptr<Flight> flight);
  void Requeue(const std::shared_ptr<Flight>& flight);  // its urgency was raised
  // Called by a flight for each piece it received, with 0 bytes, and for each chunk. Returns how long it slept.
  Nanos Pace(const Flight& flight, uint64_t bytes, std::stop_token stop);

  void SetFillRate(uint64_t bytes_per_second);  // 0: unlimited
  void Stop();

  struct Load {
    uint64_t running = 0, waiting = 0;
  };
  Load load();
  // Those that run, and of the fills also those that wait.
  std::vector<std::shared_ptr<Flight>> Flights();

 private:
  void Work(std::stop_token stop);
  std::shared_ptr<Flight> NextLocked() REQUIRES(mu_);
  int LimitFor(Urgency urgency) const;
  void CountDemandLocked(Flight& flight) REQUIRES(mu_);

  const int thread_count_;
  std::stop_source stop_;
  std::atomic<int> demand_{0};          // demand flights waiting or running
  std::atomic<bool> rate_limited_{false};

  Mutex mu_;
  CondVar work_;
  CondVar pace_;
  std::array<std::deque<std::shared_ptr<Flight>>, kUrgencies> waiting_ GUARDED_BY(mu_);
  int running_ GUARDED_BY(mu_) = 0;
  std::vector<std::shared_ptr<Flight>> flying_ GUARDED_BY(mu_);  // those that run
  uint64_t fill_rate_ GUARDED_BY(mu_) = 0;
  Nanos rate_free_at_ GUARDED_BY(mu_){0};  // when the bytes granted so far are paid for
  bool stopping_ GUARDED_BY(mu_) = false;
  std::vector<Thread> threads_;
};

}  // namespace glintfs
