// WorkQueue: a few named threads that run what is posted, in order. Thread-safe.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "fs/base/mutex.h"
#include "fs/base/thread.h"

namespace glintfs {

class WorkQueue {
 public:
  // Threads are called "<name>-0" and so on; `name` has at most 12 bytes.
  WorkQueue(const std::string& name, int threads);
  ~WorkQueue() { Stop(); }

  // Work must not throw. Dropped when the queue is stopping.
  void Post(std::function<void()> work);

  // Drops what has not begun, and all that is posted from now on.
  void Cancel();
  // Cancels, then waits for what has begun.
  void Stop();

 private:
  void Run();

  std::vector<Thread> threads_;  // changed by the constructor and Stop only

  Mutex mu_;
  CondVar wake_;
  bool stopping_ GUARDED_BY(mu_) = false;
  std::deque<std::function<void()>> work_ GUARDED_BY(mu_);
};

}  // namespace glintfs
