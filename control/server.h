// ControlServer: the control API of one daemon on a Unix socket (docs/control-api.md).
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>

#include "control/http_server.h"
#include "control/router.h"
#include "control/service.h"
#include "control/unix_listener.h"
#include "fs/base/result.h"

namespace glintfs {

struct ControlOptions {
  std::string socket_path;     // "/run/glintfs/images.sock"; its directory is made if missing
  std::optional<gid_t> group;  // of the socket file; members may use it
  HttpLimits limits;
};

// All routes of the API: Glance's /v2/cache, our /v1, /metrics. `service` must outlive the router.
Router MakeControlRouter(Service& service);

class ControlServer {
 public:
  // Listens and starts its threads (so: after the daemon has forked). `service` must outlive the server.
  // Errors, each one line that says what to do: see UnixListener::Listen and HttpServer::Start.
  static Result<std::unique_ptr<ControlServer>> Start(const ControlOptions& options, Service& service);

  ~ControlServer();

  // Closes the socket and all connections, then waits for service calls that have begun. To end soon, cancel what the
  // service waits for (the source) before. May be called twice, but from one thread.
  void Stop();

  const std::string& socket_path() const { return listener_.path(); }  // absolute

 private:
  ControlServer(UnixListener listener, Service& service);

  UnixListener listener_;
  const Router router_;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace glintfs
