// TokenAuthorizer: lets through who sends the one token of a file. The comparison takes the same time whatever is sent.
#pragma once

#include <memory>
#include <string>

#include "control/authorizer.h"
#include "control/token.h"
#include "fs/base/mutex.h"

namespace glintfs {

class TokenAuthorizer final : public RequestAuthorizer {
 public:
  // The token is the first line of the file. kInvalid when there is none, or a short one.
  static Result<std::shared_ptr<TokenAuthorizer>> Load(const std::string& token_file);

  Caller Identify(int socket) override;
  std::optional<Admission> CheckAtOnce(const Caller& caller, const HttpRequest& request) override;
  Result<void> Reload() override;

 private:
  TokenAuthorizer(std::string path, const TokenHash& hash) : path_(std::move(path)), hash_(hash) {}

  const std::string path_;
  RefusalLog refusals_;
  Mutex mu_;
  TokenHash hash_ GUARDED_BY(mu_);
};

}  // namespace glintfs
