// What an errno of a *source* file system means. Differs from ErrnoError where a network mount fails: that is "cannot
// ask".
#pragma once

#include <cerrno>
#include <string_view>

#include "fs/base/result.h"

namespace glintfs {

inline Error SourceErrno(int err, std::string_view what) {
  Error error = ErrnoError(err, what);
  switch (err) {
    case EIO:
    case ESTALE:
    case ENOTCONN:
    case ECONNREFUSED:
    case ECONNRESET:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETDOWN:
    case ENETUNREACH:
    case ETIMEDOUT:
    case EREMOTEIO:
    case ENXIO:
    case ENODEV:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
      error.code = Errc::kUnavailable;
      break;
    case ENOTDIR:  // "a.img/x" where a.img is a file: there is no such name
    case ELOOP:
      error.code = Errc::kNotFound;
      break;
    default:
      break;
  }
  return error;
}

}  // namespace glintfs
