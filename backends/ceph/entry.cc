// The one thing that glintfs looks up in glintfs-ceph.so.
#include "backends/ceph/module.h"
#include "backends/rados/rados.h"
#include "backends/rbd/rbd.h"

extern "C" __attribute__((visibility("default"))) const glintfs::CephModule glintfs_ceph_module = {
    GLINTFS_VERSION, &glintfs::MakeRbd, &glintfs::MakeRados};
