// What a source of Ceph says, and what the environment adds, taken apart. Pure.
#pragma once

#include <string>
#include <string_view>

#include "backends/registry.h"
#include "fs/base/result.h"

namespace glintfs {

struct CephSettings {
  std::string source;  // "rbd://pool/namespace", as normalised
  std::string pool;
  std::string name_space;  // empty: the default one
  CephOptions ceph;        // with id and cluster filled in
  Nanos ask_deadline{0};
  Nanos fetch_deadline{0};
};

// "rbd://pool[/namespace]" with the settings, and with what $CEPH_ARGS (`ceph_args`, may be null) says about them. Looks whether
// the files named in settings can be read.
Result<CephSettings> MakeCephSettings(std::string_view source, std::string_view scheme, const BackendOptions& options,
                                      const char* ceph_args);

// What `--id`, `--name`, `--cluster` and `--conf` of $CEPH_ARGS say, where `ceph` leaves it open: librados reads the other words of
// it, but not these.
void ApplyCephArgs(std::string_view ceph_args, CephOptions& ceph);

}  // namespace glintfs
