// What `glintctl doctor` learns from the daemon: kernel, privileges, limits, cache directory and its disk, index, source, clock,
// the mount. Looks once, changes nothing but for a file without a name that is written in the cache directory.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "control/service.h"
#include "fs/base/own_mount.h"
#include "fs/options.h"

namespace glintfs {

// Where the system tells about itself; tests have other places.
struct DoctorPlaces {
  std::string mounts = "/proc/self/mountinfo";
  std::string process = "/proc/self/status";
  std::string processes = "/proc";
  std::string fuse_conf = "/etc/fuse.conf";
  std::string bdi = "/sys/class/bdi";
  std::string fuse_parameters = "/sys/module/fuse/parameters";
};

// `mount`: what is ours. Thread-safe. Blocks: on the disk, and on the source for as long as it may take to answer, or until `stop`.
std::vector<Finding> ExamineDaemon(const Options& options, Backend& backend, const ServiceStatus& status, const OwnMount::Place& mount, std::stop_token stop,
                                   const DoctorPlaces& places = {});

}  // namespace glintfs
