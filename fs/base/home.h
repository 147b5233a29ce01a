// The home directory of the user we run as.
#pragma once

#include <string>

namespace glintfs {

// $HOME, else what the user database says: a daemon that mount(8) or systemd starts has no $HOME. Empty when neither has an
// absolute path.
// Not thread-safe against changes of the environment.
std::string HomeDirectory();

}  // namespace glintfs
