// Cluster: the connection to a Ceph cluster and to one pool of it, made with the first question and made anew when it is of no more
// use. Shared by the backend and its readers.
//
//   GLINTFS_ASSIGN(auto pool, cluster->GetPool(stop));
//   ... librados and librbd calls on pool->io(); after an error:
//   return cluster->Failed(pool, -err, "reading x");
//
// librados itself goes on when monitors and OSDs come back. A handle is dead only when the cluster has blocklisted it or nothing
// has come back over it for long; Failed notices.
//
// Thread-safe.
#pragma once

#include <rados/librados.h>

#include <atomic>
#include <memory>
#include <string>
#include <string_view>

#include "backends/ceph/settings.h"
#include "backends/workers.h"

namespace glintfs {

// A connection with its pool. Ends in a worker, because that blocks: a CephPoolPtr may be dropped anywhere, also in a callback.
class CephPool {
 public:
  rados_ioctx_t io() const { return io_; }
  rados_t cluster() const { return cluster_; }

 private:
  friend class Cluster;
  CephPool();
  ~CephPool();

  rados_t cluster_ = nullptr;
  rados_ioctx_t io_ = nullptr;
  std::atomic<int64_t> heard_{0};  // Clock::Now of the last answer, in ns
};
using CephPoolPtr = std::shared_ptr<CephPool>;

class Cluster : public std::enable_shared_from_this<Cluster> {
 public:
  explicit Cluster(CephSettings settings) : settings_(std::move(settings)) {}

  const CephSettings& settings() const { return settings_; }
  Workers& workers() { return workers_; }

  // The connection there is, else a new one: all who ask meanwhile wait for the same. kAccessDenied, kNotFound (no such pool),
  // kUnavailable, kInvalid (settings).
  Result<CephPoolPtr> GetPool(std::stop_token stop);

  // The error for a negative result `err` of a call on `pool`, which is made anew when it can be of no more use. `what` begins its
  // message. kNotFound for ENOENT, unless the pool itself is gone, which is no answer about a name.
  Error Failed(const CephPoolPtr& pool, int err, std::string_view what);
  // A call on `pool` was answered.
  void Heard(const CephPoolPtr& pool) { pool->heard_ = Clock::System().Now().count(); }

  // For the backend's end: lets go of the connection and waits a little for it to end.
  void Close();

 private:
  struct Connecting;

  // Blocks up to client_mount_timeout.
  static Result<CephPoolPtr> Connect(const CephSettings& settings, const Workers& workers);
  static Result<void> Configure(const CephSettings& settings, rados_t cluster);

  const CephSettings settings_;
  Workers workers_;
  Mutex mu_;
  CephPoolPtr pool_ GUARDED_BY(mu_);
  std::shared_ptr<Connecting> connecting_ GUARDED_BY(mu_);
};

// One read operation on an object, asynchronous underneath, so that it ends with `stop`.
struct ObjectAnswer {
  int result = 0;        // 0, or a negative errno
  uint64_t version = 0;  // of the object
  uint64_t size = 0;     // Stat
  int64_t mtime = 0;     // Stat: seconds since 1970
  std::string output;    // Exec
};
// kCancelled is the only error: what the cluster says is in ObjectAnswer::result.
Result<ObjectAnswer> StatObject(const CephPoolPtr& pool, const std::string& object, std::stop_token stop);
// Calls `method` of the object class `cls` (on the OSD); its output, up to 4 KiB.
Result<ObjectAnswer> ExecOnObject(const CephPoolPtr& pool, const std::string& object, const std::string& cls,
                                  const std::string& method, std::string input, std::stop_token stop);

}  // namespace glintfs
