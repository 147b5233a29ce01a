#include "fs/fuse/wire.h"

#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "fs/fuse/adapter.h"

namespace glintfs {
namespace {

// linux/fuse.h, Linux 6.9
constexpr uint32_t kInitExt = 1u << 30;            // FUSE_INIT_EXT, in flags
constexpr uint32_t kPassthrough2 = 1u << (37 - 32);  // FUSE_PASSTHROUGH, in flags2
constexpr size_t kFlags2 = 32, kMaxStackDepth = 36;  // offsets in fuse_init_out
constexpr size_t kRequestFlags2 = 16;                // offset in fuse_init_in
constexpr uint32_t kOpenPassthrough = 1u << 7;     // FOPEN_PASSTHROUGH
struct BackingMap {
  int32_t fd;
  uint32_t flags;
  uint64_t padding;
};
struct OpenOut {
  uint64_t fh;
  uint32_t open_flags;
  int32_t backing_id;
};
constexpr unsigned long kBackingOpen = _IOW(229, 1, BackingMap);
constexpr unsigned long kBackingClose = _IOW(229, 2, uint32_t);
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
constexpr bool kLibfuseKnowsPassthrough = true;
#else
constexpr bool kLibfuseKnowsPassthrough = false;
#endif

template <typename T>
T Peek(std::span<const char> from, size_t offset) {
  T value{};
  if (from.size() >= offset + sizeof value) std::memcpy(&value, from.data() + offset, sizeof value);
  return value;
}

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
  if ((init.flags & kInitExt) != 0) offered2_ = Peek<uint32_t>(packet.subspan(sizeof header), kRequestFlags2);
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

void Wire::CompleteInit(std::span<char> reply) {
  fuse_init_out out{};
  if (reply.size() < offsetof(fuse_init_out, flags) + sizeof(out.flags)) return;
  std::memcpy(&out, reply.data(), reply.size());
  out.flags |= offered_ & FUSE_PARALLEL_DIROPS;
  const bool passthrough = want_passthrough_ && (offered2_ & kPassthrough2) != 0 && reply.size() >= sizeof out;
  if (passthrough && !kLibfuseKnowsPassthrough) out.flags |= kInitExt;
  std::memcpy(reply.data(), &out, reply.size());
  if (!passthrough) return;
  if (!kLibfuseKnowsPassthrough) {
    const uint32_t flags2 = Peek<uint32_t>(reply, kFlags2) | kPassthrough2;
    const uint32_t depth = 1;  // the cache's files may not lie on a stacked file system
    std::memcpy(reply.data() + kFlags2, &flags2, sizeof flags2);
    std::memcpy(reply.data() + kMaxStackDepth, &depth, sizeof depth);
  }
  passthrough_agreed_ = true;
}

void Wire::Negotiate([[maybe_unused]] fuse_conn_info* connection) const {
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  // Not by fuse_set_feature_flag: 3.17 loses one of them when both `want` and `want_ext` change.
  if (want_passthrough_) connection->want |= connection->capable & FUSE_CAP_PASSTHROUGH;
#endif
}

int ReplyOpen(fuse_req* request, fuse_file_info& info, int32_t backing_id) {
  if (backing_id == 0) return fuse_reply_open(request, &info);
  info.keep_cache = 0;  // the kernel refuses it together with passthrough
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  info.backing_id = backing_id;
  return fuse_reply_open(request, &info);
#else
  const OpenOut out{.fh = info.fh, .open_flags = kOpenPassthrough, .backing_id = backing_id};
  return fuse_reply_buf(request, reinterpret_cast<const char*>(&out), sizeof out);
#endif
}

Result<int32_t> RegisterBackingFile(int device, int fd) {
  const BackingMap map{.fd = fd, .flags = 0, .padding = 0};
  const int id = ::ioctl(device, kBackingOpen, &map);
  if (id > 0) return id;
  const int err = errno;
  if (err == EPERM) return Error{Errc::kAccessDenied, "it needs CAP_SYS_ADMIN"};
  if (err == ELOOP) return Error{Errc::kNotSupported, "the cache directory lies on a stacked file system (overlayfs)"};
  if (err == EOPNOTSUPP || err == ENOTTY || err == EINVAL)
    return Error{Errc::kNotSupported, "this kernel cannot do it with the cache directory's file system"};
  return ErrnoError(err, "register a backing file");
}

void UnregisterBackingFile(int device, int32_t backing_id) {
  const auto id = static_cast<uint32_t>(backing_id);
  ::ioctl(device, kBackingClose, &id);
}

}  // namespace glintfs
