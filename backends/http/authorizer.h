// Authorizer: what the requests of one source are authorised with, renewed when it expires. One per way to log in: fixed credentials
// (below), Keystone, the shared credentials file of S3.
#pragma once

#include <memory>
#include <stop_token>

#include "backends/http/credentials.h"
#include "fs/base/result.h"

namespace glintfs {

// Thread-safe.
class Authorizer {
 public:
  using Credentials = std::shared_ptr<const HttpCredentials>;

  virtual ~Authorizer() = default;

  // For the next request. May ask a server or read a file: blocks, and ends soon after `stop`. Errors are those of Backend::Stat.
  virtual Result<Credentials> Current(std::stop_token stop) = 0;

  // The server answered `status` (400, 401 or 403) to a request with these credentials. True: Current has better ones now, or will
  // get some: the request is sent once more. Quick: asks nobody.
  virtual bool Renew(long status, const Credentials& refused) = 0;
};

// The same credentials for ever.
class FixedAuthorizer final : public Authorizer {
 public:
  explicit FixedAuthorizer(HttpCredentials credentials)
      : credentials_(std::make_shared<const HttpCredentials>(std::move(credentials))) {}

  Result<Credentials> Current(std::stop_token) override { return credentials_; }
  bool Renew(long, const Credentials&) override { return false; }

 private:
  const Credentials credentials_;
};

}  // namespace glintfs
