// Transport: the bytes of one connection, over a socket of any family, with or without TLS. An AsyncReadStream and
// AsyncWriteStream for Beast and Asio. Used by one thread.
#pragma once

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <optional>
#include <utility>

#include "control/tls.h"

namespace glintfs {

class Transport {
 public:
  using Socket = boost::asio::basic_stream_socket<boost::asio::generic::stream_protocol>;
  using executor_type = Socket::executor_type;

  explicit Transport(boost::asio::io_context& io) : socket_(io) {}
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  Socket& socket() { return socket_; }
  executor_type get_executor() { return socket_.get_executor(); }

  // From here on everything goes through TLS. REQUIRES: nothing is pending.
  void UseTls(TlsContext& context) { tls_.emplace(socket_, context.native()); }
  bool tls() const { return tls_.has_value(); }
  // REQUIRES: tls()
  template <typename Handler>
  void async_handshake(Handler&& done) {
    tls_->async_handshake(boost::asio::ssl::stream_base::server, std::forward<Handler>(done));
  }
  template <typename Handler>
  void async_close_notify(Handler&& done) {
    tls_->async_shutdown(std::forward<Handler>(done));
  }

  template <typename Buffers, typename Handler>
  void async_read_some(const Buffers& buffers, Handler&& done) {
    if (tls_) return tls_->async_read_some(buffers, std::forward<Handler>(done));
    socket_.async_read_some(buffers, std::forward<Handler>(done));
  }
  template <typename Buffers, typename Handler>
  void async_write_some(const Buffers& buffers, Handler&& done) {
    if (tls_) return tls_->async_write_some(buffers, std::forward<Handler>(done));
    socket_.async_write_some(buffers, std::forward<Handler>(done));
  }

 private:
  Socket socket_;
  std::optional<boost::asio::ssl::stream<Socket&>> tls_;
};

}  // namespace glintfs
