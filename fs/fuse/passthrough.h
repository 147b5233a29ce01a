// Passthrough: complete images are read by the kernel straight from the cache's data files, past this process.
//
// An image has two nodes with one inode number: a partial one, read through us and the page cache, and once it is sealed a
// complete one. Becoming sealed is the flip: the name is invalidated, the next lookup finds the complete node. Handles and
// mmaps of the partial node go on as they were.
//
// Off until the session has found that the kernel and our privileges allow it. Thread-safe.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "fs/base/clock.h"
#include "fs/base/mutex.h"
#include "fs/base/result.h"
#include "fs/base/thread.h"
#include "fs/cache/image_status.h"

namespace glintfs {

// The kernel's side of it, as far as it is asked and not answered.
class KernelPort {
 public:
  virtual ~KernelPort() = default;
  // Makes the kernel know the file behind `fd` by the number it returns, > 0, until that is unregistered. kAccessDenied:
  // needs CAP_SYS_ADMIN in the first user namespace. The kernel keeps the file, and its disk space, by itself.
  virtual Result<int32_t> Register(int fd) = 0;
  virtual void Unregister(int32_t backing_id) = 0;
  // Makes the kernel look `name` up again. Waits for every lookup and listing in that directory that is on its way. kNotFound:
  // not known to it. Must not be called from within a request.
  virtual Result<void> InvalidateEntry(uint64_t parent, const std::string& name) = 0;
  // Makes the kernel drop what it has in memory of a node's content; who reads on reads it anew. Waits for reads of it that are on
  // their way. kNotFound as above. Must not be called from within a request.
  virtual Result<void> InvalidatePages(uint64_t node) = 0;
};

class Passthrough {
 public:
  // How long the kernel may keep the name of a partial image while passthrough is on.
  static constexpr Nanos kNameTtl = std::chrono::seconds(10);

  // Is off. `names_waiting`: how many lookups and listings wait for the source now.
  explicit Passthrough(std::function<int()> names_waiting);
  ~Passthrough();  // Stop

  // Goes on. `port` must outlive Stop.
  void Start(KernelPort& port);
  // Stays off for good; only pages are invalidated through `port`, which must outlive Stop.
  void Refuse(KernelPort& port);
  // Started or refused. Until then the kernel must not keep a name for long: its image may soon have another node.
  bool decided() const { return decided_; }
  // Nothing more reaches the kernel. Returns once no call of `port` is under way; invalidations that wait are dropped.
  void Stop();
  bool on() const { return on_; }

  // As KernelPort; kNotSupported when off.
  Result<int32_t> Register(int fd);
  void Unregister(int32_t backing_id);

  // Soon, from a thread of its own that holds no lock. Never while a lookup waits for the source: it would hold up the whole
  // directory. After kNameTtl it is dropped: by then the kernel asks again by itself.
  void InvalidateSoon(uint64_t parent, std::string name);
  // Soon, from the same thread, passthrough on or off.
  void InvalidatePagesSoon(uint64_t node);
  size_t waiting();  // for tests

 private:
  struct Job {
    uint64_t node;     // the parent of `name`
    std::string name;  // empty: the node's pages
    Nanos until;       // real time, monotonic
  };
  void Connect(KernelPort& port);
  void Run(std::stop_token stop);

  const std::function<int()> names_waiting_;
  std::atomic<bool> on_{false}, decided_{false};
  Mutex mu_;
  CondVar changed_;
  KernelPort* port_ GUARDED_BY(mu_) = nullptr;
  int calls_ GUARDED_BY(mu_) = 0;  // of port_, under way
  bool stopping_ GUARDED_BY(mu_) = false;
  std::deque<Job> jobs_ GUARDED_BY(mu_);
  Thread thread_;

  friend class PortCall;
};

}  // namespace glintfs
