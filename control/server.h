// ControlServer: the control API of one daemon on a Unix socket, on TCP, or both (docs/control-api.md).
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/http_server.h"
#include "control/router.h"
#include "control/service.h"
#include "control/tcp_listener.h"
#include "control/unix_listener.h"
#include "fs/base/result.h"

namespace glintfs {

class TokenChecker;

struct TcpControlOptions {
  TcpAddress address;
  std::string token_file;                  // who sends this token may; or, when it is empty,
  std::shared_ptr<TokenChecker> keystone;  // whose token this one knows, if it has
  std::vector<std::string> roles;          // one of these
  std::string tls_cert, tls_key;           // PEM files; empty: plain HTTP
};

struct ControlOptions {
  std::string socket_path;     // "/run/glintfs/images.sock"; its directory is made if missing. Empty: no Unix socket
  std::optional<gid_t> group;  // of the socket file; members may use it
  HttpLimits limits{};         // of each listener
  std::optional<TcpControlOptions> tcp{};
};

// All routes of the API: Glance's /v2, our /v1, /metrics. `service` must outlive the router.
Router MakeControlRouter(Service& service);

// Reads the files that `options` name, and forgets them. Errors are those that Start would have, but for the address.
Result<void> CheckTcpControl(const TcpControlOptions& options);

class ControlServer {
 public:
  // Listens and starts its threads (so: after the daemon has forked). `service` must outlive the server.
  // Errors, each one line that says what to do: see UnixListener::Listen, TcpListener::Listen, TokenAuthorizer::Load,
  // TlsContext::Load and HttpServer::Start.
  static Result<std::unique_ptr<ControlServer>> Start(const ControlOptions& options, Service& service);

  ~ControlServer();

  // Reads the token, certificate and key files again. What cannot be used is logged, and the old one stays.
  void Reload();

  // Closes sockets and connections, then waits for service calls that have begun. To end soon, cancel what the
  // service waits for (the source) before. May be called twice, but from one thread.
  void Stop();

  const std::string& socket_path() const { return unix_->path(); }  // absolute; REQUIRES: there is one
  std::string tcp_address() const { return tcp_address_; }          // "127.0.0.1:9393", with the real port; "" without TCP

 private:
  explicit ControlServer(Service& service) : router_(MakeControlRouter(service)) {}

  HttpServer::Handler Handler();
  Result<void> StartUnix(const ControlOptions& options);
  Result<void> StartTcp(const TcpControlOptions& options, const HttpLimits& limits);

  const Router router_;
  std::optional<UnixListener> unix_;
  std::string tcp_address_;
  std::string tls_cert_, tls_key_;
  std::shared_ptr<RequestAuthorizer> tcp_authorizer_;
  std::unique_ptr<HttpServer> unix_server_;
  std::unique_ptr<HttpServer> tcp_server_;
};

}  // namespace glintfs
