#include "control/token_authorizer.h"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include <algorithm>

#include "backends/secret_file.h"
#include "control/reply.h"
#include "control/tcp_listener.h"
#include "fs/base/log.h"

namespace glintfs {
namespace {

constexpr char kSetting[] = "control_token_file";
constexpr char kChallenge[] = "Bearer realm=\"glintfs\"";
constexpr size_t kShortest = 16;  // bytes: what cannot be guessed over a network

Result<TokenHash> ReadHash(const std::string& path) {
  GLINTFS_ASSIGN(const std::string token, ReadSecretLine(path, kSetting));
  if (token.size() < kShortest)
    return Error{Errc::kInvalid,
                 fmt::format("{}={}: its token is shorter than {} characters; `openssl rand -hex 32` makes one", kSetting, path, kShortest)};
  if (std::any_of(token.begin(), token.end(), [](char c) { return c <= 0x20 || c >= 0x7f; }))
    return Error{Errc::kInvalid, fmt::format("{}={}: a token is printable ASCII without blanks", kSetting, path)};
  return HashOf(token);
}

}  // namespace

Result<std::shared_ptr<TokenAuthorizer>> TokenAuthorizer::Load(const std::string& token_file) {
  GLINTFS_ASSIGN(const TokenHash hash, ReadHash(token_file));
  return std::shared_ptr<TokenAuthorizer>(new TokenAuthorizer(token_file, hash));
}

Result<void> TokenAuthorizer::Reload() {
  GLINTFS_ASSIGN(const TokenHash hash, ReadHash(path_));
  MutexLock lock(mu_);
  hash_ = hash;
  return {};
}

Caller TokenAuthorizer::Identify(int socket) { return {PeerText(socket), true}; }

std::optional<Admission> TokenAuthorizer::CheckAtOnce(const Caller& caller, const HttpRequest& request) {
  TokenOrRefusal given = TokenOf(request, kChallenge);
  if (given.refusal) {
    LogDebug("control: {} {} by {} without a usable token", request.method, request.path, caller.name);
    return Admission{std::move(given.refusal), caller.name};
  }
  const TokenHash hash = HashOf(given.token);
  bool same = false;
  {
    MutexLock lock(mu_);
    same = ::CRYPTO_memcmp(hash.data(), hash_.data(), hash.size()) == 0;
  }
  if (!same) {
    refusals_.Note(caller, request, "wrong token");
    return Admission{Unauthorized("wrong token", kChallenge), caller.name};
  }
  return Admission{std::nullopt, caller.name};
}

}  // namespace glintfs
