// EventLog: the last 10,000 things that happened, numbered from 1 in the order they were told. Thread-safe.
#pragma once

#include <deque>

#include "control/operations.h"
#include "fs/base/clock.h"
#include "fs/base/mutex.h"

namespace glintfs {

class EventLog {
 public:
  static constexpr size_t kKept = 10'000;
  // An error that repeats the same of the same image is not told again for this long: a source that is down fails every read.
  static constexpr Nanos kQuiet = std::chrono::seconds(10);

  explicit EventLog(Clock& clock) : clock_(clock) {}

  void Add(ServiceEvent::Kind kind, std::string name, std::string text = "", uint64_t bytes = 0);
  // At most `most` of those after `sequence`. Events that were asked for and are not kept any more are counted as lost.
  EventPage After(uint64_t sequence, size_t most);

 private:
  bool RepeatsLocked(const ServiceEvent& event) const REQUIRES(mu_);

  Clock& clock_;
  Mutex mu_;
  std::deque<ServiceEvent> events_ GUARDED_BY(mu_);  // without gaps
  uint64_t last_ GUARDED_BY(mu_) = 0;
};

}  // namespace glintfs
