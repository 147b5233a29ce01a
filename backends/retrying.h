// Retrying: a decorator that tries again what failed for want of an answer.
//
// Tried again: kUnavailable, kTimedOut, kIo; with exponential back-off and full jitter, a bounded number of times,
// under one deadline for all attempts of a call. A fetch goes on after the bytes it has already passed on, its deadline
// starts anew with each byte, and its count of attempts with each 64 KiB. Thread-safe.
#pragma once

#include <functional>
#include <memory>

#include "backends/backend.h"
#include "backends/registry.h"

namespace glintfs {

struct RetryPolicy {
  int retries = 4;  // attempts after the first
  Nanos base = std::chrono::milliseconds(100);
  Nanos cap = std::chrono::seconds(5);
  Nanos ask_deadline = std::chrono::seconds(15);
  Nanos fetch_deadline = std::chrono::seconds(60);

  std::shared_ptr<BackendMeter> meter;  // may be null

  // Steered by tests; empty: a real sleep (false when stopped) and a real random number in [0, 1).
  std::function<bool(Nanos, std::stop_token)> sleep;
  std::function<double()> random;
};

RetryPolicy PolicyFrom(const BackendOptions& options);

// Before attempt `attempt` (1 is the first retry): random · min(cap, base · 2^(attempt-1)), but at least `hint`.
Nanos RetryDelay(const RetryPolicy& policy, int attempt, Nanos hint);

std::unique_ptr<Backend> MakeRetrying(std::unique_ptr<Backend> inner, RetryPolicy policy);

}  // namespace glintfs
