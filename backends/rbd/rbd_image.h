// RbdImage: an image opened read-only at one version of it, and the few of them that are kept open.
//
// A version is "pool.image@snapshot:size", by number and id, or "pool.image@head.header:mtime:size" for a head:
//
//   snapshot   never changes. It is gone as soon as it is in the trash or not in the header: librbd marks it before it deletes what
//              it holds, so whoever asks after a read whether it is still there knows whether the read was good.
//   head       changes. Every writer opens the image (a watch on its header) and takes its exclusive lock, which is written to the
//              header, before its first write. So when nobody has it open, and the header has the same version later, nothing was
//              written in between. Images without the exclusive-lock feature have no such promise, and are not read at their heads.
#pragma once

#include <rbd/librbd.h>

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "backends/ceph/cluster.h"

namespace glintfs {

struct RbdVersion {
  int64_t pool = 0;
  std::string image_id;
  uint64_t snapshot = 0;  // LIBRADOS_SNAP_HEAD: the head
  uint64_t header = 0;    // head: version of the header object
  int64_t mtime = 0;      // head: as the image has it, in ns
  uint64_t size = 0;

  bool head() const { return snapshot == LIBRADOS_SNAP_HEAD; }
  std::string ToString() const;
  static std::optional<RbdVersion> Parse(std::string_view text);
  friend bool operator==(const RbdVersion&, const RbdVersion&) = default;
};

// What the object class of RBD says of a snapshot ("snapshot_get"), as far as it matters.
struct RbdSnapshot {
  uint64_t id = 0;
  uint32_t kind = 0;  // RBD_SNAP_NAMESPACE_TYPE_…
};
std::optional<RbdSnapshot> ParseRbdSnapshot(std::string_view encoded);

// The version an image has now, and its time: at `snap` if that is protected, else at its newest snapshot, else, with `head`, as it
// is. Blocks: for workers. kNotFound when there is no such image or nothing of it to show.
struct RbdFound {
  RbdVersion version;
  Nanos mtime{0};
};
Result<RbdFound> FindRbdImage(Cluster& cluster, const CephPoolPtr& pool, const std::string& name, bool head, std::stop_token stop);

// Closed in a worker.
struct RbdImage {
  CephPoolPtr pool;
  rbd_image_t image = nullptr;
  RbdVersion version;
  uint64_t object_size = 0;
  uint64_t features = 0;
};
using RbdImagePtr = std::shared_ptr<RbdImage>;

// Whether the version is what the image has at this moment: one question to the OSD of its header. kNotFound, kStale, or why it
// cannot be said.
Result<void> ConfirmRbdVersion(Cluster& cluster, const CephPoolPtr& pool, const RbdVersion& version, std::stop_token stop);

// Thread-safe.
class RbdImages {
 public:
  explicit RbdImages(std::shared_ptr<Cluster> cluster) : cluster_(std::move(cluster)) {}

  // Open, of the connection there is now. For a head: nobody has it open for writing, else kBusy.
  Result<RbdImagePtr> Get(const RbdVersion& version, std::stop_token stop);
  void Clear();

 private:
  struct Entry {
    RbdImagePtr image;
    Nanos used{0};
  };
  std::list<RbdImagePtr> TakeOld(Nanos now) REQUIRES(mu_);

  const std::shared_ptr<Cluster> cluster_;
  Mutex mu_;
  std::list<Entry> entries_ GUARDED_BY(mu_);  // the newest first
};

}  // namespace glintfs
