// Authorizer: who may use a listening socket. The HTTP server asks it once per connection and once per request, so that
// one kind can go by the credentials of the peer process (Unix sockets, below) and another by a header (a token over
// TCP).
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "control/http.h"

namespace glintfs {

struct Caller {
  std::string name;        // for log lines: "uid 1000"
  bool permitted = false;  // as far as the connection tells
};

// Thread-safe.
class Authorizer {
 public:
  virtual ~Authorizer() = default;
  virtual Caller Identify(int socket) = 0;
  // The answer that refuses the request, or nullopt to let it through.
  virtual std::optional<HttpResponse> Check(const Caller& caller, const HttpRequest& request) = 0;
};

struct PeerCredentials {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // supplementary
};

// Lets through root, the daemon's own user and, when the mode of the socket file grants its group write access, the
// members of that group. The mode already keeps others from connecting; this holds when someone widens it, or hands on
// a descriptor.
class PeerAuthorizer final : public Authorizer {
 public:
  // `group` is the group of the socket file, `group_may_write` what its mode said when it was made.
  PeerAuthorizer(uid_t own_uid, gid_t group, bool group_may_write);

  Caller Identify(int socket) override;
  std::optional<HttpResponse> Check(const Caller& caller, const HttpRequest& request) override;

  bool Permits(const PeerCredentials& peer) const;

 private:
  const uid_t own_uid_;
  const gid_t group_;
  const bool group_may_write_;
};

}  // namespace glintfs
