#include "fs/catalog/ask_pool.h"

namespace glintfs {

AskPool::AskPool(int threads, size_t max_queued) : max_queued_(max_queued) {
  for (int i = 0; i < threads; ++i)
    threads_.emplace_back("ask-" + std::to_string(i), [this](std::stop_token stop) { Run(stop); });
}

AskPool::~AskPool() { Stop(); }

bool AskPool::Submit(Job job) {
  MutexLock lock(mu_);
  if (stopped_ || queue_.size() >= max_queued_) return false;
  queue_.push_back(std::move(job));
  changed_.NotifyOne();
  return true;
}

void AskPool::Stop() {
  std::deque<Job> dropped;  // destroyed without the lock
  {
    MutexLock lock(mu_);
    stopped_ = true;
    dropped.swap(queue_);
    changed_.NotifyAll();
  }
  for (Thread& thread : threads_) thread.RequestStop();
  for (Thread& thread : threads_) thread.Join();
}

void AskPool::Run(std::stop_token stop) {
  for (;;) {
    Job job;
    {
      MutexLock lock(mu_);
      while (!stopped_ && queue_.empty()) changed_.Wait(mu_);
      if (stopped_) return;
      job = std::move(queue_.front());
      queue_.pop_front();
    }
    job(stop);
  }
}

}  // namespace glintfs
