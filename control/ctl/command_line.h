// The command line of glintctl: one definition that gives the parser, --help, the manual page and what the shell completes.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/ctl/terminal.h"

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
  ColorMode color = ColorMode::kAuto;

  std::string command;             // "status", "list", …
  std::vector<std::string> names;  // of images; of settings, with values for set
  bool all = false;

  // cache, verify
  std::vector<std::string> globs;
  std::string from_file;
  bool now = false;
  bool wait = false;
  bool background = false;
  std::optional<std::chrono::nanoseconds> timeout;
  // list
  std::vector<std::string> states;
  std::string sort;
  // prune, queue
  std::optional<uint64_t> prune_to;
  bool dry_run = false;
  bool clear = false;
  std::string queue_action;  // "clear" or empty
  // top
  std::optional<std::chrono::nanoseconds> interval;
  uint64_t count = 0;  // 0: until it is ended
  bool batch = false;
  // events
  bool follow = true;
  bool since_start = false;
  std::optional<size_t> tail;
  std::vector<std::string> types;
};

// The definitions; parsing with it fills `options`, which must outlive it.
std::unique_ptr<CLI::App> BuildCommandLine(CtlOptions& options);

// What the arguments of a command are, for completion.
enum class ArgumentKind { kNone, kImage, kSetting, kSettingValue };
ArgumentKind ArgumentKindOf(const std::string& command);

// The values that a long option takes ("color", "type", …); empty when it takes any.
std::vector<std::string> ValuesOf(const std::string& option);

// Whether `glintctl cache` waits: who looks on wants to see it, a script goes on.
bool ShallWait(const CtlOptions& options);

// Fills `options`, or returns the code to exit with after having printed help, the version, the manual page or what is
// wrong.
std::optional<int> ParseCommandLine(int argc, char** argv, CtlOptions& options);

}  // namespace glintfs::ctl
