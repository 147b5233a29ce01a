// Design: one I/O thread accepts and runs the sessions (http_session.h), workers run the handlers. Connections are accepted with
// accept4, so that a listener may as well be a TCP socket.
#include "control/http_server.h"

#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <utility>

#include "control/http_session.h"
#include "fs/base/log.h"
#include "fs/base/thread.h"

namespace glintfs {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr std::chrono::milliseconds kAcceptPause{200};  // when descriptors run out

class BeastServer final : public HttpServer {
 public:
  BeastServer(UniqueFd listener, const std::shared_ptr<RequestAuthorizer>& authorizer, Handler handler, const HttpLimits& limits,
              std::shared_ptr<TlsContext> tls)
      : state_{limits,
               std::move(handler),
               authorizer,
               {},
               std::move(tls),
               asio::io_context{1},
               {},
               {"ctl-auth", authorizer->threads()},
               {"ctl-read", limits.read_workers},
               {"ctl-write", limits.write_workers}},
        listener_(state_.io, listener.Release()),
        pause_(state_.io) {
    Accept();
    thread_ = Thread("ctl-io", [this](std::stop_token) { RunIo(); });
  }
  ~BeastServer() override { Stop(); }

  void SetTls(std::shared_ptr<TlsContext> tls) override {
    asio::post(state_.io, [this, tls = std::move(tls)]() mutable { state_.tls = std::move(tls); });
  }

  void Stop() override {
    state_.stopping.request_stop();
    state_.authorizers.Cancel();
    state_.readers.Cancel();
    state_.writers.Cancel();
    asio::post(state_.io, [this] {
      error_code ignored;
      listener_.close(ignored);
      while (!state_.sessions.empty()) std::shared_ptr<HttpSession>(*state_.sessions.begin())->Close();
      state_.io.stop();
    });
    thread_.Join();
    state_.authorizers.Stop();
    state_.readers.Stop();
    state_.writers.Stop();
  }

 private:
  void RunIo() {
    for (;;) {
      try {
        state_.io.run();
        return;
      } catch (const std::exception& error) {  // out of memory, in a step of one session
        LogError("control: {}", error.what());
      }
    }
  }

  void Accept() {
    listener_.async_wait(asio::posix::stream_descriptor::wait_read, [this](error_code error) {
      if (error) return;
      if (AcceptReady()) return Accept();
      pause_.expires_after(kAcceptPause);
      pause_.async_wait([this](error_code stopped) {
        if (!stopped) Accept();
      });
    });
  }

  // Takes what waits in the backlog. False when there are no descriptors left.
  bool AcceptReady() {
    for (;;) {
      sockaddr_storage address{};
      socklen_t length = sizeof address;
      const int fd = ::accept4(listener_.native_handle(), reinterpret_cast<sockaddr*>(&address), &length,
                               SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd < 0) {
        if (errno == EINTR || errno == ECONNABORTED) continue;
        if (errno == EAGAIN) return true;
        LogWarn("control: {}", ErrnoError(errno, "cannot accept a connection").message);
        return false;
      }
      StartSession(address.ss_family, fd);
    }
  }

  // Closes the connection that has waited longest without sending a request, so that clients who keep theirs open, or never had
  // a token, do not keep others out. False when all are served, or have only just come.
  bool MakeRoom() {
    const auto now = std::chrono::steady_clock::now();
    std::shared_ptr<HttpSession> longest;
    for (const auto& session : state_.sessions) {
      const auto since = session->waiting_since();
      if (since && now - *since >= state_.limits.spare_time && (!longest || *since < *longest->waiting_since())) longest = session;
    }
    if (longest) longest->Close();
    return longest != nullptr;
  }

  void StartSession(int family, int fd) {
    size_t open = state_.sessions.size();
    const size_t refused = std::count_if(state_.sessions.begin(), state_.sessions.end(),
                                         [](const std::shared_ptr<HttpSession>& session) { return session->refused(); });
    const size_t most = state_.limits.connections;
    if (open - refused >= most && MakeRoom()) --open;
    // Those waiting for their 503 are too many as well; and it would take a handshake to say so over TLS.
    if (refused >= most || (state_.tls && open >= most)) {
      ::close(fd);
      return;
    }
    auto session = std::make_shared<HttpSession>(state_, family, fd);
    state_.sessions.insert(session);
    if (open - refused >= most) return session->Refuse();
    session->Start();
  }

  HttpServerState state_;
  asio::posix::stream_descriptor listener_;
  asio::steady_timer pause_;
  Thread thread_;
};

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::Start(UniqueFd listener, std::shared_ptr<RequestAuthorizer> authorizer,
                                                      Handler handler, const HttpLimits& limits,
                                                      std::shared_ptr<TlsContext> tls) {
  try {
    return std::unique_ptr<HttpServer>(
        std::make_unique<BeastServer>(std::move(listener), authorizer, std::move(handler), limits, std::move(tls)));
  } catch (const std::exception& error) {
    return Error{Errc::kIo, fmt::format("cannot start the control server: {}", error.what())};
  }
}

}  // namespace glintfs
