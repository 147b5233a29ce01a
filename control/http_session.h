// HttpSession: one connection of an HttpServer, from accept to close. Everything here runs on the server's I/O thread, so sessions need
// no locks. A session is a chain of asynchronous steps that own it by shared_ptr:
//
//   [Handshake ─▶] WaitForRequest ─▶ ReadHeader ─▶ ReadBody ─▶ Authorize [⇢ ctl-auth ⇢] Decide ⇢ worker ⇢ Write ─▶ WaitForRequest
//                                        └────────────┴── bad ────┴────────────────────┴────────▶ Fail ─▶ Linger ─▶ Close
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string_view>

#include "control/http_server.h"
#include "control/transport.h"
#include "control/work_queue.h"

namespace glintfs {

class HttpSession;

// What sessions share. Outlives them.
struct HttpServerState {
  const HttpLimits limits;
  const HttpServer::Handler handler;
  const std::shared_ptr<RequestAuthorizer> authorizer;
  std::set<std::shared_ptr<HttpSession>> sessions;  // I/O thread only
  std::shared_ptr<TlsContext> tls;                  // likewise; null: plain HTTP
  boost::asio::io_context io{1};
  std::stop_source stopping;
  WorkQueue authorizers;
  WorkQueue readers;
  WorkQueue writers;
};

class HttpSession : public std::enable_shared_from_this<HttpSession> {
 public:
  HttpSession(HttpServerState& server, int family, int fd);
  void Start();
  void Refuse();
  bool refused() const { return refused_; }
  // Since when it waits for a whole request, the handshake of TLS included; nullopt while one is served.
  std::optional<std::chrono::steady_clock::time_point> waiting_since() const { return waiting_since_; }
  // Ends the session: pending steps finish with an error and drop it.
  void Close();

 private:
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;

  void StartTimer(std::chrono::milliseconds limit);
  void AwaitTimer(std::chrono::milliseconds limit, uint64_t turn);
  void StopTimer();
  void WaitForHandshake();
  void Handshake();
  // Reads rather than waits: TLS may hold bytes that the socket has no more.
  void WaitForRequest();
  void ReadHeader();
  void SendContinue();
  void ReadBody();
  void ReadFailed(const boost::system::error_code& error);
  void Dispatch();
  void Authorize(HttpRequest request);
  void Decide(Admission admission, HttpRequest request);
  void Fail(int status, std::string_view message);
  void Write(HttpResponse&& response);
  // A client still sending when its connection closes would see a broken pipe and not the answer: read on for a moment.
  void Linger();
  void EndSending();
  void Drain();

  HttpServerState& server_;
  Transport transport_;
  boost::asio::steady_timer timer_;
  uint64_t timer_turn_ = 0;
  bool timed_out_ = false;
  bool closed_ = false;
  bool refused_ = false;
  std::optional<std::chrono::steady_clock::time_point> waiting_since_;
  Caller caller_;

  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;  // of the request being read
  bool keep_alive_ = false;
  bool head_ = false;
  boost::beast::http::response<boost::beast::http::string_body> message_;  // being written
  std::optional<boost::beast::http::response_serializer<boost::beast::http::string_body>> serializer_;
  std::array<char, 4096> scratch_;
  size_t drained_ = 0;
};

}  // namespace glintfs
