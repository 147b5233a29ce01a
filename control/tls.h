// TlsContext: certificate and key of a listener that speaks TLS 1.2 and 1.3, nothing older.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <string>

#include "fs/base/result.h"

namespace glintfs {

// Immutable after Load, therefore thread-safe.
class TlsContext {
 public:
  // PEM files: the certificate with its chain, and its private key, which has no passphrase. kInvalid, naming the file, when
  // one cannot be read or the two do not belong together.
  static Result<std::shared_ptr<TlsContext>> Load(const std::string& cert_file, const std::string& key_file);

  boost::asio::ssl::context& native() { return context_; }

 private:
  TlsContext() : context_(boost::asio::ssl::context::tls_server) {}

  boost::asio::ssl::context context_;
};

}  // namespace glintfs
