#include "tests/control/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <stdexcept>

namespace glintfs::testing {
namespace {

constexpr auto kPatience = std::chrono::seconds(60);

struct Channel {
  int ours = -1;
  int theirs = -1;
};

Channel Pipe() {
  std::array<int, 2> fds;
  if (::pipe2(fds.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  return {fds[0], fds[1]};
}

Channel Terminal() {
  const int ours = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  char name[64];
  if (ours < 0 || ::grantpt(ours) != 0 || ::unlockpt(ours) != 0 || ::ptsname_r(ours, name, sizeof name) != 0) {
    throw std::runtime_error("pseudo-terminal");
  }
  const int theirs = ::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
  const winsize size{24, 100, 0, 0};
  ::ioctl(theirs, TIOCSWINSZ, &size);
  return {ours, theirs};
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> Environment(const std::map<std::string, std::string>& added) {
  std::vector<std::string> all = {"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"};
  for (const char* name : {"ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"}) {
    if (const char* const value = std::getenv(name)) all.push_back(std::string(name) + "=" + value);
  }
  for (const auto& [name, value] : added) all.push_back(name + "=" + value);
  return all;
}

}  // namespace

Subprocess::Subprocess(const std::vector<std::string>& command, const Options& options) {
  const Channel out = Pipe();
  const Channel err = options.terminal ? Terminal() : Pipe();
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, out.theirs, 1);
  ::posix_spawn_file_actions_adddup2(&actions, err.theirs, 2);
  std::vector<std::string> arguments = command, environment = Environment(options.environment);
  const int failed = ::posix_spawn(&pid_, command[0].c_str(), &actions, nullptr, Pointers(arguments).data(),
                                   Pointers(environment).data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(out.theirs);
  ::close(err.theirs);
  out_ = out.ours;
  err_ = err.ours;
  if (failed != 0) throw std::runtime_error("cannot run " + command[0]);
}

Subprocess::~Subprocess() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  if (out_ >= 0) ::close(out_);
  if (err_ >= 0) ::close(err_);
}

void Subprocess::Signal(int number) { ::kill(pid_, number); }

// False when both outputs have ended.
bool Subprocess::ReadSome(int timeout_ms) {
  std::array<pollfd, 2> fds = {{{out_, POLLIN, 0}, {err_, POLLIN, 0}}};
  if (::poll(fds.data(), fds.size(), timeout_ms) <= 0) return true;
  char bytes[4096];
  for (size_t i = 0; i < fds.size(); ++i) {
    if (fds[i].revents == 0) continue;
    int& fd = i == 0 ? out_ : err_;
    const ssize_t got = ::read(fd, bytes, sizeof bytes);
    if (got > 0) {
      (i == 0 ? result_.out : result_.err).append(bytes, static_cast<size_t>(got));
    } else {  // a terminal ends with EIO
      ::close(fd);
      fd = -1;
    }
  }
  return out_ >= 0 || err_ >= 0;
}

std::string Subprocess::ErrorSoFar() {
  ReadSome(0);
  return result_.err;
}

ProcessResult Subprocess::Wait() {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (ReadSome(100)) {
    if (std::chrono::steady_clock::now() > end) ::kill(pid_, SIGKILL);
  }
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  result_.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result_;
}

ProcessResult Execute(const std::vector<std::string>& command, const std::map<std::string, std::string>& environment) {
  return Subprocess(command, {environment, false}).Wait();
}

}  // namespace glintfs::testing
