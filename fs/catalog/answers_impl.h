// The bodies of Answers<Value>; included by answers.h only.
//
// A question outlives those who asked it: they leave by Cancel or when their patience ends, the answer is kept all the
// same. Room is made when a name is added, by a hand that goes round the names and drops what is idle, first what is
// out of date: no sweep ever holds the lock for long.
#pragma once

namespace glintfs {

template <typename Value>
void Answers<Value>::Get(const std::string& name, RequestId id, Callback done) {
  std::optional<Value> known;
  std::optional<Result<Answer>> ready;
  {
    MutexLock lock(mu_);
    const Nanos now = clock_.Now();
    if (stopped_) {
      ready.emplace(*stopped_);
    } else if (const auto it = slots_.find(name); it != slots_.end() && it->second.value) {
      if (now < it->second.expires) ready.emplace(Answer{*it->second.value, it->second.expires - now});
      known = it->second.value;
    }
  }
  if (!ready && health_.InTrouble()) {
    if (auto value = hooks_.offline(name, known)) {
      ready.emplace(KeepOffline(name, std::move(*value)));
    } else if (health_.FailFast()) {
      ready.emplace(Error{Errc::kUnavailable, "not asked for: the source does not answer; what failed last there, whatever it was about: " + health_.Get().error});
    }
  }
  if (ready) {
    done(std::move(*ready));
  } else {
    Wait(name, id, std::move(done));
  }
}

template <typename Value>
void Answers<Value>::Wait(const std::string& name, RequestId id, Callback done) {
  bool ask = false;
  {
    MutexLock lock(mu_);
    if (!stopped_) {
      Slot& slot = Insert(name);
      ask = !std::exchange(slot.asking, true);
      slot.waiting.push_back(id);
      waiters_.emplace(id, Waiter{.name = name, .done = std::move(done), .since = clock_.Now(), .patient = true});
    }
  }
  if (done) {  // still ours: stopped
    done(Error{Errc::kCancelled, "stopping"});
    return;
  }
  hooks_.wake_timer();
  if (ask && !pool_.Submit([this, name](std::stop_token stop) { Ask(name, stop); })) {
    const Error error{Errc::kUnavailable, "too many questions wait for the source"};
    Settle(name, error, hooks_.offline(name, KnownValue(name)));
  }
}

template <typename Value>
void Answers<Value>::Ask(const std::string& name, std::stop_token stop) {
  const bool trouble = health_.InTrouble();
  std::optional<Value> before;
  {
    MutexLock lock(mu_);
    const auto it = slots_.find(name);
    if (it == slots_.end()) return;
    std::erase_if(it->second.waiting, [this](RequestId id) REQUIRES(mu_) { return !waiters_.contains(id); });
    if (trouble && it->second.waiting.empty()) {  // everyone has left, and the source has enough to do
      it->second.asking = false;
      return;
    }
    before = it->second.value;
  }
  const uint64_t token = health_.Begin();
  const Result<Value> answer = hooks_.ask(name, before, stop);
  health_.End(token, answer ? nullptr : &answer.error());
  if (!answer) hooks_.wake_timer();  // everyone may have left by Cancel, and the timer gone to sleep
  std::optional<Value> offline;
  if (!answer) offline = hooks_.offline(name, before);
  Settle(name, answer, offline);
}

template <typename Value>
void Answers<Value>::Settle(const std::string& name, const Result<Value>& answer, const std::optional<Value>& offline) {
  const Nanos ttl = answer ? hooks_.ttl(*answer) : limits_.offline_ttl;
  std::vector<Callback> callbacks;
  {
    MutexLock lock(mu_);
    const auto it = slots_.find(name);
    if (it == slots_.end()) return;
    Slot& slot = it->second;
    slot.asking = false;
    slot.invalidated = false;
    if (answer) slot.value = *answer;
    if (!answer && offline) slot.value = *offline;
    slot.expires = clock_.Now() + ttl;
    callbacks = TakeWaiting(slot);
  }
  AssertNoLockHeld();
  for (Callback& done : callbacks) {
    if (answer || offline) {
      done(Answer{answer ? *answer : *offline, ttl});
    } else {
      done(answer.error());
    }
  }
}

template <typename Value>
std::vector<typename Answers<Value>::Callback> Answers<Value>::TakeWaiting(Slot& slot) {
  std::vector<Callback> callbacks;
  for (const RequestId id : slot.waiting) {
    const auto it = waiters_.find(id);
    if (it == waiters_.end()) continue;
    callbacks.push_back(std::move(it->second.done));
    waiters_.erase(it);
  }
  slot.waiting.clear();
  return callbacks;
}

template <typename Value>
std::optional<Value> Answers<Value>::KnownValue(const std::string& name) {
  MutexLock lock(mu_);
  const auto it = slots_.find(name);
  return it == slots_.end() ? std::nullopt : it->second.value;
}

template <typename Value>
typename Answers<Value>::Answer Answers<Value>::KeepOffline(const std::string& name, Value value) {
  MutexLock lock(mu_);
  const Nanos now = clock_.Now();
  Slot& slot = Insert(name);
  if (slot.value && now < slot.expires) return Answer{*slot.value, slot.expires - now};  // the source was quicker
  slot.value = value;
  slot.expires = now + limits_.offline_ttl;
  slot.invalidated = false;
  return Answer{std::move(value), limits_.offline_ttl};
}

template <typename Value>
bool Answers<Value>::Cancel(RequestId id) {
  Callback done;
  {
    MutexLock lock(mu_);
    const auto it = waiters_.find(id);
    if (it == waiters_.end()) return false;
    done = std::move(it->second.done);
    waiters_.erase(it);
  }
  done(Error{Errc::kCancelled, "interrupted"});
  return true;
}

template <typename Value>
void Answers<Value>::Invalidate(const std::string& name) {
  MutexLock lock(mu_);
  const auto it = slots_.find(name);
  if (it == slots_.end()) return;
  it->second.expires = Nanos(0);
  it->second.invalidated = true;
}

template <typename Value>
bool Answers<Value>::Contradicts(const std::string& name, const std::function<bool(const Value&)>& agrees) {
  MutexLock lock(mu_);
  const auto it = slots_.find(name);
  if (it == slots_.end()) return false;
  return it->second.invalidated || (it->second.value && !agrees(*it->second.value));
}

template <typename Value>
void Answers<Value>::VisitChildren(const std::string& directory,
                                   const std::function<void(std::string, const Value&)>& visit) {
  const std::string prefix = directory.empty() ? "" : directory + "/";
  MutexLock lock(mu_);
  for (auto it = slots_.lower_bound(prefix); it != slots_.end() && it->first.starts_with(prefix);) {
    const size_t slash = it->first.find('/', prefix.size());
    if (slash == std::string::npos) {
      if (it->second.value && it->first.size() > prefix.size())
        visit(it->first.substr(prefix.size()), *it->second.value);
      ++it;
    } else {
      it = slots_.lower_bound(it->first.substr(0, slash) + char('/' + 1));  // past everything below that directory
    }
  }
}

template <typename Value>
bool Answers<Value>::Tick() {
  std::map<std::string, std::vector<RequestId>> impatient;
  std::vector<Callback> given_up;
  bool waiting = false;
  {
    MutexLock lock(mu_);
    const Nanos now = clock_.Now();
    for (auto it = waiters_.begin(); it != waiters_.end();) {
      Waiter& waiter = it->second;
      if (now - waiter.since >= limits_.give_up) {
        given_up.push_back(std::move(waiter.done));
        it = waiters_.erase(it);
        continue;
      }
      if (waiter.patient && now - waiter.since >= limits_.patience) {
        waiter.patient = false;
        impatient[waiter.name].push_back(it->first);
      }
      ++it;
    }
    waiting = !waiters_.empty();
  }
  for (Callback& done : given_up) done(Error{Errc::kTimedOut, "no answer from the source"});
  for (const auto& [name, ids] : impatient) AnswerImpatient(name, ids);
  return waiting;
}

template <typename Value>
void Answers<Value>::AnswerImpatient(const std::string& name, const std::vector<RequestId>& ids) {
  auto value = hooks_.offline(name, KnownValue(name));
  if (!value) return;  // they wait on
  const Answer answer = KeepOffline(name, std::move(*value));
  std::vector<Callback> callbacks;
  {
    MutexLock lock(mu_);
    for (const RequestId id : ids) {
      const auto it = waiters_.find(id);
      if (it == waiters_.end()) continue;  // the source was quicker, or it was cancelled
      callbacks.push_back(std::move(it->second.done));
      waiters_.erase(it);
    }
  }
  for (Callback& done : callbacks) done(answer);
}

template <typename Value>
void Answers<Value>::Stop(const Error& error) {
  std::vector<Callback> callbacks;
  {
    MutexLock lock(mu_);
    stopped_ = error;
    for (auto& [id, waiter] : waiters_) callbacks.push_back(std::move(waiter.done));
    waiters_.clear();
  }
  for (Callback& done : callbacks) done(error);
}

template <typename Value>
size_t Answers<Value>::size() {
  MutexLock lock(mu_);
  return slots_.size();
}

template <typename Value>
typename Answers<Value>::Slot& Answers<Value>::Insert(const std::string& name) {
  if (const auto it = slots_.find(name); it != slots_.end()) return it->second;
  if (slots_.size() >= limits_.max_names) MakeRoom();
  return slots_[name];
}

template <typename Value>
void Answers<Value>::MakeRoom() {
  constexpr int kSteps = 64;
  const Nanos now = clock_.Now();
  auto fallback = slots_.end();
  auto it = slots_.lower_bound(hand_);
  bool freed = false;
  for (int step = 0; step < kSteps && !slots_.empty(); ++step) {
    if (it == slots_.end()) it = slots_.begin();
    if (it->second.asking) {
      ++it;
    } else if (now >= it->second.expires) {
      if (fallback == it) fallback = slots_.end();
      it = slots_.erase(it);
      freed = true;
    } else {
      fallback = it++;
    }
  }
  hand_ = it == slots_.end() ? std::string() : it->first;
  if (!freed && fallback != slots_.end()) {
    if (fallback->first == hand_) hand_.clear();
    slots_.erase(fallback);
  }
}

}  // namespace glintfs
