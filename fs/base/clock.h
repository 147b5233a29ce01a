// Clock: the one source of time, so that tests can move it. Thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace glintfs {

using Nanos = std::chrono::nanoseconds;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Nanos Now() const = 0;       // monotonic, since an arbitrary start: for intervals
  virtual Nanos WallNow() const = 0;   // since 1970-01-01 UTC: for what is stored and shown

  static Clock& System();
};

// A clock that stands still until moved.
class FakeClock final : public Clock {
 public:
  Nanos Now() const override { return Nanos(now_.load()); }
  Nanos WallNow() const override { return Nanos(now_.load()) + std::chrono::hours(24 * 365 * 55); }
  void Advance(Nanos by) { now_ += by.count(); }

 private:
  std::atomic<int64_t> now_{1'000'000'000};
};

}  // namespace glintfs
