#include "fs/base/mount_table.h"

#include <algorithm>
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

std::vector<MountEntry> ReadMountTable(const std::string& file) {
  // 36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw
  std::ifstream table(file);
  std::vector<MountEntry> mounts;
  for (std::string line; std::getline(table, line);) {
    std::istringstream fields(line);
    MountEntry mount;
    std::string root, field;
    fields >> mount.id >> mount.parent >> mount.device >> root >> mount.path >> mount.options;
    while (fields >> field && field != "-") {
    }
    if (!(fields >> mount.type >> mount.source)) continue;
    fields >> mount.super_options;
    mount.path = Unescape(mount.path);
    mount.source = Unescape(mount.source);
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

// The order alone does not tell: a mount that was moved keeps its place in the table.
std::optional<MountEntry> TopMountAt(const std::string& path, const std::vector<MountEntry>& table) {
  std::optional<MountEntry> top;
  for (const MountEntry& mount : table) {
    if (mount.path != path) continue;
    const bool covered = std::any_of(table.begin(), table.end(), [&](const MountEntry& other) {
      return other.path == path && other.parent == mount.id && other.id != mount.id;
    });
    if (!covered || !top) top = mount;
  }
  return top;
}

}  // namespace glintfs
