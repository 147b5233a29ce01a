// SpeedGuard: notices a transfer that hardly moves. Time the receiver spends on what it got (a rate limit, a full disk)
// does not count: a slow reader is not a slow source. Pure; times are of any one clock.
#pragma once

#include <cstdint>

#include "fs/base/clock.h"

namespace glintfs {

class SpeedGuard {
 public:
  // Too slow: fewer than bytes_per_second · window in any window that started where the last one ended. A window of 0
  // never is.
  SpeedGuard(uint64_t bytes_per_second, Nanos window, Nanos now)
      : needed_(static_cast<double>(bytes_per_second) * std::chrono::duration<double>(window).count()),
        window_(window),
        start_(now) {}

  void Restart(Nanos now) {
    start_ = now;
    bytes_ = 0;
  }
  void AddBytes(uint64_t bytes) { bytes_ += bytes; }
  void AddBusy(Nanos time) { start_ += time; }

  bool TooSlow(Nanos now) {
    if (window_.count() <= 0 || now - start_ < window_) return false;
    // At least one byte, so that a limit that rounds to nothing still sees a transfer that stands still.
    if (bytes_ == 0 || static_cast<double>(bytes_) < needed_) return true;
    Restart(now);
    return false;
  }
  // When to ask again.
  Nanos next_check() const { return start_ + window_; }

 private:
  const double needed_;
  const Nanos window_;
  Nanos start_;
  uint64_t bytes_ = 0;
};

}  // namespace glintfs
