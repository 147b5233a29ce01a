// Workers: threads for calls that block and cannot be cancelled: of librados and librbd, and of the kernel on a network mount. A caller
// that is told to stop leaves the call to its worker, until the library's deadline or the kernel ends it; so many such calls block no
// more than kMaxThreads threads, and what waits for one is dropped when its caller leaves.
//
// Thread-safe. Threads are detached: they hold what they work on by shared pointers and end by themselves when idle.
#pragma once

#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string_view>

#include "fs/base/clock.h"
#include "fs/base/mutex.h"
#include "fs/base/result.h"

namespace glintfs {

class Workers {
 public:
  static constexpr int kMaxThreads = 16;

  Workers() : state_(std::make_shared<State>()) {}

  // `task` runs some time later, also after Close and after the end of this object. Never blocks.
  void Post(std::function<void()> task) const { Add(state_, std::move(task)); }
  // The same for those that may outlive this object (deleters).
  std::function<void(std::function<void()>)> Poster() const {
    return [state = state_](std::function<void()> task) { Add(state, std::move(task)); };
  }

  // Runs `call` in a worker and waits for its result; kCancelled as soon as `stop` is requested. `call` must own all it uses, and
  // should look at its token now and then when it takes long.
  template <typename T>
  Result<T> Call(std::string_view what, std::function<Result<T>(std::stop_token)> call, std::stop_token stop) const {
    struct Answer {
      std::mutex mu;  // a leaf, as in SleepUnlessStopped
      std::condition_variable_any changed;
      std::optional<Result<T>> result;
    };
    auto answer = std::make_shared<Answer>();
    const uint64_t id = Add(state_, [answer, call = std::move(call), stop] {
      auto result = call(stop);
      const std::lock_guard lock(answer->mu);
      answer->result = std::move(result);
      answer->changed.notify_all();
    });
    {
      std::unique_lock lock(answer->mu);
      if (answer->changed.wait(lock, stop, [&] { return answer->result.has_value(); })) return std::move(*answer->result);
    }
    Drop(id);
    return Error{Errc::kCancelled, std::string(what) + ": given up"};
  }

  // Waits until all is done and the threads have ended, but not longer than `patience`.
  void Close(Nanos patience);

 private:
  struct Task {
    uint64_t id;
    std::function<void()> run;
  };
  struct State {
    Mutex mu;
    CondVar changed;  // a task, or closing
    CondVar ended;    // a thread
    std::list<Task> tasks GUARDED_BY(mu);
    uint64_t next_id GUARDED_BY(mu) = 1;
    int threads GUARDED_BY(mu) = 0;
    int idle GUARDED_BY(mu) = 0;
    bool closing GUARDED_BY(mu) = false;
  };

  static uint64_t Add(const std::shared_ptr<State>& state, std::function<void()> task);
  static void Run(const std::shared_ptr<State>& state);
  void Drop(uint64_t id) const;

  const std::shared_ptr<State> state_;
};

}  // namespace glintfs
