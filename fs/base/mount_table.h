// The kernel's table of mounts. Reading it touches no file system, so it does not hang with one.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace glintfs {

struct MountEntry {
  std::string id, parent;  // of the mount, and of the one that it lies on
  std::string device;  // "0:55", of the file system: copies and binds of a mount have the same
  std::string path;  // where
  std::string options;  // "ro,nosuid,nodev"
  std::string type;  // "ext4", "nfs4", "fuse.glintfs"
  std::string source;  // what: a device, or what the mount says of itself
  std::string super_options;
};

// In the order they were made. Empty when it cannot be read. `file`: the table of another process.
std::vector<MountEntry> ReadMountTable(const std::string& file = "/proc/self/mountinfo");

// Of several at one path the one that shows.
std::optional<MountEntry> TopMountAt(const std::string& path, const std::vector<MountEntry>& table = ReadMountTable());

}  // namespace glintfs
