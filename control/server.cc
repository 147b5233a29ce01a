// Each listener has an HttpServer of its own: whoever fills the one over TCP leaves the Unix socket to those on the machine.
#include "control/server.h"

#include <unistd.h>

#include <iterator>
#include <utility>
#include <vector>

#include "control/admin_api.h"
#include "control/authorizer.h"
#include "control/cache_api.h"
#include "control/glance_discovery.h"
#include "control/keystone_authorizer.h"
#include "control/metrics.h"
#include "control/operate_api.h"
#include "control/tls.h"
#include "control/token_authorizer.h"
#include "fs/base/log.h"

namespace glintfs {
namespace {

Result<std::shared_ptr<RequestAuthorizer>> MakeTcpAuthorizer(const TcpControlOptions& options) {
  if (options.token_file.empty() && options.keystone) {
    return std::shared_ptr<RequestAuthorizer>(std::make_shared<KeystoneAuthorizer>(options.keystone, options.roles));
  }
  GLINTFS_ASSIGN(std::shared_ptr<TokenAuthorizer> authorizer, TokenAuthorizer::Load(options.token_file));
  return std::shared_ptr<RequestAuthorizer>(std::move(authorizer));
}

Result<std::shared_ptr<TlsContext>> MakeTls(const std::string& cert, const std::string& key) {
  if (cert.empty()) return std::shared_ptr<TlsContext>();
  return TlsContext::Load(cert, key);
}

}  // namespace

Router MakeControlRouter(Service& service) {
  std::vector<Route> routes;
  for (auto part : {CacheRoutes(service), GlanceRoutes(service), AdminRoutes(service), OperateRoutes(service),
                    MetricsRoutes(service)}) {
    routes.insert(routes.end(), std::make_move_iterator(part.begin()), std::make_move_iterator(part.end()));
  }
  return Router(std::move(routes));
}

Result<void> CheckTcpControl(const TcpControlOptions& options) {
  GLINTFS_TRY(MakeTcpAuthorizer(options));
  GLINTFS_TRY(MakeTls(options.tls_cert, options.tls_key));
  return {};
}

ControlServer::~ControlServer() { Stop(); }

Result<std::unique_ptr<ControlServer>> ControlServer::Start(const ControlOptions& options, Service& service) {
  std::unique_ptr<ControlServer> control(new ControlServer(service));
  if (!options.socket_path.empty()) GLINTFS_TRY(control->StartUnix(options));
  if (options.tcp) GLINTFS_TRY(control->StartTcp(*options.tcp, options.limits));
  return control;
}

HttpServer::Handler ControlServer::Handler() {
  return [this](const HttpRequest& request) { return router_.Handle(request); };
}

Result<void> ControlServer::StartUnix(const ControlOptions& options) {
  GLINTFS_ASSIGN(UnixListener listener, UnixListener::Listen(options.socket_path, options.group));
  unix_.emplace(std::move(listener));
  auto authorizer = std::make_shared<PeerAuthorizer>(::geteuid(), unix_->group(), unix_->group_may_write());
  GLINTFS_ASSIGN(unix_server_, HttpServer::Start(unix_->TakeDescriptor(), std::move(authorizer), Handler(), options.limits));
  LogInfo("control: listening on {}", socket_path());
  return {};
}

Result<void> ControlServer::StartTcp(const TcpControlOptions& options, const HttpLimits& limits) {
  GLINTFS_ASSIGN(tcp_authorizer_, MakeTcpAuthorizer(options));
  tls_cert_ = options.tls_cert;
  tls_key_ = options.tls_key;
  GLINTFS_ASSIGN(std::shared_ptr<TlsContext> tls, MakeTls(tls_cert_, tls_key_));
  const bool encrypted = tls != nullptr;
  GLINTFS_ASSIGN(TcpListener listener, TcpListener::Listen(options.address));
  tcp_address_ = listener.address().Text();
  GLINTFS_ASSIGN(tcp_server_, HttpServer::Start(listener.TakeDescriptor(), tcp_authorizer_, Handler(), limits, std::move(tls)));
  LogInfo("control: listening on {}://{}, {}", encrypted ? "https" : "http", tcp_address_,
          options.token_file.empty() ? fmt::format("for roles {} of Keystone", fmt::join(options.roles, ", "))
                                     : "with the token of " + options.token_file);
  if (!encrypted && !options.address.loopback())
    LogWarn("control: {} can be reached from other machines without TLS: tokens can be read on the way; set control_tls_cert and "
            "control_tls_key, or listen on 127.0.0.1", tcp_address_);
  return {};
}

void ControlServer::Reload() {
  if (!tcp_server_) return;
  if (auto read = tcp_authorizer_->Reload(); !read) LogError("SIGHUP: the old token stays: {}", read.error().message);
  if (tls_cert_.empty()) return;
  if (auto tls = TlsContext::Load(tls_cert_, tls_key_)) {
    tcp_server_->SetTls(std::move(*tls));
  } else {
    LogError("SIGHUP: the old certificate stays: {}", tls.error().message);
  }
}

void ControlServer::Stop() {
  if (tcp_server_) tcp_server_->Stop();
  if (unix_server_) unix_server_->Stop();
}

}  // namespace glintfs
