#include "fs/base/result.h"

#include <cerrno>
#include <cstring>

namespace glintfs {

std::string_view ErrcName(Errc code) {
  switch (code) {
    case Errc::kNotFound: return "not found";
    case Errc::kUnavailable: return "unavailable";
    case Errc::kTimedOut: return "timed out";
    case Errc::kAccessDenied: return "access denied";
    case Errc::kStale: return "stale";
    case Errc::kNotSupported: return "not supported";
    case Errc::kInvalid: return "invalid";
    case Errc::kNoSpace: return "no space";
    case Errc::kIo: return "I/O error";
    case Errc::kCorrupt: return "corrupt";
    case Errc::kBusy: return "busy";
    case Errc::kCancelled: return "cancelled";
    case Errc::kIsDirectory: return "is a directory";
    case Errc::kNotDirectory: return "not a directory";
  }
  return "unknown";
}

std::string Error::ToString() const {
  std::string text(ErrcName(code));
  if (!message.empty()) text.append(": ").append(message);
  return text;
}

namespace {

Errc ErrcFromErrno(int err) {
  switch (err) {
    case ENOENT: return Errc::kNotFound;
    case ENOTDIR: return Errc::kNotDirectory;
    case EISDIR: return Errc::kIsDirectory;
    case EACCES:
    case EPERM: return Errc::kAccessDenied;
    case ENOSPC:
    case EDQUOT: return Errc::kNoSpace;
    case EBUSY: return Errc::kBusy;
    case EINVAL:
    case ENAMETOOLONG:
    case ELOOP: return Errc::kInvalid;
    case ESTALE: return Errc::kStale;
    case ETIMEDOUT: return Errc::kTimedOut;
    default: return Errc::kIo;
  }
}

}  // namespace

Error ErrnoError(int err, std::string_view what) {
  return Error{ErrcFromErrno(err), std::string(what) + ": " + std::strerror(err)};
}

}  // namespace glintfs
