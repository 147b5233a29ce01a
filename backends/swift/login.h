// Ways to log in to Swift that are its own: TempAuth (v1), and a storage URL with a token that is given as it is.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "backends/http/client.h"
#include "backends/openstack/openstack_auth.h"
#include "fs/base/mutex.h"

namespace glintfs {

// GET of the auth URL with X-Auth-User and X-Auth-Key answers with X-Storage-Url and X-Auth-Token, which is used until shortly
// before X-Auth-Token-Expires, or until it is refused.
//
// One login at a time: who needs it meanwhile waits for its outcome, error or not. No lock is held across the request.
class TempAuth final : public OpenStackAuth {
 public:
  struct Settings {
    HttpUrl url;
    std::string user;
    std::string key;
    std::string where;  // who says so, for messages: "ST_*"
    HttpSettings http;
  };

  explicit TempAuth(Settings settings);

  Result<Credentials> Current(std::stop_token stop) override;
  bool Renew(long status, const Credentials& refused) override;
  Result<HttpUrl> Endpoint(std::string_view service, std::stop_token stop) override;
  CloudIdentity identity() const override;
  const std::string& ca_file() const override { return settings_.http.ca_file; }
  std::string DescribeLogin() const override;

 private:
  struct Session {
    Credentials credentials;
    HttpUrl storage;
    std::optional<Nanos> renew_at;  // Clock::Now
  };
  using SharedSession = std::shared_ptr<const Session>;

  Result<SharedSession> LoggedIn(std::stop_token stop);
  Result<SharedSession> LogIn(std::stop_token stop);
  bool IsUsable() const REQUIRES(mu_);

  const Settings settings_;
  HttpClient http_;  // sends the key to the auth URL's origin only

  Mutex mu_;
  CondVar changed_;
  SharedSession session_ GUARDED_BY(mu_);
  bool logging_in_ GUARDED_BY(mu_) = false;
  uint64_t logins_ GUARDED_BY(mu_) = 0;             // that have ended
  std::optional<Error> failure_ GUARDED_BY(mu_);  // of the last one
};

// A storage URL, and a token (empty: none, for containers that everybody may read) that nothing can renew.
class FixedLogin final : public OpenStackAuth {
 public:
  FixedLogin(HttpUrl storage, const std::string& token, std::string ca_file);

  Result<Credentials> Current(std::stop_token) override { return credentials_; }
  bool Renew(long, const Credentials&) override { return false; }
  Result<HttpUrl> Endpoint(std::string_view, std::stop_token) override { return storage_; }
  CloudIdentity identity() const override;
  const std::string& ca_file() const override { return ca_file_; }
  std::string DescribeLogin() const override { return "OS_AUTH_TOKEN for OS_STORAGE_URL"; }

 private:
  const HttpUrl storage_;
  const std::string ca_file_;
  const Credentials credentials_;
};

// A storage URL as servers and people write it, with a '/' at its end. kInvalid for one that is not http or https.
Result<HttpUrl> ParseStorageUrl(std::string_view text);

struct SwiftLogin {
  std::shared_ptr<OpenStackAuth> auth;
  std::optional<HttpUrl> storage;  // OS_STORAGE_URL, instead of what the login says
};

// What the settings and the environment say: ST_AUTH, ST_USER and ST_KEY (unless an entry of clouds.yaml is named in the settings),
// then clouds.yaml and OS_* (openstack_auth.h; `auth_type: v1password` is TempAuth), then OS_STORAGE_URL with OS_AUTH_TOKEN.
// kInvalid, with what to set, when there is nothing.
Result<SwiftLogin> MakeSwiftLogin(const BackendOptions& options);

}  // namespace glintfs
