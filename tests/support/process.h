// Child processes of tests: run to the end, or started and watched. A child gets a signal when its test dies.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace glintfs::testing {

struct ProcessOptions {
  std::vector<std::string> environment{};  // "NAME=value", added to the test's own
  std::string stdout_path{};  // a file it is appended to; empty: captured (RunCommand) or inherited (Process)
  std::string stderr_path{};
  std::string directory{};      // working directory, empty: the test's
  std::optional<uid_t> user{};  // run as this user and group id, without further groups
  int death_signal = SIGTERM;   // what it gets when the test dies; SIGKILL ends a frozen one, too
};

struct CommandResult {
  int status = -1;  // exit code, 128 + signal, or -1 when it was killed because it took longer than the limit
  std::string out;  // standard output
  std::string err;  // standard error

  bool ok() const { return status == 0; }
};

// Runs `argv` (argv[0] is looked up in PATH) and waits for it.
CommandResult RunCommand(const std::vector<std::string>& argv, const ProcessOptions& options = {},
                         std::chrono::seconds limit = std::chrono::seconds(120));

// A running child; the destructor kills it (SIGKILL) and waits.
class Process {
 public:
  explicit Process(const std::vector<std::string>& argv, const ProcessOptions& options = {});
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  bool Running();  // false once it has ended
  void Signal(int signal);
  // The exit code (128 + signal), or nullopt when it still runs after `limit`.
  std::optional<int> Wait(std::chrono::seconds limit = std::chrono::seconds(60));

 private:
  pid_t pid_ = -1;
  std::optional<int> status_;
};

}  // namespace glintfs::testing
