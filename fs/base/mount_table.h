// The kernel's table of mounts. Reading it touches no file system, so it does not hang with one.
#pragma once

#include <string>
#include <vector>

namespace glintfs {

struct MountEntry {
  std::string path;  // where
  std::string type;  // "ext4", "nfs4", "fuse.glintfs"
  std::string source;  // what: a device, or what the mount says of itself
};

// In the order they were made: of several at one path the last one shows. Empty when it cannot be read.
std::vector<MountEntry> ReadMountTable();

}  // namespace glintfs
