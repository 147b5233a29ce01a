// The command line of glintctl: one definition that gives the parser, --help and the manual page.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace glintfs::ctl {

struct CtlOptions {
  std::string socket;  // empty: find it
  std::string url;     // of a daemon over TCP, instead of a socket
  std::string token_file, ca_file;
  bool json = false;
  bool quiet = false;

  std::string command;  // "status", "list", …
  std::vector<std::string> names;
  bool wait = false;
  std::optional<std::chrono::nanoseconds> timeout;
  std::optional<uint64_t> prune_to;
  bool dry_run = false;
  bool clear = false;
  bool all = false;
};

// The definitions; parsing with it fills `options`, which must outlive it.
std::unique_ptr<CLI::App> BuildCommandLine(CtlOptions& options);

// Fills `options`, or returns the code to exit with after having printed help, the version, the manual page or what is
// wrong.
std::optional<int> ParseCommandLine(int argc, char** argv, CtlOptions& options);

}  // namespace glintfs::ctl
