#include "tests/support/process.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

void OpenAs(const std::string& path, int fd) {
  if (path.empty()) return;
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file < 0 || ::dup2(file, fd) < 0) ::_exit(126);
}

// Only async-signal-safe calls between fork and exec would be right in a threaded test; so everything that allocates is
// prepared before.
pid_t Spawn(const std::vector<std::string>& argv, const ProcessOptions& options) {
  std::vector<char*> args;
  for (const std::string& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
  args.push_back(nullptr);
  std::vector<char*> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view name = std::string_view(*entry).substr(0, std::string_view(*entry).find('=') + 1);
    bool replaced = false;
    for (const std::string& own : options.environment) replaced = replaced || own.starts_with(name);
    if (!replaced) environment.push_back(*entry);
  }
  for (const std::string& own : options.environment) environment.push_back(const_cast<char*>(own.c_str()));
  environment.push_back(nullptr);

  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("fork");
  if (child > 0) return child;
  if (options.user && (::setgroups(0, nullptr) != 0 || ::setgid(*options.user) != 0 || ::setuid(*options.user) != 0))
    ::_exit(126);
  ::prctl(PR_SET_PDEATHSIG, options.death_signal);
  if (::getppid() != parent) ::_exit(126);
  if (!options.directory.empty() && ::chdir(options.directory.c_str()) != 0) ::_exit(126);
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::dup2(null, STDIN_FILENO);
  OpenAs(options.stdout_path, STDOUT_FILENO);
  OpenAs(options.stderr_path, STDERR_FILENO);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execvpe(args[0], args.data(), environment.data());
  ::_exit(127);
}

std::string Slurp(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

CommandResult RunCommand(const std::vector<std::string>& argv, const ProcessOptions& options,
                         std::chrono::seconds limit) {
  TempDir dir;
  ProcessOptions own = options;
  if (own.stdout_path.empty()) own.stdout_path = dir / "out";
  if (own.stderr_path.empty()) own.stderr_path = dir / "err";
  // The files belong to the test even when the child runs as somebody else.
  for (const std::string& path : {own.stdout_path, own.stderr_path}) {
    std::ofstream(path, std::ios::app).flush();
    if (options.user && ::chown(path.c_str(), *options.user, *options.user) != 0)
      throw std::runtime_error("chown " + path);
  }
  if (options.user && ::chmod(dir.path().c_str(), 0755) != 0) throw std::runtime_error("chmod " + dir.path());
  CommandResult result;
  {
    Process process(argv, own);
    result.status = process.Wait(limit).value_or(-1);
  }
  result.out = Slurp(own.stdout_path);
  result.err = Slurp(own.stderr_path);
  return result;
}

Process::Process(const std::vector<std::string>& argv, const ProcessOptions& options) : pid_(Spawn(argv, options)) {}

Process::~Process() {
  if (!Running()) return;
  Signal(SIGKILL);
  Wait();
}

bool Process::Running() {
  if (status_) return false;
  int status = 0;
  const pid_t ended = ::waitpid(pid_, &status, WNOHANG);
  if (ended != pid_) return true;
  status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return false;
}

void Process::Signal(int signal) {
  if (!status_) ::kill(pid_, signal);
}

std::optional<int> Process::Wait(std::chrono::seconds limit) {
  WaitFor([&] { return !Running(); }, limit);
  return status_;
}

}  // namespace glintfs::testing
