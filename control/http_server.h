// HttpServer: HTTP/1.1 on a listening stream socket of any family, with TLS where that is wanted.
//
//   one I/O thread: accept, read, parse, write                     (never blocks)
//        │ request               ▲ admission   │ request  ▲ answer
//        ▼                       │             ▼          │
//   "ctl-auth": whom the authorizer         worker threads: handler  (may block)
//   cannot judge at once
//
// GET has workers of its own, so that a status answers while every PUT waits for a dead source; a GET that asks the source itself is
// with the PUTs.
// A request that is malformed, too large or too slow is answered with 400, 413, 431 or 408 and its connection is
// closed. Requests on one connection are answered in order (pipelining); a slow client delays nobody else.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "control/authorizer.h"
#include "control/http.h"
#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace glintfs {

class TlsContext;

struct HttpLimits {
  uint32_t header_bytes = 16 * 1024;
  uint64_t body_bytes = 64 * 1024;
  std::chrono::milliseconds handshake_time = std::chrono::seconds(10);  // of TLS, from the connection on
  std::chrono::milliseconds request_time = std::chrono::seconds(10);  // from the first byte of a request to its last
  std::chrono::milliseconds idle_time = std::chrono::seconds(30);     // without a request, on a connection kept alive
  std::chrono::milliseconds write_time = std::chrono::seconds(60);    // for the client to take an answer
  size_t connections = 64;  // beyond, a connection without a request gives way; if none does: 503, with TLS just closed
  std::chrono::milliseconds spare_time = std::chrono::seconds(1);     // so long it keeps its place all the same
  int read_workers = 2;                                               // for GET and HEAD
  int write_workers = 4;                                              // for everything else
};

class HttpServer {
 public:
  // Called from several threads at once; must not throw.
  using Handler = std::function<HttpResponse(const HttpRequest&)>;

  // `listener` listens and does not block. `tls` null: plain HTTP. kIo when threads or descriptors are short.
  static Result<std::unique_ptr<HttpServer>> Start(UniqueFd listener, std::shared_ptr<RequestAuthorizer> authorizer,
                                                   Handler handler, const HttpLimits& limits,
                                                   std::shared_ptr<TlsContext> tls = nullptr);

  virtual ~HttpServer() = default;  // stops

  // For connections from now on. REQUIRES: it was started with TLS. Thread-safe.
  virtual void SetTls(std::shared_ptr<TlsContext> tls) = 0;

  // Stops accepting, closes all connections and waits for handlers that have begun; answers no longer go out. May be
  // called twice, but from one thread.
  virtual void Stop() = 0;
};

}  // namespace glintfs
