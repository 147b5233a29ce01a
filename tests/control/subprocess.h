// Subprocess: runs a command with its output in pipes, or on a pseudo-terminal.
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
    bool all_terminal = false;                       // standard input and output too; what comes out is in `err`
    std::string input = "";                          // on standard input; not with all_terminal
    unsigned short rows = 24, columns = 100;         // of the terminal
  };
  Subprocess(const std::vector<std::string>& command, const Options& options);
  ~Subprocess();  // kills it when it still runs

  void Signal(int number);
  bool Catches(int number) const;  // it has a handler for the signal
  // On the terminal.
  void Type(const std::string& keys);
  void Resize(unsigned short rows, unsigned short columns);
  // Lines are edited and echoed, as a shell leaves it. REQUIRES: a terminal that has not ended
  bool IsPlainTerminal() const;
  // What has come on standard error, or output, so far.
  std::string ErrorSoFar();
  std::string OutputSoFar();
  // Reads to the end and waits; kills it after 60 s.
  ProcessResult Wait();

 private:
  bool ReadSome(int timeout_ms);

  pid_t pid_ = -1;
  int out_ = -1;
  int err_ = -1;
  int terminal_ = -1;  // its other side, kept open so that what is set there can be looked at
  ProcessResult result_;
};

ProcessResult Execute(const std::vector<std::string>& command,
                      const std::map<std::string, std::string>& environment = {}, const std::string& input = "");

}  // namespace glintfs::testing
