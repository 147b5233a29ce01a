// OwnMount: what this process has mounted, so that it tells its mount from another one that has come to the same path. An
// unmount names a path and takes away what lies there on top, whoever mounted it.
//
// Known by the number of its file system, which the kernel gives to another one only once the last copy of ours is gone: from
// then on it must be forgotten. Asks the table of mounts alone, never a file system. Thread-safe.
#pragma once

#include <string>

#include "fs/base/mutex.h"

namespace glintfs {

class OwnMount {
 public:
  struct Place {
    std::string path;    // the mount point, without links
    std::string device;  // "0:55"; empty: nothing is mounted, or the table of mounts cannot be read
  };

  // What lies on top at `path` is ours. REQUIRES: `path` has no links, and was mounted just now.
  void Remember(std::string path);
  void Forget();

  Place place() const;
  // Ours, on top at its path. An unmount of that path is ours to do.
  bool Shows() const;
  // Why it does not show, as half a sentence; empty: it does, or nothing is mounted.
  std::string WhyNot() const;

 private:
  mutable Mutex mu_;
  Place place_ GUARDED_BY(mu_);
};

}  // namespace glintfs
