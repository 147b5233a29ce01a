#include "fs/fuse/wire.h"

#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "fs/fuse/adapter.h"

namespace glintfs {
namespace {

Wire& Self(void* userdata) { return *static_cast<const AdapterContext*>(userdata)->wire; }

}  // namespace

int Wire::Install(fuse_session* session, int fd, Peer peer) {
  peer_ = peer;
  fuse_custom_io io{};
  io.read = [](int from, void* buffer, size_t size, void* userdata) { return Self(userdata).Read(from, buffer, size); };
  io.writev = [](int to, iovec* vectors, int count, void* userdata) {
    return Self(userdata).Write(to, vectors, count);
  };
  return -fuse_session_custom_io(session, &io, fd);
}

ssize_t Wire::Read(int fd, void* buffer, size_t size) {
  const ssize_t n = ::read(fd, buffer, size);
  if (n > 0 && !init_seen_.load(std::memory_order_acquire))
    NoteRequest({static_cast<const char*>(buffer), static_cast<size_t>(n)});
  if (n == 0 && peer_ == Peer::kSocket) {
    errno = ENODEV;  // the other end is closed: as when the mount is gone
    return -1;
  }
  return n;
}

void Wire::NoteRequest(std::span<const char> packet) {
  fuse_in_header header{};
  fuse_init_in init{};
  constexpr size_t kFlagsEnd = offsetof(fuse_init_in, flags) + sizeof(init.flags);
  if (packet.size() < sizeof header + kFlagsEnd) return;
  std::memcpy(&header, packet.data(), sizeof header);
  if (header.opcode != FUSE_INIT) return;
  std::memcpy(&init, packet.data() + sizeof header, kFlagsEnd);
  offered_ = init.flags;
  init_unique_ = header.unique;
  init_seen_.store(true, std::memory_order_release);
}

ssize_t Wire::Write(int fd, iovec* vectors, int count) {
  if (!init_answered_.load(std::memory_order_relaxed) && count == 2) {
    fuse_out_header header{};
    std::memcpy(&header, vectors[0].iov_base, std::min(sizeof header, vectors[0].iov_len));
    std::array<char, sizeof(fuse_init_out)> reply{};
    if (init_seen_ && header.unique == init_unique_ && header.error == 0 && vectors[1].iov_len <= reply.size()) {
      std::memcpy(reply.data(), vectors[1].iov_base, vectors[1].iov_len);
      CompleteInit({reply.data(), vectors[1].iov_len});
      init_answered_ = true;
      std::array<iovec, 2> completed = {vectors[0], iovec{.iov_base = reply.data(), .iov_len = vectors[1].iov_len}};
      return ::writev(fd, completed.data(), 2);
    }
  }
  return ::writev(fd, vectors, count);
}

void Wire::CompleteInit(std::span<char> reply) const {
  fuse_init_out out{};
  if (reply.size() < offsetof(fuse_init_out, flags) + sizeof(out.flags)) return;
  std::memcpy(&out, reply.data(), reply.size());
  out.flags |= offered_ & FUSE_PARALLEL_DIROPS;
  std::memcpy(reply.data(), &out, reply.size());
}

}  // namespace glintfs
