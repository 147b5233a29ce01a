// KeyFile: signs the requests to S3, with keys that are read again when the server refuses them.
#pragma once

#include <string>

#include "backends/http/authorizer.h"
#include "backends/s3/keys.h"
#include "fs/base/mutex.h"

namespace glintfs {

// What signs a request: the payload is empty, and is left out of the signature.
HttpCredentials SigningCredentials(const S3Keys& keys, const std::string& region);

// Thread-safe.
class KeyFile final : public Authorizer {
 public:
  // `keys` is what `source` holds now.
  KeyFile(S3KeySource source, S3Keys keys, std::string region);

  Result<Credentials> Current(std::stop_token stop) override;
  // A refusal may also mean that something else is not allowed: true only when the files hold other keys by now.
  bool Renew(long status, const Credentials& refused) override;

 private:
  const S3KeySource source_;
  const std::string region_;
  Mutex mu_;
  S3Keys keys_ GUARDED_BY(mu_);
  Credentials current_ GUARDED_BY(mu_);
};

}  // namespace glintfs
