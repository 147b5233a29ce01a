// What can be known to be wrong before a mount is tried, so that each case has its own clear line.
#pragma once

#include <string>

#include "fs/base/result.h"

namespace glintfs {

// Exists, is a directory, not a dead mount; empty unless `nonempty`.
Result<void> CheckMountpoint(const std::string& mountpoint, bool nonempty);
// /dev/fuse can be opened; for users other than root: fusermount3 is there, and allow_other is allowed.
Result<void> CheckFuse(bool allow_other);

}  // namespace glintfs
