#include "fs/event_log.h"

#include <algorithm>

namespace glintfs {
namespace {
constexpr size_t kLookBack = 100;  // events, for the same error
}

bool EventLog::RepeatsLocked(const ServiceEvent& event) const {
  const size_t from = events_.size() - std::min(events_.size(), kLookBack);
  return std::any_of(events_.begin() + static_cast<ptrdiff_t>(from), events_.end(), [&](const ServiceEvent& e) {
    return e.kind == event.kind && e.name == event.name && e.text == event.text && event.time - e.time < kQuiet;
  });
}

void EventLog::Add(ServiceEvent::Kind kind, std::string name, std::string text, uint64_t bytes) {
  ServiceEvent event{.sequence = 0, .time = clock_.WallNow(), .kind = kind, .name = std::move(name), .text = std::move(text),
                     .bytes = bytes};
  MutexLock lock(mu_);
  if (kind == ServiceEvent::Kind::kError && RepeatsLocked(event)) return;
  event.sequence = ++last_;
  events_.push_back(std::move(event));
  if (events_.size() > kKept) events_.pop_front();
}

EventPage EventLog::After(uint64_t sequence, size_t most) {
  MutexLock lock(mu_);
  EventPage page{.events = {}, .last = last_, .lost = 0};
  if (sequence >= last_) return page;
  const uint64_t first = events_.front().sequence;
  const uint64_t from = std::max(sequence + 1, first);
  page.lost = from - sequence - 1;
  const uint64_t count = std::min<uint64_t>(last_ - from + 1, most);
  const auto begin = events_.begin() + static_cast<ptrdiff_t>(from - first);
  page.events.assign(begin, begin + static_cast<ptrdiff_t>(count));
  return page;
}

}  // namespace glintfs
