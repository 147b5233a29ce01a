// KeystoneAuth: a token of Keystone v3, renewed before it expires and when a service refuses it.
//
//   no token ──login──▶ good ──some minutes before expiry──▶ due ──expiry──▶ no token
//       ▲                 │                                   │
//       └──── Renew(401) ─┴───────────────────────────────────┘
//
// One call at a time logs in, in its own thread; the others go on with the token that is due, or wait for the outcome where there
// is none. A failure is everybody's who waited, except that a login that was cancelled is taken over by the next. Thread-safe.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "backends/http/client.h"
#include "backends/openstack/cloud_config.h"
#include "backends/openstack/openstack_auth.h"
#include "backends/openstack/token.h"
#include "fs/base/clock.h"
#include "fs/base/mutex.h"

namespace glintfs {

class KeystoneAuth final : public OpenStackAuth {
 public:
  KeystoneAuth(CloudConfig config, HttpSettings settings, const Clock& clock = Clock::System());

  Result<Credentials> Current(std::stop_token stop) override;
  bool Renew(long status, const Credentials& refused) override;
  Result<HttpUrl> Endpoint(std::string_view service, std::stop_token stop) override;
  CloudIdentity identity() const override;
  const std::string& ca_file() const override { return config_.ca_file; }
  std::string DescribeLogin() const override { return config_.Describe(); }

 private:
  struct Token {
    Credentials credentials;
    std::vector<CatalogEntry> catalog;
    Nanos renew_at{0}, expires_at{0};  // Clock::Now
  };
  using TokenPtr = std::shared_ptr<const Token>;
  class Turn;

  bool asks_keystone() const;
  Result<TokenPtr> Take(std::stop_token stop);
  // What can be answered without a login: a token or an error. nullopt: it is this caller's turn to log in.
  std::optional<Result<TokenPtr>> FromMemory(const std::stop_token& stop) REQUIRES(mu_);
  Result<TokenPtr> LogIn(std::stop_token stop);
  Error Refusal(const OriginResponse& response) const;

  const CloudConfig config_;
  const Clock& clock_;
  const Credentials fixed_;  // of a login that asks nobody
  HttpClient client_;        // anonymous

  Mutex mu_;
  CondVar changed_;
  TokenPtr token_ GUARDED_BY(mu_);
  bool logging_in_ GUARDED_BY(mu_) = false;
  uint64_t logins_ GUARDED_BY(mu_) = 0;  // that have ended, well or not
  std::optional<Error> failure_ GUARDED_BY(mu_);  // of the last one
  Nanos not_before_ GUARDED_BY(mu_){0};           // after a failure, for those who can do without or would only be refused again
  std::deque<Nanos> renewals_ GUARDED_BY(mu_);    // when services refused tokens
};

}  // namespace glintfs
