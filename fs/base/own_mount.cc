#include "fs/base/own_mount.h"

#include <fmt/format.h>

#include <algorithm>

#include "fs/base/mount_table.h"

namespace glintfs {

void OwnMount::Remember(std::string path) {
  const auto top = TopMountAt(path);
  MutexLock lock(mu_);
  place_ = {.path = std::move(path), .device = top && top->type.starts_with("fuse") ? top->device : ""};
}

void OwnMount::Forget() {
  MutexLock lock(mu_);
  place_.device.clear();
}

OwnMount::Place OwnMount::place() const {
  MutexLock lock(mu_);
  return place_;
}

bool OwnMount::Shows() const {
  const Place ours = place();
  const auto top = TopMountAt(ours.path);
  return !ours.device.empty() && top && top->device == ours.device;
}

std::string OwnMount::WhyNot() const {
  const Place ours = place();
  if (ours.device.empty()) return {};
  const auto table = ReadMountTable();
  const auto top = TopMountAt(ours.path, table);
  if (top && top->device == ours.device) return {};
  const bool below = std::any_of(table.begin(), table.end(), [&](const MountEntry& mount) {
    return mount.path == ours.path && mount.device == ours.device;
  });
  if (top) return fmt::format("something else is mounted at {}{}: {} ({})", ours.path, below ? ", over this mount" : "", top->source, top->type);
  return fmt::format("no longer mounted at {}", ours.path);
}

}  // namespace glintfs
