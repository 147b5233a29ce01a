// FakeKernel: the other end of a session on a socketpair. Sends raw FUSE requests, well-formed or not, and takes the
// raw replies apart. For one thread.
#pragma once

#include <linux/fuse.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "fs/base/unique_fd.h"

namespace glintfs::testing {

struct KernelReply {
  uint64_t unique = 0;
  int32_t error = 0;  // as the kernel gets it: 0 or a negative errno
  std::string body;

  template <typename T>
  T As() const {
    T value{};
    if (body.size() < sizeof(T)) throw std::runtime_error("reply too short");
    std::memcpy(&value, body.data(), sizeof(T));
    return value;
  }
};

template <typename T>
std::string Bytes(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}
inline std::string CString(const std::string& text) { return text + '\0'; }

class FakeKernel {
 public:
  FakeKernel() {
    int fds[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0) throw std::runtime_error("socketpair");
    kernel_.Reset(fds[0]);
    daemon_.Reset(fds[1]);
    const int size = 4 << 20;
    for (const int fd : fds) ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  }

  // The end to attach the session to.
  UniqueFd TakeDaemonEnd() { return std::move(daemon_); }
  void Close() { kernel_.Reset(); }

  // Sends a request and returns its `unique`.
  uint64_t Send(uint32_t opcode, uint64_t node, const std::string& body = {}) {
    fuse_in_header header{};
    header.opcode = opcode;
    header.nodeid = node;
    header.unique = next_unique_ += 2;
    header.len = static_cast<uint32_t>(sizeof header + body.size());
    SendRaw(Bytes(header) + body);
    return header.unique;
  }
  void SendRaw(const std::string& packet) {
    if (::send(kernel_.get(), packet.data(), packet.size(), MSG_NOSIGNAL) < 0) throw std::runtime_error("send");
  }

  // The reply to `unique`; replies to others are kept until asked for. Fails the test run by throwing after 30 s.
  KernelReply Wait(uint64_t unique) {
    for (;;) {
      if (const auto it = replies_.find(unique); it != replies_.end()) {
        KernelReply reply = std::move(it->second);
        replies_.erase(it);
        return reply;
      }
      if (!Receive(30'000)) throw std::runtime_error("no reply to request " + std::to_string(unique));
    }
  }
  KernelReply Call(uint32_t opcode, uint64_t node, const std::string& body = {}) {
    return Wait(Send(opcode, node, body));
  }
  // A reply that is there now; for showing that none is.
  bool HasReply(uint64_t unique) {
    while (Receive(0)) {
    }
    return replies_.contains(unique);
  }
  size_t unclaimed() {
    while (Receive(0)) {
    }
    return replies_.size();
  }
  // Drops the replies EAGAIN, which answer interrupts that came too late.
  void DropLateInterrupts() {
    while (Receive(0)) {
    }
    std::erase_if(replies_, [](const auto& entry) { return entry.second.error == -EAGAIN; });
  }
  // The `unique` that the request sent after the next one will have.
  uint64_t UniqueAfterNext() const { return next_unique_ + 4; }
  // Two replies to one request.
  bool saw_duplicate() const { return duplicate_; }

  fuse_init_out Init() {
    fuse_init_in in{};
    in.major = FUSE_KERNEL_VERSION;
    in.minor = 31;
    in.max_readahead = 128 * 1024;
    in.flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_EXPORT_SUPPORT | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES |
               FUSE_SPLICE_WRITE | FUSE_SPLICE_MOVE | FUSE_SPLICE_READ | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO |
               FUSE_WRITEBACK_CACHE | FUSE_AUTO_INVAL_DATA | FUSE_EXPLICIT_INVAL_DATA | FUSE_ASYNC_DIO |
               FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS | FUSE_ATOMIC_O_TRUNC;
    const KernelReply reply = Call(FUSE_INIT, 0, Bytes(in));
    fuse_init_out out{};
    std::memcpy(&out, reply.body.data(), std::min(reply.body.size(), sizeof out));
    return out;
  }

 private:
  bool Receive(int timeout_ms) {
    pollfd poller{.fd = kernel_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&poller, 1, timeout_ms) <= 0) return false;
    buffer_.resize(2 << 20);
    const ssize_t n = ::recv(kernel_.get(), buffer_.data(), buffer_.size(), 0);
    if (n < static_cast<ssize_t>(sizeof(fuse_out_header))) return false;
    fuse_out_header header{};
    std::memcpy(&header, buffer_.data(), sizeof header);
    if (header.len != static_cast<uint32_t>(n)) throw std::runtime_error("reply with a wrong length");
    KernelReply reply{
        .unique = header.unique, .error = header.error, .body = buffer_.substr(sizeof header, n - sizeof header)};
    if (!replies_.emplace(header.unique, std::move(reply)).second) duplicate_ = true;
    return true;
  }

  UniqueFd kernel_, daemon_;
  uint64_t next_unique_ = 0;
  std::map<uint64_t, KernelReply> replies_;
  std::string buffer_;
  bool duplicate_ = false;
};

}  // namespace glintfs::testing
