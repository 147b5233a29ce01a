#include "control/server.h"

#include <unistd.h>

#include <iterator>
#include <utility>
#include <vector>

#include "control/admin_api.h"
#include "control/authorizer.h"
#include "control/cache_api.h"
#include "control/metrics.h"
#include "control/operate_api.h"
#include "fs/base/log.h"

namespace glintfs {

Router MakeControlRouter(Service& service) {
  std::vector<Route> routes;
  for (auto part : {CacheRoutes(service), AdminRoutes(service), OperateRoutes(service), MetricsRoutes(service)}) {
    routes.insert(routes.end(), std::make_move_iterator(part.begin()), std::make_move_iterator(part.end()));
  }
  return Router(std::move(routes));
}

ControlServer::ControlServer(UnixListener listener, Service& service)
    : listener_(std::move(listener)), router_(MakeControlRouter(service)) {}

ControlServer::~ControlServer() { Stop(); }

Result<std::unique_ptr<ControlServer>> ControlServer::Start(const ControlOptions& options, Service& service) {
  GLINTFS_ASSIGN(UnixListener listener, UnixListener::Listen(options.socket_path, options.group));
  std::unique_ptr<ControlServer> control(new ControlServer(std::move(listener), service));
  auto authorizer =
      std::make_unique<PeerAuthorizer>(::geteuid(), control->listener_.group(), control->listener_.group_may_write());
  const Router& router = control->router_;
  GLINTFS_ASSIGN(control->server_,
                 HttpServer::Start(
                     control->listener_.TakeDescriptor(), std::move(authorizer),
                     [&router](const HttpRequest& request) { return router.Handle(request); }, options.limits));
  LogInfo("control: listening on {}", control->socket_path());
  return control;
}

void ControlServer::Stop() {
  if (server_) server_->Stop();
}

}  // namespace glintfs
