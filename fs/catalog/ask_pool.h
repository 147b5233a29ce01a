// AskPool: the threads that ask the source questions, behind one bounded queue, first come, first served.
//
// They are the only threads of the catalogue that wait for the source; when it hangs, they hang, and nothing else does.
// Thread-safe.
#pragma once

#include <deque>
#include <functional>
#include <stop_token>
#include <vector>

#include "fs/base/mutex.h"
#include "fs/base/thread.h"

namespace glintfs {

class AskPool {
 public:
  using Job = std::function<void(std::stop_token)>;

  AskPool(int threads, size_t max_queued);
  ~AskPool();  // Stop

  // False when the queue is full or the pool has stopped; the job is then not run.
  bool Submit(Job job);
  // Stops the running jobs through their stop_token, drops the queued ones, joins.
  void Stop();

 private:
  void Run(std::stop_token stop);

  const size_t max_queued_;  // constant

  Mutex mu_;
  CondVar changed_;
  bool stopped_ GUARDED_BY(mu_) = false;
  std::deque<Job> queue_ GUARDED_BY(mu_);

  std::vector<Thread> threads_;  // last: they use all of the above
};

}  // namespace glintfs
