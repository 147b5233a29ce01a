// Session: the mount. Owns /dev/fuse, the threads that serve it, and all that libfuse's version decides.
//
//   Mount ──▶ serving ──▶ ended, by umount(8) or Stop ──▶ destroyed
//
// Thread-safe.
#pragma once

#include <pthread.h>

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/clock.h"
#include "fs/base/mutex.h"
#include "fs/base/own_mount.h"
#include "fs/base/result.h"
#include "fs/base/thread.h"
#include "fs/base/unique_fd.h"
#include "fs/fuse/adapter.h"
#include "fs/fuse/filesystem.h"
#include "fs/fuse/passthrough.h"
#include "fs/fuse/wire.h"

struct fuse_session;

namespace glintfs {

struct SessionOptions {
  std::string mountpoint;  // absolute
  std::shared_ptr<OwnMount> mount = std::make_shared<OwnMount>();  // told what is mounted, for as long as it is
  std::string fsname;      // the source, as /proc/mounts shows it
  bool allow_other = false;
  bool default_permissions = true;
  bool writable = false;   // else the kernel refuses all that would write
  bool nonempty = false;   // mount over a directory that is not empty
  std::vector<std::string> extra;  // further mount options: "noexec", "context=…"
  bool passthrough = true;         // where the kernel and our privileges allow it
  std::string passthrough_probe;   // a file in the cache directory, to find out whether they do
  int threads = 10;        // that serve the kernel; they never wait for the source
  unsigned max_background = 16'384;   // reads ahead that may wait before the kernel sends no more, of any image
  uint64_t read_ahead = 1 << 20;      // bytes the kernel reads ahead; 0: its default
};

class Session final : private KernelPort {
 public:
  // Checks the mount point, mounts and serves. Returns once the mount answers. Each error is one line that says what to
  // do: kNotFound, kNotDirectory, kInvalid, kBusy (mount point), kAccessDenied, kNotSupported (no FUSE), kTimedOut.
  // `filesystem` must outlive the session.
  static Result<std::unique_ptr<Session>> Mount(SessionOptions options, Filesystem& filesystem);

  // Serves whoever is at the other end of `socket` (SOCK_SEQPACKET) as if it were the kernel.
  static Result<std::unique_ptr<Session>> Attach(SessionOptions options, Filesystem& filesystem, UniqueFd socket);

  ~Session() override;  // Stop

  // Until the mount is gone, or Stop was called.
  void WaitUntilEnded();
  bool ended();

  // Ends the mount: lazily when it is in use. What others have mounted at its place stays. Waits for no one: requests that
  // wait are answered EINTR. May be called twice.
  void Stop();

  // Do the threads that serve the kernel come back from what it asks? False when each has been at the same request ever since
  // the last call. Waits for nothing, so it can be asked when all hangs. Not thread-safe: one thread asks, now and then.
  bool Serves();

  // Are complete images read by the kernel itself? Empty: yes; else why not.
  const std::string& passthrough_refused() const { return passthrough_refused_; }

 private:
  Session(SessionOptions options, Filesystem& filesystem);

  Result<void> Create();
  Result<void> MountKernel();
  void Negotiate(fuse_conn_info* connection);
  void Serve();
  void ServeOne(std::atomic<uint64_t>& turns);
  Result<void> WaitUntilAnswers();
  void RaiseReadAhead();
  void StartPassthrough();
  Result<int32_t> Register(int fd) override;
  void Unregister(int32_t backing_id) override;
  Result<void> InvalidateEntry(NodeId parent, const std::string& name) override;
  Result<void> InvalidatePages(NodeId node) override;
  void WakeThreads();
  bool ConnectionGone() const;
  void Unmount();
  bool LetGo();

  // Constant once serving.
  const SessionOptions options_;
  Wire wire_;
  AdapterContext context_;
  fuse_session* session_ = nullptr;
  bool mounted_ = false;
  std::string passthrough_refused_ = "turned off";

  std::atomic<bool> over_{false};  // every thread is to end; set under mu_ or followed by a notification
  Mutex mu_;
  CondVar changed_;
  bool negotiated_ GUARDED_BY(mu_) = false;
  int running_ GUARDED_BY(mu_) = 0;
  bool stopping_ GUARDED_BY(mu_) = false;
  bool stopped_ GUARDED_BY(mu_) = false;
  // Of each thread: odd while it is at a request. A cache line each, as every request counts.
  struct alignas(64) Turns {
    std::atomic<uint64_t> count{0};
  };
  std::vector<Turns> turns_;            // constant size once serving
  std::vector<uint64_t> turns_seen_;    // by Serves()
  std::vector<pthread_t> serving_ GUARDED_BY(mu_);  // the threads that have not ended
  std::vector<Thread> threads_;
};

}  // namespace glintfs
