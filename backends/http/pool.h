// ConnectionPool: kept-alive connections for everything that speaks HTTP.
//
// A Connection is a pair of libcurl handles {CURLM, CURL}: the multi handle owns the TCP/TLS connection, so the pair
// keeps it alive between requests, and it can be woken from another thread. Taken last-in first-out: the warmest one
// first, and those that are no longer needed age out. Thread-safe; a Lease belongs to one thread at a time.
#pragma once

#include <curl/curl.h>

#include <cstddef>
#include <memory>
#include <vector>

#include "backends/http/near_window.h"
#include "fs/base/mutex.h"

namespace glintfs {

struct Connection {
  explicit Connection(NearWindow& near_window);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  CURLM* multi;
  CURL* easy;
  NearWindow& window;
  curl_socket_t fresh_socket = CURL_SOCKET_BAD;  // opened, and no answer came over it yet
};

class ConnectionPool {
 public:
  // Keeps at most `max_idle` connections that nobody uses.
  explicit ConnectionPool(size_t max_idle) : max_idle_(max_idle) {}

  // Gives its connection back at the end of its scope. The pool must outlive it.
  class Lease {
   public:
    Lease(ConnectionPool& pool, std::unique_ptr<Connection> connection)
        : pool_(pool), connection_(std::move(connection)) {}
    ~Lease() { pool_.Return(std::move(connection_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    Connection& operator*() const { return *connection_; }

   private:
    ConnectionPool& pool_;
    std::unique_ptr<Connection> connection_;
  };

  // Never waits: makes another one when none is idle.
  Lease Take();

  size_t idle() const;

 private:
  void Return(std::unique_ptr<Connection> connection);

  const size_t max_idle_;
  NearWindow window_;
  mutable Mutex mu_;
  std::vector<std::unique_ptr<Connection>> idle_ GUARDED_BY(mu_);
};

}  // namespace glintfs
