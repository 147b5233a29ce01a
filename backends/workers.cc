#include "backends/workers.h"

#include <pthread.h>
#include <signal.h>

#include <thread>

namespace glintfs {
namespace {

constexpr Nanos kIdle = std::chrono::seconds(10);  // then a thread ends

}  // namespace

uint64_t Workers::Add(const std::shared_ptr<State>& state, std::function<void()> task) {
  uint64_t id = 0;
  bool start = false;
  {
    const MutexLock lock(state->mu);
    id = state->next_id++;
    state->tasks.push_back({id, std::move(task)});
    start = static_cast<int>(state->tasks.size()) > state->idle && state->threads < kMaxThreads;
    if (start) ++state->threads;
  }
  state->changed.NotifyOne();
  if (!start) return id;
  // Signals are for one thread of the process (fs/base/thread.cc).
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  std::thread([state] { Run(state); }).detach();
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  return id;
}

void Workers::Run(const std::shared_ptr<State>& state) {
  pthread_setname_np(pthread_self(), "backend-call");
  for (;;) {
    std::list<Task> mine;
    {
      const MutexLock lock(state->mu);
      ++state->idle;
      bool waited = true;
      while (state->tasks.empty() && !state->closing && waited) waited = state->changed.WaitFor(state->mu, kIdle);
      --state->idle;
      if (state->tasks.empty()) {
        --state->threads;
        state->ended.NotifyAll();
        return;
      }
      mine.splice(mine.end(), state->tasks, state->tasks.begin());
    }
    mine.front().run();
    // `mine` ends here, outside the lock: it may hold the last reference to something large, whose deleter posts again.
  }
}

void Workers::Drop(uint64_t id) const {
  std::list<Task> dropped;
  {
    const MutexLock lock(state_->mu);
    for (auto task = state_->tasks.begin(); task != state_->tasks.end(); ++task)
      if (task->id == id) {
        dropped.splice(dropped.end(), state_->tasks, task);
        break;
      }
  }
}

void Workers::Close(Nanos patience) {
  const Nanos end = Clock::System().Now() + patience;
  const MutexLock lock(state_->mu);
  state_->closing = true;
  state_->changed.NotifyAll();
  while (state_->threads > 0) {
    const Nanos left = end - Clock::System().Now();
    if (left <= Nanos(0) || !state_->ended.WaitFor(state_->mu, left)) break;
  }
}

}  // namespace glintfs
