#include "tests/control/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fstream>
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

Channel Terminal(unsigned short rows, unsigned short columns) {
  const int ours = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  char name[64];
  if (ours < 0 || ::grantpt(ours) != 0 || ::unlockpt(ours) != 0 || ::ptsname_r(ours, name, sizeof name) != 0) {
    throw std::runtime_error("pseudo-terminal");
  }
  const int theirs = ::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
  const winsize size{rows, columns, 0, 0};
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
  std::vector<std::string> all = {"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"};
  for (const char* name : {"ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"}) {
    if (const char* const value = std::getenv(name)) all.push_back(std::string(name) + "=" + value);
  }
  for (const auto& entry : added) {
    const std::string name = entry.first + "=";
    std::erase_if(all, [&](const std::string& variable) { return variable.starts_with(name); });
    all.push_back(name + entry.second);
  }
  return all;
}

}  // namespace

Subprocess::Subprocess(const std::vector<std::string>& command, const Options& options) {
  const bool terminal = options.terminal || options.all_terminal;
  const Channel out = Pipe();
  const Channel err = terminal ? Terminal(options.rows, options.columns) : Pipe();
  const Channel in = Pipe();
  if (!options.input.empty() && ::write(in.theirs, options.input.data(), options.input.size()) < 0) throw std::runtime_error("pipe");
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, options.all_terminal ? err.theirs : in.ours, 0);
  ::posix_spawn_file_actions_adddup2(&actions, options.all_terminal ? err.theirs : out.theirs, 1);
  ::posix_spawn_file_actions_adddup2(&actions, err.theirs, 2);
  std::vector<std::string> arguments = command, environment = Environment(options.environment);
  const int failed = ::posix_spawn(&pid_, command[0].c_str(), &actions, nullptr, Pointers(arguments).data(),
                                   Pointers(environment).data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(in.ours);
  ::close(in.theirs);
  ::close(out.theirs);
  if (options.all_terminal) {
    terminal_ = err.theirs;
  } else {
    ::close(err.theirs);
  }
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
  if (terminal_ >= 0) ::close(terminal_);
}

void Subprocess::Signal(int number) { ::kill(pid_, number); }

bool Subprocess::Catches(int number) const {
  std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("SigCgt:")) return ((std::stoull(line.substr(7), nullptr, 16) >> (number - 1)) & 1) != 0;
  return false;
}

void Subprocess::Type(const std::string& keys) {
  if (::write(err_, keys.data(), keys.size()) < 0) throw std::runtime_error("terminal");
}

void Subprocess::Resize(unsigned short rows, unsigned short columns) {
  const winsize size{rows, columns, 0, 0};
  ::ioctl(terminal_, TIOCSWINSZ, &size);
  ::kill(pid_, SIGWINCH);  // as the kernel does for the processes whose terminal it is
}

bool Subprocess::IsPlainTerminal() const {
  termios modes{};
  return ::tcgetattr(terminal_, &modes) == 0 && (modes.c_lflag & ICANON) != 0 && (modes.c_lflag & ECHO) != 0;
}

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
std::string Subprocess::OutputSoFar() {
  ReadSome(0);
  return result_.out;
}

ProcessResult Subprocess::Wait() {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  int status = 0;
  if (terminal_ >= 0) {  // we hold it open ourselves: it does not end with the program
    while (::waitpid(pid_, &status, WNOHANG) == 0) {
      ReadSome(20);
      if (std::chrono::steady_clock::now() > end) ::kill(pid_, SIGKILL);
    }
    for (size_t before = SIZE_MAX; before != result_.err.size();) {
      before = result_.err.size();
      ReadSome(0);
    }
    pid_ = -1;
    result_.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return result_;
  }
  while (ReadSome(100)) {
    if (std::chrono::steady_clock::now() > end) ::kill(pid_, SIGKILL);
  }
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  result_.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result_;
}

ProcessResult Execute(const std::vector<std::string>& command, const std::map<std::string, std::string>& environment,
                      const std::string& input) {
  Subprocess::Options options;
  options.environment = environment;
  options.input = input;
  return Subprocess(command, options).Wait();
}

}  // namespace glintfs::testing
