#include "control/authorizer.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "control/reply.h"
#include "fs/base/log.h"

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

namespace glintfs {
namespace {

std::optional<PeerCredentials> ReadCredentials(int socket) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return std::nullopt;
  PeerCredentials peer{credentials.uid, credentials.gid, {}};
  length = 0;  // the first call tells how much there is
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, nullptr, &length) != 0 && errno == ERANGE && length > 0) {
    peer.groups.resize(length / sizeof(gid_t));
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, peer.groups.data(), &length) != 0) peer.groups.clear();
  }
  return peer;
}

}  // namespace

Admission RequestAuthorizer::Check(const Caller& caller, const HttpRequest& request, std::stop_token) {
  return CheckAtOnce(caller, request).value_or(Admission{ErrorResponse(403, "refused"), caller.name});
}

PeerAuthorizer::PeerAuthorizer(uid_t own_uid, gid_t group, bool group_may_write)
    : own_uid_(own_uid), group_(group), group_may_write_(group_may_write) {}

bool PeerAuthorizer::Permits(const PeerCredentials& peer) const {
  if (peer.uid == 0 || peer.uid == own_uid_) return true;
  if (!group_may_write_) return false;
  return peer.gid == group_ || std::find(peer.groups.begin(), peer.groups.end(), group_) != peer.groups.end();
}

Caller PeerAuthorizer::Identify(int socket) {
  const auto peer = ReadCredentials(socket);
  if (!peer) return {"unknown", false};
  return {fmt::format("uid {}", peer->uid), Permits(*peer)};
}

std::optional<Admission> PeerAuthorizer::CheckAtOnce(const Caller& caller, const HttpRequest& request) {
  if (!caller.permitted) {
    LogWarn("control: refused {} {} to {}", request.method, request.path, caller.name);
    return Admission{ErrorResponse(403, caller.name + " may not use this socket: be root, the daemon's user or in the socket's group"),
                   caller.name};
  }
  if (request.method != "GET" && request.method != "HEAD") {
    LogDebug("control: {} {} by {}", request.method, request.path, caller.name);
  }
  return Admission{std::nullopt, caller.name};
}

}  // namespace glintfs
