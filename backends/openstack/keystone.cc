// Times are intervals of the monotonic clock, made from Keystone's own two times, so that clocks that differ do no harm.
//
// A login that is refused is not tried again at once: clouds lock accounts after a few wrong passwords, and every read of a mount
// would be one. Nor are tokens thrown away without end, for a service that refuses them all.
#include "backends/openstack/keystone.h"

#include <fmt/format.h>

#include <algorithm>

#include "backends/http/handlers.h"
#include "fs/base/log.h"

namespace glintfs {
namespace {

constexpr size_t kMaxAnswer = 1 << 20;
constexpr size_t kMaxToken = 32 << 10;
constexpr Nanos kMargin = std::chrono::minutes(5);  // or a tenth of the lifetime
constexpr Nanos kLongestLifetime = std::chrono::hours(24 * 365);
constexpr Nanos kPause = std::chrono::seconds(10);  // after a failure
constexpr size_t kRenewals = 3;                     // at most, for refused tokens, within
constexpr Nanos kRenewalWindow = std::chrono::seconds(30);
constexpr Nanos kGlance = std::chrono::milliseconds(200);  // how often a waiting call looks at its stop_token

Authorizer::Credentials TokenCredentials(const std::string& token) {
  HttpCredentials credentials;
  if (!token.empty()) credentials.headers.push_back("X-Auth-Token: " + token);
  return std::make_shared<const HttpCredentials>(std::move(credentials));
}

bool IsToken(const std::string& text) {
  return !text.empty() && text.size() <= kMaxToken &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

}  // namespace

// The turn of one call to log in; ends with its scope, whatever happens, and wakes the others.
class KeystoneAuth::Turn {
 public:
  explicit Turn(KeystoneAuth& auth) : auth_(auth) {}
  ~Turn() {
    MutexLock lock(auth_.mu_);
    auth_.logging_in_ = false;
    ++auth_.logins_;
    auth_.failure_ = std::move(failure);
    if (auth_.failure_) auth_.not_before_ = auth_.clock_.Now() + kPause;
    if (token) auth_.token_ = std::move(token);
    auth_.changed_.NotifyAll();
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  std::optional<Error> failure = Error{Errc::kCancelled, "the login was broken off"};
  TokenPtr token;

 private:
  KeystoneAuth& auth_;
};

KeystoneAuth::KeystoneAuth(CloudConfig config, HttpSettings settings, const Clock& clock)
    : config_(std::move(config)),
      clock_(clock),
      fixed_(TokenCredentials(config_.method == CloudConfig::Method::kFixedToken ? config_.secret : "")),
      client_(std::move(settings), nullptr) {}

bool KeystoneAuth::asks_keystone() const {
  return config_.method != CloudConfig::Method::kFixedToken && config_.method != CloudConfig::Method::kNone;
}

Result<Authorizer::Credentials> KeystoneAuth::Current(std::stop_token stop) {
  if (!asks_keystone()) return fixed_;
  GLINTFS_ASSIGN(const TokenPtr token, Take(std::move(stop)));
  return token->credentials;
}

bool KeystoneAuth::Renew(long status, const Credentials& refused) {
  if (status != 401 || !asks_keystone()) return false;
  MutexLock lock(mu_);
  if (!token_ || token_->credentials != refused) return true;
  const Nanos now = clock_.Now();
  while (!renewals_.empty() && now - renewals_.front() > kRenewalWindow) renewals_.pop_front();
  if (renewals_.size() >= kRenewals) return false;
  renewals_.push_back(now);
  token_.reset();
  return true;
}

Result<HttpUrl> KeystoneAuth::Endpoint(std::string_view service, std::stop_token stop) {
  for (const std::string& key : {KeyOfService(service), std::string()})
    if (const auto it = config_.endpoints.find(key); it != config_.endpoints.end()) return it->second;
  if (!asks_keystone()) {
    return Error{Errc::kInvalid, fmt::format("{}: without Keystone there is no catalogue that tells where the {} service is: set "
                                             "{}_endpoint_override, or name the host in the source",
                                             config_.where, service, KeyOfService(service))};
  }
  GLINTFS_ASSIGN(const TokenPtr token, Take(std::move(stop)));
  return FindEndpoint(token->catalog, service, config_);
}

CloudIdentity KeystoneAuth::identity() const {
  const auto place = [](const HttpUrl& url) {
    std::string text = (url.port.empty() ? url.host : url.host + ":" + url.port) + url.path;
    while (text.ends_with('/')) text.pop_back();
    return text;
  };
  CloudIdentity identity;
  identity.region = config_.region;
  if (asks_keystone()) {
    identity.cloud = place(config_.auth_url);
  } else if (!config_.endpoints.empty()) {
    identity.cloud = place(config_.endpoints.begin()->second);
  }
  if (config_.method == CloudConfig::Method::kApplicationCredential) {
    identity.project = "credential:" + (config_.credential.id.empty() ? config_.user.Text() + "/" : "") + config_.credential.Text();
  } else if (!config_.trust_id.empty()) {
    identity.project = "trust:" + config_.trust_id;
  } else if (config_.system_scope) {
    identity.project = "system";
  } else {
    identity.project = config_.project.empty() ? config_.domain.Text() : config_.project.Text();
  }
  return identity;
}

Result<KeystoneAuth::TokenPtr> KeystoneAuth::Take(std::stop_token stop) {
  AssertNoLockHeld();
  {
    MutexLock lock(mu_);
    if (auto known = FromMemory(stop)) return std::move(*known);
    logging_in_ = true;
  }
  Turn turn(*this);
  auto token = LogIn(stop);
  if (token) {
    turn.failure.reset();
    turn.token = *token;
    return token;
  }
  turn.failure = token.error();
  if (token.error().code == Errc::kCancelled) return token;
  MutexLock lock(mu_);
  if (!token_ || clock_.Now() >= token_->expires_at) return token;
  return token_;  // the next call tries again, after a pause
}

std::optional<Result<KeystoneAuth::TokenPtr>> KeystoneAuth::FromMemory(const std::stop_token& stop) {
  for (;;) {
    const Nanos now = clock_.Now();
    if (token_ && now < token_->renew_at) return token_;
    const bool usable = token_ && now < token_->expires_at;
    if (usable && (logging_in_ || now < not_before_)) return token_;
    if (!logging_in_) {
      const bool refused = failure_ && failure_->code == Errc::kAccessDenied && now < not_before_;
      if (refused) return Result<TokenPtr>(*failure_);
      return std::nullopt;
    }
    for (const uint64_t before = logins_; logins_ == before && !stop.stop_requested();) changed_.WaitFor(mu_, kGlance);
    if (stop.stop_requested()) return Result<TokenPtr>(Error{Errc::kCancelled, "given up"});
    if (failure_ && failure_->code != Errc::kCancelled) return Result<TokenPtr>(*failure_);
  }
}

Result<KeystoneAuth::TokenPtr> KeystoneAuth::LogIn(std::stop_token stop) {
  HttpUrl url = config_.auth_url;
  url.path += "auth/tokens";
  const OriginRequest request{.head = false,
                              .url = std::move(url),
                              .headers = {"Content-Type: application/json", "Accept: application/json"},
                              .post = MakeTokenRequest(config_)};
  KeepBody keep(kMaxAnswer, {Errc::kInvalid, "the answer is too long to be a token's"});
  GLINTFS_ASSIGN(const OriginResponse response, client_.Perform(request, keep, std::move(stop)));
  const Nanos now = clock_.Now();
  if (response.status != 200 && response.status != 201) return Refusal(response);
  const auto wrong = [&](const std::string& why) {
    return Error{Errc::kInvalid, fmt::format("{}: {}", HttpClient::Describe(request), why)};
  };
  const std::string text = response.headers.Find("x-subject-token").value_or("");
  if (!IsToken(text)) return wrong("the answer has no usable X-Subject-Token");
  auto answer = ParseTokenAnswer(keep.body(), clock_.WallNow());
  if (!answer) return wrong(answer.error().message);

  auto token = std::make_shared<Token>();
  const Nanos lifetime = std::min(answer->lifetime, kLongestLifetime);
  token->credentials = TokenCredentials(text);
  token->catalog = std::move(answer->catalog);
  token->expires_at = now + lifetime;
  token->renew_at = token->expires_at - std::min(kMargin, lifetime / 10);
  LogDebug("logged in as {}, for {} s", config_.Describe(), std::chrono::duration_cast<std::chrono::seconds>(lifetime).count());
  return TokenPtr(std::move(token));
}

// What Keystone says in words is not repeated: it may quote the request.
Error KeystoneAuth::Refusal(const OriginResponse& response) const {
  const long status = response.status;
  const auto error = [&](Errc code, std::string_view meaning) {
    return Error{code, fmt::format("Keystone at {}: {} ({})", config_.auth_url.Text(), meaning, status)};
  };
  if (status == 401) {
    const bool token = config_.method == CloudConfig::Method::kToken;
    return error(Errc::kAccessDenied,
                 fmt::format("{} is refused: {}", config_.Describe(),
                             token ? "it is wrong or has expired: get a new one"
                                   : "check its secret, its name, and the domain and project it is asked for"));
  }
  if (status == 403)
    return error(Errc::kAccessDenied, config_.Describe() + " may not log in there: check the project and its roles");
  if (status == 400)
    return error(Errc::kInvalid, "the login makes no sense to it: check the names, domains and scope of " + config_.where);
  if (status == 408 || status == 429 || status >= 500) return error(Errc::kUnavailable, "no login for now");
  return error(Errc::kInvalid, "that is no Keystone v3: check auth_url in " + config_.where);
}

}  // namespace glintfs
