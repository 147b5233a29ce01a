// Detached: a decorator for a backend whose calls the kernel may not come back from (a directory on a network mount whose server is
// gone). Each call runs on a thread of its own, and whoever waits for it can give up.
//
// A call that was given up goes on by itself until the kernel lets it go; what it holds is freed then. When as many hang as there are
// workers (workers.h), the next ones wait for one of those, or for their stop_token. Thread-safe.
#pragma once

#include <memory>

#include "backends/backend.h"

namespace glintfs {

std::unique_ptr<Backend> MakeDetached(std::unique_ptr<Backend> inner);

// Whether `path` lies on a file system whose calls may hang with something outside this machine's kernel: NFS, CIFS, Ceph, FUSE, one
// that is mounted on demand, … Decided by the table of mounts; touches no file system.
bool IsOnRemoteFileSystem(const std::string& path);

}  // namespace glintfs
