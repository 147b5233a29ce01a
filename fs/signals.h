// Signals: one thread takes all signals of the process and turns them into events for the main thread.
//
//   SIGTERM, SIGINT  the first posts kStop; the second calls `force`, which does not return
//   SIGHUP           posts kReload
#pragma once

#include <deque>
#include <functional>
#include <optional>

#include "fs/base/clock.h"
#include "fs/base/mutex.h"
#include "fs/base/thread.h"
#include "fs/base/unique_fd.h"

namespace glintfs {

class Events {
 public:
  enum class Kind { kStop, kUnmounted, kReload };

  void Post(Kind kind);  // from any thread
  Kind Wait();           // the oldest one; blocks
  std::optional<Kind> WaitFor(Nanos limit);

 private:
  Mutex mu_;
  CondVar posted_;
  std::deque<Kind> queue_ GUARDED_BY(mu_);
};

class Signals {
 public:
  // Blocks the signals in this thread: call it before any other thread is made. `events` outlives this object.
  Signals(Events& events, std::function<void()> force);

 private:
  void Run(std::stop_token stop);

  Events& events_;
  const std::function<void()> force_;
  UniqueFd signals_;  // signalfd
  Thread thread_;     // last: it uses the others
};

}  // namespace glintfs
