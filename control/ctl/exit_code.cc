#include "control/ctl/exit_code.h"

#include <array>

namespace glintfs::ctl {
namespace {

constexpr std::array<ExitCodeText, 8> kExitCodes = {{
    {kExitOk, "done"},
    {kExitFailed, "the request failed: the daemon answered with an error, an image was not cached or is bad, a check failed, the result could not be written"},
    {kExitUsage, "wrong usage, or several daemons run and none was chosen"},
    {kExitNoDaemon, "no daemon found, or no connection to it"},
    {kExitNotFound, "no such image, or nothing cached of it"},
    {kExitBusy, "the image is in use"},
    {kExitInterrupted, "timed out or interrupted while waiting; what was asked for goes on"},
    {kExitDenied, "permission denied"},
}};

constexpr Situation kSituations[] = {
    {"unknown image", 404, kExitNotFound, "the source has no such image, or nothing is cached of it", "names that are like it"},
    {"ambiguous name", 404, kExitNotFound, "only the last part of a name was given, and several images have it",
     "their whole names"},
    {"unknown path", 404, -1, "the API has no such path", ""},
    {"bad name", 400, kExitFailed, "a name that cannot be below a mount: empty parts, . or .., control characters, too long",
     "how a name looks"},
    {"directory", 400, kExitFailed, "a directory instead of an image", "how to cache all that is in it"},
    {"bad JSON", 400, -1, "a body that is not the JSON object that the request takes", ""},
    {"unknown parameter", 400, -1, "a parameter that the request does not take, or a value that it does not allow", ""},
    {"bad setting", 400, kExitFailed, "an unknown setting, a value that is not allowed, or one that only a new mount changes",
     "the nearest name"},
    {"wrong token", 401, kExitDenied, "over TCP: no token, or one that may not", "which token is meant"},
    {"permission denied", 403, kExitDenied, "the caller may not use this socket", "who may"},
    {"wrong verb", 405, -1, "the path exists, but does not take this verb; Allow lists those it takes", ""},
    {"in use", 409, kExitBusy, "the image is open or pinned", "who has it open, or how to unpin it"},
    {"local failure", 500, kExitFailed, "the local disk or the index failed", "glintctl doctor"},
    {"not supported", 501, kExitFailed, "the source cannot do this: it has no listing", "to name the images"},
    {"source refuses", 502, kExitFailed, "the source refuses the daemon's credentials", "glintctl doctor"},
    {"store down", 503, kExitFailed, "the source cannot be asked and nothing is known about the name", "glintctl status"},
    {"daemon stopping", 503, kExitFailed, "the daemon is stopping", "to try again"},
    {"daemon busy", 503, kExitFailed, "too many connections", "who holds them"},
    {"cache full", 507, kExitFailed, "no room in the cache: all in it is open, pinned or queued", "what makes room"},
    {"wrong usage", 0, kExitUsage, "an unknown command or option, a missing or wrong argument", "the nearest name, or --help"},
    {"several daemons", 0, kExitUsage, "more than one daemon runs and none was named", "their sockets"},
    {"no daemon", 0, kExitNoDaemon, "no live socket, or nobody listens at the one named", "how to start one"},
    {"daemon gone", 0, kExitNoDaemon, "the daemon ended while it was asked or waited for", "how to start it again"},
    {"not cached", 200, kExitFailed, "an image that was waited for left the queue without being cached", "why"},
    {"wrong checksum", 200, kExitFailed, "an image that was asked for does not match the checksum of the source",
     "what to compare"},
    {"source not listed", 200, kExitFailed, "--all or --match while the source cannot be listed; the names that are known were taken",
     "glintctl status"},
    {"bad image", 200, kExitFailed, "verify found what it could not repair", "why"},
    {"failed check", 200, kExitFailed, "doctor found something that keeps glintfs from working", "what to do about it"},
    {"lost result", 0, kExitFailed, "the result could not be written: a full disk", ""},
    {"timed out", 0, kExitInterrupted, "--timeout passed, or the daemon did not answer", "how to look later"},
    {"interrupted", 0, kExitInterrupted, "Ctrl-C or SIGTERM while waiting", "how to look later"},
};

}  // namespace

std::span<const ExitCodeText> ExitCodes() { return kExitCodes; }
std::span<const Situation> Situations() { return kSituations; }

ExitCode ExitCodeFor(int http_status) {
  if (http_status >= 200 && http_status < 300) return kExitOk;
  switch (http_status) {
    case 401: return kExitDenied;
    case 403: return kExitDenied;
    case 404: return kExitNotFound;
    case 409: return kExitBusy;
    default: return kExitFailed;
  }
}

ExitCode ExitCodeFor(const Error& error) {
  switch (error.code) {
    case Errc::kAccessDenied: return kExitDenied;
    case Errc::kTimedOut:
    case Errc::kCancelled: return kExitInterrupted;
    case Errc::kInvalid: return kExitUsage;
    default: return kExitNoDaemon;
  }
}

}  // namespace glintfs::ctl
