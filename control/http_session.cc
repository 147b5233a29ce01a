// beast::basic_stream has timeouts of its own, but closes the socket when one passes, which leaves no way to answer 408: the session
// has a timer that cancels what is pending instead. The socket type is generic::stream_protocol, so that a listener may as well be a
// TCP socket.
//
// A TLS port that is spoken to in plain HTTP says so in plain HTTP: the first byte of a TLS handshake is none of a method.
#include "control/http_session.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <string>
#include <utility>

#include "control/reply.h"
#include "fs/base/log.h"

namespace glintfs {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using Socket = Transport::Socket;

constexpr std::chrono::milliseconds kLingerTime{1000};
constexpr size_t kLingerBytes = 1 << 20;
constexpr size_t kFirstRead = 4096;
constexpr unsigned char kTlsHandshake = 0x16;  // the first byte of a client that speaks TLS

// GETs that wait for the source, which may hang: they go with those that change something.
bool AsksTheSource(std::string_view path) {
  return path == "/v1/source" || path == "/v1/doctor" || path.starts_with("/v2/images");
}

std::string_view View(boost::beast::string_view text) { return {text.data(), text.size()}; }

}  // namespace

HttpSession::HttpSession(HttpServerState& server, int family, int fd)
    : server_(server),
      transport_(server.io),
      timer_(server.io),
      buffer_(server.limits.header_bytes + server.limits.body_bytes) {
  error_code ignored;
  transport_.socket().assign(asio::generic::stream_protocol(family, 0), fd, ignored);
  const int yes = 1;  // an answer is written at once: waiting for more of it only delays it
  if (family != AF_UNIX) ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  caller_ = server.authorizer->Identify(fd);
}

void HttpSession::Start() {
  waiting_since_ = std::chrono::steady_clock::now();
  if (server_.tls) return WaitForHandshake();
  WaitForRequest();
}

void HttpSession::Refuse() {
  refused_ = true;
  Fail(503, "too many connections, try again soon");
}

void HttpSession::Close() {
  closed_ = true;
  timer_.cancel();
  error_code ignored;
  transport_.socket().close(ignored);
  server_.sessions.erase(shared_from_this());
}

void HttpSession::StartTimer(std::chrono::milliseconds limit) {
  timed_out_ = false;
  AwaitTimer(limit, ++timer_turn_);
}

void HttpSession::AwaitTimer(std::chrono::milliseconds limit, uint64_t turn) {
  timer_.expires_after(limit);
  timer_.async_wait([self = shared_from_this(), turn](error_code error) {
    // A timer that expired just before it was set anew still comes here, without an error: the turn tells.
    if (error || self->closed_ || turn != self->timer_turn_) return;
    self->timed_out_ = true;
    error_code ignored;
    self->transport_.socket().cancel(ignored);
    // A composed read may have been between two of its steps, with nothing to cancel: look again.
    self->AwaitTimer(std::chrono::milliseconds(50), turn);
  });
}

void HttpSession::StopTimer() {
  ++timer_turn_;
  timer_.cancel();
}

void HttpSession::WaitForHandshake() {
  StartTimer(server_.limits.handshake_time);
  transport_.socket().async_wait(Socket::wait_read, [self = shared_from_this()](error_code error) {
    if (self->closed_) return;
    if (error) return self->Close();
    unsigned char first = 0;
    if (::recv(self->transport_.socket().native_handle(), &first, 1, MSG_PEEK) != 1) return self->Close();
    if (first != kTlsHandshake) return self->Fail(400, "this port speaks TLS only: use https://");
    self->Handshake();
  });
}

void HttpSession::Handshake() {
  transport_.UseTls(*server_.tls);
  transport_.async_handshake([self = shared_from_this()](error_code error) {
    if (self->closed_) return;
    if (error) {
      LogDebug("control: TLS with {} failed: {}", self->caller_.name, self->timed_out_ ? "too slow" : error.message());
      return self->Close();
    }
    self->WaitForRequest();
  });
}

void HttpSession::WaitForRequest() {
  if (buffer_.size() > 0) return ReadHeader();  // pipelined
  StartTimer(server_.limits.idle_time);
  transport_.async_read_some(buffer_.prepare(kFirstRead), [self = shared_from_this()](error_code error, size_t bytes) {
    if (self->closed_) return;
    if (error) return self->Close();
    self->buffer_.commit(bytes);
    self->ReadHeader();
  });
}

void HttpSession::ReadHeader() {
  parser_.emplace();
  parser_->header_limit(server_.limits.header_bytes);
  parser_->body_limit(server_.limits.body_bytes);
  StartTimer(server_.limits.request_time);
  http::async_read_header(transport_, buffer_, *parser_, [self = shared_from_this()](error_code error, size_t) {
    if (self->closed_) return;
    if (error) return self->ReadFailed(error);
    if (EqualsIgnoringCase(View(self->parser_->get()[http::field::expect]), "100-continue")) {
      return self->SendContinue();
    }
    self->ReadBody();
  });
}

void HttpSession::SendContinue() {
  static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  asio::async_write(transport_, asio::buffer(kContinue), [self = shared_from_this()](error_code error, size_t) {
    if (self->closed_) return;
    if (error) return self->Close();
    self->ReadBody();
  });
}

void HttpSession::ReadBody() {
  http::async_read(transport_, buffer_, *parser_, [self = shared_from_this()](error_code error, size_t) {
    if (self->closed_) return;
    if (error) return self->ReadFailed(error);
    self->Dispatch();
  });
}

void HttpSession::ReadFailed(const error_code& error) {
  const HttpLimits& limits = server_.limits;
  if (timed_out_) return Fail(408, "the request took too long to arrive");
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    return Fail(431, fmt::format("the header is longer than {} bytes", limits.header_bytes));
  }
  if (error == http::error::body_limit)
    return Fail(413, fmt::format("the body is longer than {} bytes", limits.body_bytes));
  if (error == http::error::end_of_stream || error == http::error::partial_message) return Close();
  if (error.category() == http::make_error_code(http::error::bad_method).category()) {
    return Fail(400, "not a valid HTTP request: " + error.message());
  }
  Close();
}

void HttpSession::Dispatch() {
  StopTimer();
  waiting_since_.reset();
  const auto& message = parser_->get();
  keep_alive_ = message.version() >= 11 && message.keep_alive();
  HttpRequest request;
  request.method = View(message.method_string());
  head_ = request.method == "HEAD";
  if (message.version() >= 11 && message.find(http::field::host) == message.end()) {
    return Fail(400, "a request needs a Host header");
  }
  if (!ParseTarget(View(message.target()), request)) return Fail(400, "the request target is not a valid path");
  for (const auto& field : message) request.headers.emplace_back(View(field.name_string()), View(field.value()));
  request.body = std::move(parser_->get().body());
  request.scheme = transport_.tls() ? "https" : "http";
  Authorize(std::move(request));
}

void HttpSession::Authorize(HttpRequest request) {
  if (auto admission = server_.authorizer->CheckAtOnce(caller_, request)) return Decide(std::move(*admission), std::move(request));
  server_.authorizers.Post([self = shared_from_this(), request = std::move(request)]() mutable {
    HttpServerState& server = self->server_;
    Admission admission = server.authorizer->Check(self->caller_, request, server.stopping.get_token());
    asio::post(server.io, [moved = std::move(self), admission = std::move(admission), request = std::move(request)]() mutable {
      moved->Decide(std::move(admission), std::move(request));
    });
  });
}

void HttpSession::Decide(Admission admission, HttpRequest request) {
  if (closed_) return;
  if (admission.refusal) {
    keep_alive_ = false;
    return Write(std::move(*admission.refusal));
  }
  request.caller = std::move(admission.caller);
  const bool quick = (request.method == "GET" || head_) && !AsksTheSource(request.path);
  WorkQueue& workers = quick ? server_.readers : server_.writers;
  workers.Post([self = shared_from_this(), request = std::move(request)]() mutable {
    HttpResponse response = self->server_.handler(request);
    asio::io_context& io = self->server_.io;
    // The session moves back to the I/O thread: a worker must never be the one that destroys it.
    asio::post(
        io, [moved = std::move(self), answer = std::move(response)]() mutable { moved->Write(std::move(answer)); });
  });
}

void HttpSession::Fail(int status, std::string_view message) {
  keep_alive_ = false;
  Write(ErrorResponse(status, message));
}

void HttpSession::Write(HttpResponse&& response) {
  if (closed_) return;
  message_ = {};
  message_.result(static_cast<unsigned>(response.status));
  message_.version(11);
  message_.keep_alive(keep_alive_);
  message_.set(http::field::server, "glintfs");
  if (!response.content_type.empty()) message_.set(http::field::content_type, response.content_type);
  for (const auto& [name, value] : response.headers) message_.set(name, value);
  // RFC 9110, 8.6: no Content-Length with a 204; a HEAD has that of the GET.
  if (response.status != 204) message_.content_length(response.body.size());
  message_.body() = std::move(response.body);
  serializer_.emplace(message_);
  StartTimer(server_.limits.write_time);
  auto done = [self = shared_from_this()](error_code error, size_t) {
    if (self->closed_) return;
    if (error) return self->Close();
    if (!self->keep_alive_) return self->Linger();
    self->waiting_since_ = std::chrono::steady_clock::now();
    self->WaitForRequest();
  };
  if (head_) return http::async_write_header(transport_, *serializer_, std::move(done));
  http::async_write(transport_, *serializer_, std::move(done));
}

void HttpSession::Linger() {
  StartTimer(kLingerTime);
  if (!transport_.tls()) return EndSending();
  transport_.async_close_notify([self = shared_from_this()](error_code) {
    if (self->closed_) return;
    if (self->timed_out_) return self->Close();
    self->EndSending();
  });
}

void HttpSession::EndSending() {
  error_code ignored;
  transport_.socket().shutdown(Socket::shutdown_send, ignored);
  Drain();
}

void HttpSession::Drain() {
  transport_.socket().async_read_some(asio::buffer(scratch_), [self = shared_from_this()](error_code error, size_t bytes) {
    if (self->closed_) return;
    self->drained_ += bytes;
    if (error || self->drained_ > kLingerBytes) return self->Close();
    self->Drain();
  });
}

}  // namespace glintfs
