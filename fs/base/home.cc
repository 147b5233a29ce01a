#include "fs/base/home.h"

#include <pwd.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

namespace glintfs {

std::string HomeDirectory() {
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') return home;
  passwd entry{};
  passwd* user = nullptr;
  std::array<char, 16384> text;
  ::getpwuid_r(::getuid(), &entry, text.data(), text.size(), &user);
  return user != nullptr && user->pw_dir != nullptr && user->pw_dir[0] == '/' ? user->pw_dir : "";
}

}  // namespace glintfs
