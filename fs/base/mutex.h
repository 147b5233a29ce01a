// Mutex, MutexLock and CondVar: std::mutex with clang's thread-safety annotations (libstdc++'s has none), plus a check of
// the rule that no thread holds two of them and none across I/O, a backend call or a reply: AssertNoLockHeld().
// The check costs a thread-local counter; it is compiled in unless NDEBUG is defined.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define GLINTFS_TSA(x) __attribute__((x))
#else
#define GLINTFS_TSA(x)
#endif

#define CAPABILITY(x) GLINTFS_TSA(capability(x))
#define SCOPED_CAPABILITY GLINTFS_TSA(scoped_lockable)
#define GUARDED_BY(x) GLINTFS_TSA(guarded_by(x))
#define PT_GUARDED_BY(x) GLINTFS_TSA(pt_guarded_by(x))
#define REQUIRES(...) GLINTFS_TSA(requires_capability(__VA_ARGS__))
#define ACQUIRE(...) GLINTFS_TSA(acquire_capability(__VA_ARGS__))
#define RELEASE(...) GLINTFS_TSA(release_capability(__VA_ARGS__))
#define EXCLUDES(...) GLINTFS_TSA(locks_excluded(__VA_ARGS__))
#define RETURN_CAPABILITY(x) GLINTFS_TSA(lock_returned(x))
#define NO_THREAD_SAFETY_ANALYSIS GLINTFS_TSA(no_thread_safety_analysis)

namespace glintfs {

#ifdef NDEBUG
inline void AssertNoLockHeld() {}
#else
// Aborts with a message when the calling thread holds a glintfs::Mutex. Called at every door to I/O, backends and replies.
void AssertNoLockHeld();
namespace internal {
void NoteLocked();    // aborts when the thread already holds one
void NoteUnlocked();
}  // namespace internal
#endif

class CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() ACQUIRE() {
#ifndef NDEBUG
    internal::NoteLocked();
#endif
    mu_.lock();
  }
  void Unlock() RELEASE() {
    mu_.unlock();
#ifndef NDEBUG
    internal::NoteUnlocked();
#endif
  }

 private:
  friend class CondVar;
  std::mutex mu_;
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mu) ACQUIRE(mu) : mu_(mu) { mu_.Lock(); }
  ~MutexLock() RELEASE() { mu_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mu_;
};

class CondVar {
 public:
  // REQUIRES: mu is held; it is held again on return. Spurious wake-ups happen: loop over the condition.
  void Wait(Mutex& mu) REQUIRES(mu) {
    std::unique_lock<std::mutex> lock(mu.mu_, std::adopt_lock);
    cv_.wait(lock);
    lock.release();
  }
  // Returns false when `timeout` passed.
  bool WaitFor(Mutex& mu, std::chrono::nanoseconds timeout) REQUIRES(mu) {
    std::unique_lock<std::mutex> lock(mu.mu_, std::adopt_lock);
    // system_clock: libstdc++'s steady-clock wait is pthread_cond_clockwait, which clang 14's TSan does not intercept.
    const bool woken = cv_.wait_until(lock, std::chrono::system_clock::now() + timeout) == std::cv_status::no_timeout;
    lock.release();
    return woken;
  }
  void NotifyOne() { cv_.notify_one(); }
  void NotifyAll() { cv_.notify_all(); }

 private:
  std::condition_variable cv_;
};

}  // namespace glintfs
