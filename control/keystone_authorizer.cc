#include "control/keystone_authorizer.h"

#include <fmt/format.h>

#include <algorithm>

#include "control/reply.h"
#include "control/tcp_listener.h"
#include "fs/base/log.h"

namespace glintfs {
namespace {

constexpr Nanos kLongestGood = std::chrono::minutes(5);
constexpr Nanos kBad = std::chrono::seconds(5);
constexpr Nanos kDown = std::chrono::seconds(2);

}  // namespace

KeystoneAuthorizer::KeystoneAuthorizer(std::shared_ptr<TokenChecker> checker, std::vector<std::string> roles, const Clock& clock)
    : checker_(std::move(checker)),
      roles_(std::move(roles)),
      challenge_(fmt::format("Keystone uri=\"{}\"", checker_->keystone())),
      clock_(clock) {}

Caller KeystoneAuthorizer::Identify(int socket) { return {PeerText(socket), true}; }

std::optional<Admission> KeystoneAuthorizer::CheckAtOnce(const Caller& caller, const HttpRequest& request) {
  TokenOrRefusal given = TokenOf(request, challenge_);
  if (given.refusal) {
    LogDebug("control: {} {} by {} without a usable token", request.method, request.path, caller.name);
    return Admission{std::move(given.refusal), caller.name};
  }
  const Nanos now = clock_.Now();
  if (const auto known = cache_.Find(HashOf(given.token), now)) return Answer(caller, request, *known);
  std::string why;
  {
    MutexLock lock(mu_);
    if (now >= down_until_) return std::nullopt;
    why = down_why_;
  }
  return Admission{ErrorResponse(503, why), caller.name};
}

Admission KeystoneAuthorizer::Check(const Caller& caller, const HttpRequest& request, std::stop_token stop) {
  if (auto admission = CheckAtOnce(caller, request)) return std::move(*admission);  // somebody else was told meanwhile
  const std::string token = TokenOf(request, challenge_).token;
  auto owner = checker_->Check(token, std::move(stop));
  if (!owner && owner.error().code != Errc::kAccessDenied) return CannotAsk(caller, request, owner.error());
  const TokenAnswerKept answer = owner ? Judge(*owner) : TokenAnswerKept{401, owner.error().message};
  const Nanos now = clock_.Now();
  const Nanos good = owner ? std::min(kLongestGood, owner->expires_at - clock_.WallNow()) : Nanos(0);
  cache_.Put(HashOf(token), answer, now, now + (answer.status == 0 ? good : kBad));
  return Answer(caller, request, answer);
}

TokenAnswerKept KeystoneAuthorizer::Judge(const TokenOwner& owner) const {
  if (owner.scope.empty())
    return {403, fmt::format("the token of {} has no scope and therefore no roles: log in to a project", owner.user)};
  // Upper and lower case are one to OpenStack's policies.
  for (const std::string& role : roles_) {
    const auto same = [&role](const std::string& given) { return EqualsIgnoringCase(given, role); };
    if (std::any_of(owner.roles.begin(), owner.roles.end(), same)) return {0, fmt::format("{} of {}", owner.user, owner.scope)};
  }
  return {403, fmt::format("{} has none of the roles {} in {}", owner.user, fmt::join(roles_, ", "), owner.scope)};
}

Admission KeystoneAuthorizer::Answer(const Caller& caller, const HttpRequest& request, const TokenAnswerKept& answer) {
  if (answer.status == 0) {
    if (request.method != "GET" && request.method != "HEAD")
      LogDebug("control: {} {} by {} at {}", request.method, request.path, answer.text, caller.name);
    return {std::nullopt, fmt::format("{} at {}", answer.text, caller.name)};
  }
  refusals_.Note(caller, request, answer.text);
  if (answer.status == 403) return {ErrorResponse(403, answer.text), caller.name};
  return {Unauthorized(answer.text, challenge_), caller.name};
}

Admission KeystoneAuthorizer::CannotAsk(const Caller& caller, const HttpRequest& request, const Error& error) {
  const std::string why = "the token cannot be checked: " + error.message;
  if (error.code != Errc::kCancelled) {
    refusals_.Note(caller, request, why);
    MutexLock lock(mu_);
    down_until_ = clock_.Now() + kDown;
    down_why_ = why;
  }
  return {ErrorResponse(503, why), caller.name};
}

}  // namespace glintfs
