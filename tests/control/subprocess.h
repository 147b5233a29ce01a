// Subprocess: runs a command with its output in pipes, or with standard error on a pseudo-terminal.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

namespace glintfs::testing {

struct ProcessResult {
  int code = -1;  // exit code, or 128 + signal
  std::string out;
  std::string err;
};

class Subprocess {
 public:
  struct Options {
    std::map<std::string, std::string> environment;  // added to PATH and the sanitizers' own, all else is absent
    bool terminal = false;                           // standard error is a terminal
  };
  Subprocess(const std::vector<std::string>& command, const Options& options);
  ~Subprocess();  // kills it when it still runs

  void Signal(int number);
  // What has come on standard error so far.
  std::string ErrorSoFar();
  // Reads to the end and waits; kills it after 60 s.
  ProcessResult Wait();

 private:
  bool ReadSome(int timeout_ms);

  pid_t pid_ = -1;
  int out_ = -1;
  int err_ = -1;
  ProcessResult result_;
};

ProcessResult Execute(const std::vector<std::string>& command,
                      const std::map<std::string, std::string>& environment = {});

}  // namespace glintfs::testing
