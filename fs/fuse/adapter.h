// The operations libfuse calls: each takes a kernel request apart, asks the Filesystem and replies. adapter.cc is the
// only file with <fuse_lowlevel.h> operations.
//
// Every request gets exactly one reply, and no exception leaves an operation: what falls out of one unanswered is
// answered EIO.
#pragma once

#include <functional>

#include "fs/fuse/filesystem.h"

struct fuse_conn_info;
struct fuse_lowlevel_ops;

namespace glintfs {

class Wire;

// The session's userdata.
struct AdapterContext {
  Filesystem& filesystem;
  std::function<void(fuse_conn_info*)> negotiate;  // called once, while INIT is answered
  Wire* wire = nullptr;
};

const fuse_lowlevel_ops& AdapterOperations();

}  // namespace glintfs
