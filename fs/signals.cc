#include "fs/signals.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace glintfs {

void Events::Post(Kind kind) {
  MutexLock lock(mu_);
  queue_.push_back(kind);
  posted_.NotifyOne();
}

Events::Kind Events::Wait() {
  MutexLock lock(mu_);
  while (queue_.empty()) posted_.Wait(mu_);
  const Kind kind = queue_.front();
  queue_.pop_front();
  return kind;
}

std::optional<Events::Kind> Events::WaitFor(Nanos limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  MutexLock lock(mu_);
  while (queue_.empty()) {
    const auto left = end - std::chrono::steady_clock::now();
    if (left <= Nanos(0)) return std::nullopt;
    posted_.WaitFor(mu_, left);
  }
  const Kind kind = queue_.front();
  queue_.pop_front();
  return kind;
}

Signals::Signals(Events& events, std::function<void()> force) : events_(events), force_(std::move(force)) {
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  ::sigemptyset(&set);
  for (int signal : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&set, signal);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signals_ = UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  thread_ = Thread("glintfs-signal", [this](std::stop_token stop) { Run(stop); });
}

void Signals::Run(std::stop_token stop) {
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC));
  std::stop_callback on_stop(stop, [&] {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(wake.get(), &one, sizeof one);
  });
  bool stopping = false;
  while (!stop.stop_requested()) {
    pollfd fds[2] = {{signals_.get(), POLLIN, 0}, {wake.get(), POLLIN, 0}};
    ::poll(fds, 2, -1);
    signalfd_siginfo info;
    while (::read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
      if (info.ssi_signo == SIGHUP) {
        events_.Post(Events::Kind::kReload);
      } else if (!stopping) {
        stopping = true;
        events_.Post(Events::Kind::kStop);
      } else {
        force_();
      }
    }
  }
}

}  // namespace glintfs
