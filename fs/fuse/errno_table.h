// Errc → errno, for replies to the kernel. Without `default:`, so that a new Errc does not compile until it stands
// here.
#pragma once

#include <cerrno>

#include "fs/base/result.h"

namespace glintfs {

inline int ToErrno(Errc code) {
  switch (code) {
    case Errc::kNotFound: return ENOENT;
    case Errc::kUnavailable: return EHOSTDOWN;
    case Errc::kTimedOut: return ETIMEDOUT;
    case Errc::kAccessDenied: return EACCES;
    case Errc::kStale: return ESTALE;  // the kernel looks the path up again by itself
    case Errc::kNotSupported: return EOPNOTSUPP;
    case Errc::kInvalid: return EINVAL;
    case Errc::kNoSpace: return ENOSPC;
    case Errc::kIo: return EIO;
    case Errc::kCorrupt: return EIO;
    case Errc::kBusy: return EBUSY;
    case Errc::kCancelled: return EINTR;
    case Errc::kIsDirectory: return EISDIR;
    case Errc::kNotDirectory: return ENOTDIR;
  }
  return EIO;  // a value outside the enumeration
}

}  // namespace glintfs
