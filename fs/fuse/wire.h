// Wire: the bytes between libfuse and the kernel. The place for what this libfuse version cannot say: it sees the INIT
// request and completes the reply, and it knows passthrough.
//
// libfuse 3.14 reads FUSE_CAP_PARALLEL_DIROPS but never sends the flag. Without it the kernel lets one lookup or
// readdir at a time into each directory, and a lookup that waits for a hanging source would stop every `ls` and `stat`
// beside it.
//
// Passthrough came to libfuse in 3.17. Until then its bits are put into the INIT reply and the OPEN reply here; from then on
// libfuse does both. Backing files are registered by ioctl(2) with either: libfuse's own calls need a request in hand, which the
// close of an image does not have, do not tell why one failed, and log each failure. Layouts and numbers: linux/fuse.h of Linux
// 6.9; Debian 12's header is older.
//
// Thread-safe.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <cstdint>
#include <span>

#include "fs/base/result.h"

struct fuse_conn_info;
struct fuse_file_info;
struct fuse_req;
struct fuse_session;

namespace glintfs {

class Wire {
 public:
  enum class Peer { kKernel, kSocket };

  // REQUIRES: before Install.
  void WantPassthrough() { want_passthrough_ = true; }
  // In INIT's answer, before libfuse sends it.
  void Negotiate(fuse_conn_info* connection) const;
  // Both sides want it. REQUIRES: INIT was answered.
  bool passthrough_agreed() const { return passthrough_agreed_; }

  // Puts itself between `session` and `fd`. The session's userdata must be an AdapterContext whose `wire` is this.
  // Returns 0 or an errno.
  int Install(fuse_session* session, int fd, Peer peer);

  // What libfuse calls.
  ssize_t Read(int fd, void* buffer, size_t size);
  ssize_t Write(int fd, iovec* vectors, int count);

 private:
  void NoteRequest(std::span<const char> packet);
  // Completes `reply`, the body of an INIT reply.
  void CompleteInit(std::span<char> reply);

  Peer peer_ = Peer::kKernel;
  std::atomic<bool> init_seen_{false}, init_answered_{false};
  std::atomic<uint64_t> init_unique_{0};
  std::atomic<uint32_t> offered_{0}, offered2_{0};  // INIT's flags
  bool want_passthrough_ = false;  // constant once installed
  std::atomic<bool> passthrough_agreed_{false};
};

// Answers OPEN. A `backing_id` other than 0 makes the kernel read that file itself. Returns what fuse_reply_open does.
int ReplyOpen(fuse_req* request, fuse_file_info& info, int32_t backing_id);

// FUSE_DEV_IOC_BACKING_OPEN and _CLOSE on the mounted /dev/fuse `device`.
Result<int32_t> RegisterBackingFile(int device, int fd);
void UnregisterBackingFile(int device, int32_t backing_id);

}  // namespace glintfs
