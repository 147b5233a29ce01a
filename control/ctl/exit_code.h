// Exit codes of glintctl, for scripts, and the situations that end in them. Documented from these tables in --help, the manual
// and docs/control-api.md; codes are never renumbered.
#pragma once

#include <span>
#include <string_view>

#include "fs/base/result.h"

namespace glintfs::ctl {

enum ExitCode : int {
  kExitOk = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitNoDaemon = 3,
  kExitNotFound = 4,
  kExitBusy = 5,
  kExitInterrupted = 6,
  kExitDenied = 7,
};

struct ExitCodeText {
  ExitCode code;
  std::string_view meaning;
};
std::span<const ExitCodeText> ExitCodes();

// For an answer of the daemon, and for a request that got none.
ExitCode ExitCodeFor(int http_status);
ExitCode ExitCodeFor(const Error& error);

// What can be wrong, each with a test of the same name (tests/control/bad_input_test.cc).
struct Situation {
  std::string_view name;       // "unknown image"
  int status;                  // of the daemon's answer; 0: it is not asked, or does not answer
  int code;                    // of glintctl; -1: glintctl never gets there
  std::string_view when;       // for the manual
  std::string_view next_step;  // that glintctl adds to the message; empty where it depends, or the message has it
};
std::span<const Situation> Situations();

}  // namespace glintfs::ctl
