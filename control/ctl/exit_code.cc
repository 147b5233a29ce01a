#include "control/ctl/exit_code.h"

#include <array>

namespace glintfs::ctl {
namespace {

constexpr std::array<ExitCodeText, 8> kExitCodes = {{
    {kExitOk, "done"},
    {kExitFailed, "the request failed: the daemon answered with an error"},
    {kExitUsage, "wrong usage, or several daemons run and none was chosen"},
    {kExitNoDaemon, "no daemon found, or no connection to it"},
    {kExitNotFound, "no such image, or nothing cached of it"},
    {kExitBusy, "the image is in use"},
    {kExitInterrupted, "timed out or interrupted while waiting; what was asked for goes on"},
    {kExitDenied, "permission denied"},
}};

}  // namespace

std::span<const ExitCodeText> ExitCodes() { return kExitCodes; }

ExitCode ExitCodeFor(int http_status) {
  if (http_status >= 200 && http_status < 300) return kExitOk;
  switch (http_status) {
    case 401:
    case 403: return kExitDenied;
    case 404: return kExitNotFound;
    case 409: return kExitBusy;
    default: return kExitFailed;
  }
}

ExitCode ExitCodeFor(const Error& error) {
  switch (error.code) {
    case Errc::kAccessDenied: return kExitDenied;
    case Errc::kTimedOut: return kExitInterrupted;
    case Errc::kInvalid: return kExitUsage;
    default: return kExitNoDaemon;
  }
}

}  // namespace glintfs::ctl
