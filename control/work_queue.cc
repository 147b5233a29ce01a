#include "control/work_queue.h"

#include <fmt/format.h>

namespace glintfs {

WorkQueue::WorkQueue(const std::string& name, int threads) {
  try {
    for (int i = 0; i < threads; ++i) {
      threads_.emplace_back(fmt::format("{}-{}", name, i), [this](std::stop_token) { Run(); });
    }
  } catch (...) {  // no more threads: end those there are
    Stop();
    throw;
  }
}

void WorkQueue::Post(std::function<void()> work) {
  MutexLock lock(mu_);
  if (stopping_) return;
  work_.push_back(std::move(work));
  wake_.NotifyOne();
}

void WorkQueue::Cancel() {
  std::deque<std::function<void()>> dropped;  // destroyed without the lock
  MutexLock lock(mu_);
  stopping_ = true;
  dropped.swap(work_);
  wake_.NotifyAll();
}

void WorkQueue::Stop() {
  Cancel();
  for (Thread& thread : threads_) thread.Join();
}

void WorkQueue::Run() {
  for (;;) {
    std::function<void()> work;
    {
      MutexLock lock(mu_);
      while (!stopping_ && work_.empty()) wake_.Wait(mu_);
      if (stopping_) return;
      work = std::move(work_.front());
      work_.pop_front();
    }
    work();
  }
}

}  // namespace glintfs
