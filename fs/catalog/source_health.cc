#include "fs/catalog/source_health.h"

#include <algorithm>

#include <fmt/format.h>

namespace glintfs {

bool IsCannotAsk(Errc code) { return code == Errc::kUnavailable || code == Errc::kTimedOut; }

uint64_t SourceHealth::Begin() {
  const Nanos now = clock_.Now();
  MutexLock lock(mu_);
  running_.emplace(next_token_, now);
  return next_token_++;
}

void SourceHealth::End(uint64_t token, const Error* error) {
  const Nanos now = clock_.Now(), wall = clock_.WallNow();
  MutexLock lock(mu_);
  const auto it = running_.find(token);
  if (it == running_.end()) return;
  const Nanos begin = it->second;
  running_.erase(it);
  if (error != nullptr && error->code == Errc::kCancelled) return;
  if (error != nullptr && IsCannotAsk(error->code)) {
    if (!failed_) failed_since_wall_ = wall;
    failed_ = true;
    last_failure_ = now;
    error_ = error->ToString();
    return;
  }
  if (failed_) well_since_wall_ = wall;
  failed_ = false;
  last_answered_begin_ = std::max(last_answered_begin_, begin);
}

std::optional<Nanos> SourceHealth::HangingSince() const {
  // Tokens are in order of begin, so the first is the oldest; one that began before the last answered one does not
  // speak for the source.
  const Nanos now = clock_.Now();
  for (const auto& [token, begin] : running_) {
    if (now - begin <= patience_) return std::nullopt;
    if (begin >= last_answered_begin_) return begin;
  }
  return std::nullopt;
}

bool SourceHealth::Asking() {
  MutexLock lock(mu_);
  return !running_.empty();
}

bool SourceHealth::InTrouble() {
  MutexLock lock(mu_);
  return failed_ || HangingSince().has_value();
}

bool SourceHealth::FailFast() {
  const Nanos now = clock_.Now();
  MutexLock lock(mu_);
  return failed_ && now - last_failure_ < kFailFastFor;
}

Health SourceHealth::Get() {
  const Nanos now = clock_.Now(), wall = clock_.WallNow();
  MutexLock lock(mu_);
  if (failed_) return Health{.reachable = false, .since = failed_since_wall_, .error = error_};
  if (const auto hanging = HangingSince(); hanging && now - *hanging >= kReportAfter) {
    const double seconds = std::chrono::duration<double>(now - *hanging).count();
    return Health{.reachable = false,
                  .since = wall - (now - *hanging),
                  .error = fmt::format("timed out: no answer for {:.1f} s", seconds)};
  }
  return Health{.reachable = true, .since = well_since_wall_, .error = {}};
}

}  // namespace glintfs
