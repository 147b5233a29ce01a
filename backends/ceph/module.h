// The backends of Ceph are a module, loaded when the first of them is made: librbd, librados and some twenty libraries below them are
// not on every host, and cost each process that has them some 20 MB.
//
//   glintfs ── first rbd:// or rados:// ──▶ glintfs-ceph.so ──▶ librbd, librados
//           ◀── Backend, Workers, the log: the module has none of its own
//
// The module resolves what is glintfs' own from the program (backends/module.list), so that there is one of each: one log, one typeinfo.
// It is of the same build, which its version tells; nothing about the boundary is stable. It is never unloaded.
#pragma once

#include <memory>
#include <string_view>

#include "backends/registry.h"

namespace glintfs {

// What the module exports, as `glintfs_ceph_module`.
struct CephModule {
  using Make = Result<std::unique_ptr<Backend>>(std::string_view source, const BackendOptions& options);

  const char* version;
  Make* rbd;
  Make* rados;
};

// Loads the module if it is not yet. kInvalid, with what to install, when it is not there. Thread-safe.
Result<const CephModule*> LoadCephModule();

}  // namespace glintfs
