// KeystoneAuthorizer: lets through whose token Keystone knows and gives one of some roles.
//
//   known and fresh ──▶ passed or refused at once, on the I/O thread
//   anything else ────▶ asked on a thread of "ctl-auth", then known: 5 minutes for those that may, 5 s for those that may not
//
// A Keystone that does not answer therefore delays those alone who come with a token that is not known yet; they get 503, and for
// two seconds everybody like them does at once. A token that is revoked is good until it is asked about again.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backends/openstack/token_check.h"
#include "control/authorizer.h"
#include "control/token.h"
#include "control/token_cache.h"
#include "fs/base/clock.h"
#include "fs/base/mutex.h"

namespace glintfs {

class KeystoneAuthorizer final : public RequestAuthorizer {
 public:
  // REQUIRES: `roles` is not empty. `clock` outlives it.
  KeystoneAuthorizer(std::shared_ptr<TokenChecker> checker, std::vector<std::string> roles, const Clock& clock = Clock::System());

  Caller Identify(int socket) override;
  std::optional<Admission> CheckAtOnce(const Caller& caller, const HttpRequest& request) override;
  int threads() const override { return 4; }
  Admission Check(const Caller& caller, const HttpRequest& request, std::stop_token stop) override;

 private:
  TokenAnswerKept Judge(const TokenOwner& owner) const;
  Admission Answer(const Caller& caller, const HttpRequest& request, const TokenAnswerKept& answer);
  Admission CannotAsk(const Caller& caller, const HttpRequest& request, const Error& error);

  const std::shared_ptr<TokenChecker> checker_;
  const std::vector<std::string> roles_;
  const std::string challenge_;
  const Clock& clock_;
  TokenCache cache_;
  RefusalLog refusals_;
  Mutex mu_;
  Nanos down_until_ GUARDED_BY(mu_){0};
  std::string down_why_ GUARDED_BY(mu_);
};

}  // namespace glintfs
