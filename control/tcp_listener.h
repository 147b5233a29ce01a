// TcpListener: a listening TCP socket, IPv4 or IPv6.
#pragma once

#include <sys/socket.h>

#include <string>
#include <string_view>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace glintfs {

struct TcpAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;

  bool loopback() const;
  std::string Text() const;  // "127.0.0.1:9393", "[::1]:9393"
};

// "127.0.0.1:9393", "[::1]:9393"; port 0: any free one. kInvalid for anything else: names are not looked up.
Result<TcpAddress> ParseTcpAddress(std::string_view text);

class TcpListener {
 public:
  //   kBusy          another program listens there
  //   kAccessDenied  a port below 1024 without the privilege
  //   kInvalid       no address of this machine
  static Result<TcpListener> Listen(const TcpAddress& address);

  UniqueFd TakeDescriptor() { return std::move(fd_); }
  const TcpAddress& address() const { return address_; }  // with the port that was given out

 private:
  TcpListener() = default;

  UniqueFd fd_;
  TcpAddress address_;
};

// Of the other side of a connection; "unknown" when it is gone.
std::string PeerText(int socket);

}  // namespace glintfs
