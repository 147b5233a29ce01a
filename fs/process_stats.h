// What the kernel counts of this process. Thread-safe.
#pragma once

#include "control/service.h"

namespace glintfs {

// What cannot be read is 0.
ProcessStats ReadProcessStats();

}  // namespace glintfs
