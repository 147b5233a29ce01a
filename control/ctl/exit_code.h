// Exit codes of glintctl, for scripts. Documented from this table in --help and the manual; never renumbered.
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

}  // namespace glintfs::ctl
