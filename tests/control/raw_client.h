// RawClient: bytes to and from a socket, with or without TLS, and a small HTTP answer parser of its own, so that the server is
// not tested with the code it is made of.
#pragma once

#include <openssl/types.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "fs/base/unique_fd.h"

namespace glintfs::testing {

struct RawReply {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

class RawClient {
 public:
  explicit RawClient(const std::string& path);  // throws when it cannot connect
  // "127.0.0.1:9393", "[::1]:9393"; throws likewise.
  static RawClient OverTcp(const std::string& address);

  // From here on through TLS, trusting the authority of `ca_file`. False when the handshake fails. `version`: the newest that
  // is offered, 0 for any.
  bool StartTls(const std::string& ca_file, int version = 0);

  bool Send(std::string_view bytes);  // all of it; false when the connection broke
  // The next answer; nullopt when the connection ended or nothing came for 30 s. `head`: it has no body.
  std::optional<RawReply> Receive(bool head = false);
  // True once the server has closed its side (waits up to 30 s, throws away what comes).
  bool WaitForEnd();
  void CloseSending();
  int fd() const { return fd_.get(); }

 private:
  explicit RawClient(UniqueFd fd) : fd_(std::move(fd)) {}
  bool Fill();

  UniqueFd fd_;
  std::shared_ptr<SSL> tls_;
  std::string buffer_;
};

// One request on a connection of its own.
RawReply Ask(const std::string& path, const std::string& verb, const std::string& target,
             const std::string& headers = "", const std::string& body = "");

// "PUT /x HTTP/1.1\r\nHost: …"
std::string RequestText(const std::string& verb, const std::string& target, const std::string& headers = "",
                        const std::string& body = "");

}  // namespace glintfs::testing
