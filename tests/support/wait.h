// WaitFor: tests wait for conditions, not for seconds.
#pragma once

#include <chrono>
#include <thread>

namespace glintfs::testing {

// Polls `condition` until it holds; false after `limit`.
template <typename Condition>
bool WaitFor(Condition condition, std::chrono::milliseconds limit = std::chrono::seconds(30)) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace glintfs::testing
