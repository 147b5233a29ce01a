// RequestAuthorizer: who may use a listening socket. The HTTP server asks it once per connection and once per request, so
// that one kind can go by the credentials of the peer process (Unix sockets, below) and another by a header (TCP, see
// control/token_authorizer.h).
#pragma once

#include <sys/types.h>

#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "control/http.h"
#include "fs/base/result.h"

namespace glintfs {

struct Caller {
  std::string name;        // for log lines: "uid 1000", "127.0.0.1:40112"
  bool permitted = false;  // as far as the connection tells
};

struct Admission {
  std::optional<HttpResponse> refusal;  // the answer that refuses; nullopt lets the request through
  std::string caller;                   // who asks, for log lines
};

// Thread-safe.
class RequestAuthorizer {
 public:
  virtual ~RequestAuthorizer() = default;

  // On the I/O thread: neither of the two blocks. nullopt: only Check can tell.
  virtual Caller Identify(int socket) = 0;
  virtual std::optional<Admission> CheckAtOnce(const Caller& caller, const HttpRequest& request) = 0;

  // How many threads may be in Check; 0: CheckAtOnce always knows.
  virtual int threads() const { return 0; }
  // On one of those: may ask somebody, and ends soon after `stop`.
  virtual Admission Check(const Caller& caller, const HttpRequest& request, std::stop_token stop);

  // Reads again what it goes by (files). An error leaves everything as it was.
  virtual Result<void> Reload() { return {}; }
};

struct PeerCredentials {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // supplementary
};

// Lets through root, the daemon's own user and, when the mode of the socket file grants its group write access, the
// members of that group. The mode already keeps others from connecting; this holds when someone widens it, or hands on
// a descriptor.
class PeerAuthorizer final : public RequestAuthorizer {
 public:
  // `group` is the group of the socket file, `group_may_write` what its mode said when it was made.
  PeerAuthorizer(uid_t own_uid, gid_t group, bool group_may_write);

  Caller Identify(int socket) override;
  std::optional<Admission> CheckAtOnce(const Caller& caller, const HttpRequest& request) override;

  bool Permits(const PeerCredentials& peer) const;

 private:
  const uid_t own_uid_;
  const gid_t group_;
  const bool group_may_write_;
};

}  // namespace glintfs
