#include "fs/base/mount_table.h"

#include <fstream>
#include <sstream>

namespace glintfs {
namespace {

// mountinfo writes space, tab, newline and backslash as \040 and so on.
std::string Unescape(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out += static_cast<char>(std::stoi(text.substr(i + 1, 3), nullptr, 8));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

std::vector<MountEntry> ReadMountTable() {
  // 36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw
  std::ifstream file("/proc/self/mountinfo");
  std::vector<MountEntry> mounts;
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string field;
    for (int i = 0; i < 5; ++i) fields >> field;
    const std::string path = Unescape(field);
    while (fields >> field && field != "-") {
    }
    std::string type, source;
    if (fields >> type >> source) mounts.push_back({path, type, Unescape(source)});
  }
  return mounts;
}

}  // namespace glintfs
