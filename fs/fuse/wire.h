// Wire: the bytes between libfuse and the kernel. The place for what this libfuse version cannot say: it sees the INIT
// request and completes the reply.
//
// libfuse 3.14 reads FUSE_CAP_PARALLEL_DIROPS but never sends the flag. Without it the kernel lets one lookup or
// readdir at a time into each directory, and a lookup that waits for a hanging source would stop every `ls` and `stat`
// beside it.
//
// Thread-safe.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <cstdint>
#include <span>

struct fuse_session;

namespace glintfs {

class Wire {
 public:
  enum class Peer { kKernel, kSocket };

  // Puts itself between `session` and `fd`. The session's userdata must be an AdapterContext whose `wire` is this.
  // Returns 0 or an errno.
  int Install(fuse_session* session, int fd, Peer peer);

  // What libfuse calls.
  ssize_t Read(int fd, void* buffer, size_t size);
  ssize_t Write(int fd, iovec* vectors, int count);

 private:
  void NoteRequest(std::span<const char> packet);
  // Completes `reply`, the body of an INIT reply.
  void CompleteInit(std::span<char> reply) const;

  Peer peer_ = Peer::kKernel;
  std::atomic<bool> init_seen_{false}, init_answered_{false};
  std::atomic<uint64_t> init_unique_{0};
  std::atomic<uint32_t> offered_{0};  // INIT's flags
};

}  // namespace glintfs
