// RBD images of all kinds, for tests.
#pragma once

#include <rbd/librbd.h>

#include <string>

#include "tests/stores/ceph_io.h"

namespace glintfs::testing {

struct RbdShape {
  // As RBD itself makes them.
  uint64_t features = RBD_FEATURE_LAYERING | RBD_FEATURE_EXCLUSIVE_LOCK | RBD_FEATURE_OBJECT_MAP | RBD_FEATURE_FAST_DIFF;
  uint64_t order = 22;         // log2 of the object size
  uint64_t stripe_unit = 0, stripe_count = 0;
  std::string data_pool{};
  std::string snapshot = "snap";  // empty: none
  bool protect = false;
};

// An open image; closed at the end of its scope.
class OpenedRbd {
 public:
  OpenedRbd(rados_ioctx_t io, const std::string& name) { Must(::rbd_open(io, name.c_str(), &image_, nullptr), "opening " + name); }
  ~OpenedRbd() { ::rbd_close(image_); }
  OpenedRbd(const OpenedRbd&) = delete;
  OpenedRbd& operator=(const OpenedRbd&) = delete;
  rbd_image_t get() const { return image_; }

  void Write(const Content& content) {
    for (const Piece& piece : content.pieces)
      Must(static_cast<int>(::rbd_write(image_, piece.offset, piece.bytes.size(), piece.bytes.data())), "writing");
    Must(::rbd_flush(image_), "flushing");
  }
  void Snapshot(const std::string& name, bool protect = false) {
    Must(::rbd_snap_create(image_, name.c_str()), "snapshot");
    if (protect) Must(::rbd_snap_protect(image_, name.c_str()), "protecting");
  }

 private:
  rbd_image_t image_ = nullptr;
};

inline void MakeRbdImage(rados_ioctx_t io, const std::string& name, const Content& content, const RbdShape& shape) {
  rbd_image_options_t options = nullptr;
  ::rbd_image_options_create(&options);
  ::rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_FEATURES, shape.features);
  ::rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_ORDER, shape.order);
  if (shape.stripe_count != 0) {
    ::rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_STRIPE_UNIT, shape.stripe_unit);
    ::rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_STRIPE_COUNT, shape.stripe_count);
  }
  if (!shape.data_pool.empty()) ::rbd_image_options_set_string(options, RBD_IMAGE_OPTION_DATA_POOL, shape.data_pool.c_str());
  const int err = ::rbd_create4(io, name.c_str(), content.size, options);
  ::rbd_image_options_destroy(options);
  Must(err, "making " + name);
  OpenedRbd image(io, name);
  image.Write(content);
  if (!shape.snapshot.empty()) image.Snapshot(shape.snapshot, shape.protect);
}

// With all its snapshots; nothing happens when there is none of the name.
inline void RemoveRbdImage(rados_ioctx_t io, const std::string& name) {
  rbd_image_t image = nullptr;
  if (::rbd_open(io, name.c_str(), &image, nullptr) != 0) return;
  rbd_snap_info_t snaps[64];
  int max = 64;
  const int count = Must(::rbd_snap_list(image, snaps, &max), "snapshots of " + name);
  for (int i = 0; i < count; ++i) {
    ::rbd_snap_unprotect(image, snaps[i].name);
    Must(::rbd_snap_remove(image, snaps[i].name), "removing a snapshot of " + name);
  }
  ::rbd_snap_list_end(snaps);
  ::rbd_close(image);
  Must(::rbd_remove(io, name.c_str()), "removing " + name);
}

}  // namespace glintfs::testing
