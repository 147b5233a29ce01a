// SourceHealth: does the source answer? Fed by every question asked of it, read by everything that decides whether to
// wait for the next one.
//
//   a question fails with "cannot ask" ─────────────┐
//   a question is older than `patience`, and none    ├─▶ in trouble ── any answer ──▶ well
//   that began after it was answered ───────────────┘
//
// An answer is an answer even when it is "no such name" or "access denied": the source is there.
// Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "fs/base/clock.h"
#include "fs/base/mutex.h"
#include "fs/base/result.h"

namespace glintfs {

struct Health {
  bool reachable = true;
  Nanos since{0};     // wall clock: when this began; 0: since the start
  std::string error;  // why it is not reachable
};

// True for the errors that mean that the source could not be asked, as opposed to what it answered.
bool IsCannotAsk(Errc code);

class SourceHealth {
 public:
  SourceHealth(Nanos patience, Clock& clock) : patience_(patience), clock_(clock) {}

  // A question begins; the token goes to End.
  uint64_t Begin();
  // It ended, with an answer (nullptr) or an error.
  void End(uint64_t token, const Error* error);

  bool Asking();  // a question is under way
  bool InTrouble();
  // In trouble, and a question failed so recently that asking a new one is not worth the wait.
  bool FailFast();
  Health Get();

 private:
  static constexpr Nanos kFailFastFor = std::chrono::seconds(2);
  // A question that hangs is trouble after `patience`, but news for people only after this.
  static constexpr Nanos kReportAfter = std::chrono::seconds(2);

  // When the oldest question that hangs began.
  std::optional<Nanos> HangingSince() const REQUIRES(mu_);

  // Constant after construction.
  const Nanos patience_;
  Clock& clock_;

  Mutex mu_;
  uint64_t next_token_ GUARDED_BY(mu_) = 1;
  std::map<uint64_t, Nanos> running_ GUARDED_BY(mu_);  // token → begin; in order of begin
  Nanos last_answered_begin_ GUARDED_BY(mu_){INT64_MIN};
  Nanos last_failure_ GUARDED_BY(mu_){0};
  bool failed_ GUARDED_BY(mu_) = false;
  std::string error_ GUARDED_BY(mu_);
  Nanos failed_since_wall_ GUARDED_BY(mu_){0};
  Nanos well_since_wall_ GUARDED_BY(mu_){0};
};

}  // namespace glintfs
