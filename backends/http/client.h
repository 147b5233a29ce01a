// HttpClient: requests over a connection pool, with timeouts, redirects and cancellation. What is common to every
// backend that speaks HTTP; knows nothing of images.
//
// Thread-safe: each Perform uses a connection of its own.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "backends/http/authorizer.h"
#include "backends/http/headers.h"
#include "backends/http/pool.h"
#include "backends/http/url.h"
#include "fs/base/clock.h"
#include "fs/base/result.h"

namespace glintfs {

struct HttpSettings {
  Nanos connect_timeout = std::chrono::seconds(10);
  Nanos first_byte_timeout = std::chrono::seconds(20);  // from the request sent to the first header of the answer
  uint64_t low_speed_limit = 1024;                      // bytes/s; see SpeedGuard
  Nanos low_speed_time = std::chrono::seconds(20);
  std::string ca_file;  // PEM; empty: the system's
  size_t max_idle_connections = 16;
};

struct OriginRequest {
  bool head = false;  // HEAD instead of GET
  HttpUrl url;
  std::vector<std::string> headers{};  // "Name: value"
  // Set: a POST of this body. It may hold secrets and appears in no message.
  std::optional<std::string> post{};
  // A redirect that only adds a '/' to the path is how servers say "this is a directory": handed back, not followed.
  bool stop_at_directory = false;
  bool follow_redirects = true;  // false: a redirect is an answer like any other
};

struct OriginResponse {
  long status = 0;
  HttpHeaders headers;
  HttpUrl url;  // what answered, after redirects
  bool http2 = false;
  bool is_directory = false;  // a redirect that only adds a '/', handed back because of stop_at_directory
};

// Receives the answer that redirects led to. Called from the thread in Perform.
class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  // Once, before any body. false: the body is not wanted. An error ends the request with it.
  virtual Result<bool> OnHeaders(const OriginResponse& response) = 0;
  // false: enough.
  virtual Result<bool> OnBody(std::span<const std::byte> data) = 0;
};

class HttpClient {
 public:
  // `authorizer` may be null: requests are anonymous then. What it gives is sent to the origin (HttpUrl::Origin) that a request is
  // addressed to, not to another one that it redirects to.
  HttpClient(HttpSettings settings, std::shared_ptr<Authorizer> authorizer);

  // The answer, whatever its status; the body went to `handler`. kUnavailable and kTimedOut when there was none,
  // kInvalid for one that is no HTTP, kCancelled at once after `stop`, or the error of `handler` or the authorizer. A request whose
  // credentials are refused is sent once more if the authorizer has newer ones.
  Result<OriginResponse> Perform(const OriginRequest& request, HttpHandler& handler, std::stop_token stop);

  // "GET http://host/x", for messages.
  static std::string Describe(const OriginRequest& request);

 private:
  const HttpSettings settings_;
  const std::shared_ptr<Authorizer> authorizer_;
  ConnectionPool pool_;
};

// The error for an answer whose status is not the one asked for.
Error StatusError(const OriginRequest& request, const OriginResponse& response);

}  // namespace glintfs
