// TokenChecker: whose a token is that somebody else sent, as Keystone says. The token vouches for itself, so that no account of
// ours is needed: Keystone's default policy lets every token ask about itself.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "backends/registry.h"
#include "fs/base/clock.h"
#include "fs/base/result.h"

namespace glintfs {

struct TokenOwner {
  std::string user;    // "Default/admin", printable
  std::string scope;   // "project Default/demo"; empty: the token has none, and therefore no roles
  std::vector<std::string> roles;
  Nanos expires_at{0};  // since 1970, by Keystone's clock
};

// Thread-safe.
class TokenChecker {
 public:
  virtual ~TokenChecker() = default;

  // Blocks, and ends soon after `stop`. kAccessDenied: Keystone does not know the token, or no more. kUnavailable, kTimedOut,
  // kCancelled, kInvalid (not a Keystone v3, or one that does not let tokens ask about themselves): it cannot be told.
  virtual Result<TokenOwner> Check(const std::string& token, std::stop_token stop) = 0;

  virtual const std::string& keystone() const = 0;  // its URL
};

// `url` empty: that of the cloud in the settings, or OS_AUTH_URL. Contacts nothing. kInvalid when there is none, or for no URL.
Result<std::shared_ptr<TokenChecker>> MakeTokenChecker(const std::string& url, const BackendOptions& options);

// The body of an answer to GET /v3/auth/tokens. kInvalid when it is none. Pure.
Result<TokenOwner> ParseTokenOwner(std::string_view body);

// Whether it could be one: printable, and not endless. A line break would become another header. Pure.
bool IsTokenText(std::string_view text);

}  // namespace glintfs
