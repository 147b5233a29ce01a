// Answers<Value>: what the source last said about each name, and the questions under way. The catalogue has two: one
// for names, one for listings.
//
//            fresh ─────────────────────────▶ answered at once
//   Get ──── old, source well ──▶ ask ──┬───▶ answered by the source
//            unknown                     └──▶ no answer within `patience`: from what is known; the asking goes on
//            source in trouble ─────────────▶ from what is known, at once; unknown: ask, or fail fast
//
// One question per name at a time: everyone who wants to know waits for the same answer. "Cannot ask" never replaces
// what is known; such an answer is valid for `offline_ttl` only.
//
// Thread-safe. Hooks and callbacks are called without a lock.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "fs/base/clock.h"
#include "fs/base/mutex.h"
#include "fs/base/result.h"
#include "fs/catalog/ask_pool.h"
#include "fs/catalog/source_health.h"

namespace glintfs {

using RequestId = uint64_t;

template <typename Value>
class Answers {
 public:
  struct Answer {
    Value value;
    Nanos valid_for{0};
  };
  using Callback = std::function<void(Result<Answer>)>;

  struct Hooks {
    // Asks the source, on an asking thread. `before` is what was known. An error means "cannot tell".
    std::function<Result<Value>(const std::string& name, const std::optional<Value>& before, std::stop_token)> ask;
    // The best answer without the source, given what was last known; nullopt: nothing is known.
    std::function<std::optional<Value>(const std::string& name, const std::optional<Value>& known)> offline;
    std::function<Nanos(const Value&)> ttl;
    // Tick is to be called every now and then from now on, until nobody waits, no question is under way and the source
    // is well.
    std::function<void()> wake_timer;
  };
  struct Limits {
    Nanos patience, offline_ttl, give_up;
    size_t max_names;
  };

  Answers(Limits limits, Hooks hooks, AskPool& pool, SourceHealth& health, Clock& clock)
      : limits_(limits), hooks_(std::move(hooks)), pool_(pool), health_(health), clock_(clock) {}

  // Calls `done` exactly once: before it returns when the answer is known, else from another thread.
  // `id` is the caller's name for this request, unique among those under way.
  void Get(const std::string& name, RequestId id, Callback done);
  // Answers a waiting request with kCancelled. False when it does not wait (any more).
  bool Cancel(RequestId id);
  // The next Get asks again.
  void Invalidate(const std::string& name);
  // True when the name was invalidated since the last answer, or what is known about it does not satisfy `agrees`.
  // False when nothing is known. `agrees` runs under the lock: it must be quick and call nothing of this class.
  bool Contradicts(const std::string& name, const std::function<bool(const Value&)>& agrees);
  // Calls `visit` for what is known directly below `directory` ("" is the root), with the last component.
  // Runs under the lock: `visit` must be quick and call nothing of this class.
  void VisitChildren(const std::string& directory, const std::function<void(std::string, const Value&)>& visit);
  // Answers those whose patience has ended. False when nobody waits.
  bool Tick();
  // Answers everyone who waits with `error`, and every later Get.
  void Stop(const Error& error);
  size_t size();

 private:
  struct Slot {
    std::optional<Value> value;
    Nanos expires{0};
    bool invalidated = false;
    bool asking = false;
    std::vector<RequestId> waiting;  // some may have left by Cancel
  };
  struct Waiter {
    std::string name;
    Callback done;
    Nanos since{0};
    bool patient = true;  // false: nothing is known about the name, so it waits for the source
  };
  using Slots = std::map<std::string, Slot>;

  // Registers the request and asks, unless that is under way.
  void Wait(const std::string& name, RequestId id, Callback done);
  void Ask(const std::string& name, std::stop_token stop);
  void Settle(const std::string& name, const Result<Value>& answer, const std::optional<Value>& offline);
  std::vector<Callback> TakeWaiting(Slot& slot) REQUIRES(mu_);
  void AnswerImpatient(const std::string& name, const std::vector<RequestId>& ids);
  std::optional<Value> KnownValue(const std::string& name);
  // The value under `name` after an answer without the source, and its time to live.
  Answer KeepOffline(const std::string& name, Value value);
  Slot& Insert(const std::string& name) REQUIRES(mu_);
  void MakeRoom() REQUIRES(mu_);

  // Constant after construction.
  const Limits limits_;
  const Hooks hooks_;
  // Synchronise themselves.
  AskPool& pool_;
  SourceHealth& health_;
  Clock& clock_;

  Mutex mu_;
  std::optional<Error> stopped_ GUARDED_BY(mu_);
  Slots slots_ GUARDED_BY(mu_);
  std::unordered_map<RequestId, Waiter> waiters_ GUARDED_BY(mu_);
  std::string hand_ GUARDED_BY(mu_);  // where the next sweep for room begins
};

}  // namespace glintfs

#include "fs/catalog/answers_impl.h"
