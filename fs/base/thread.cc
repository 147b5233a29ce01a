#include "fs/base/thread.h"

#include <pthread.h>
#include <signal.h>

namespace glintfs {

Thread::Thread(std::string name, std::function<void(std::stop_token)> body) {
  // Signals are handled by one thread that waits for them (Daemon); every other thread blocks them from its first moment.
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  thread_ = std::jthread([name = name.substr(0, 15), body = std::move(body)](std::stop_token stop) {
    pthread_setname_np(pthread_self(), name.c_str());
    body(stop);
  });
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

}  // namespace glintfs
