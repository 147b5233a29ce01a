#include "backends/swift/login.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "backends/http/handlers.h"
#include "backends/http/settings.h"
#include "backends/openstack/cloud_settings.h"

namespace glintfs {
namespace {

constexpr size_t kMaxToken = 64 << 10;
constexpr Nanos kLongestMargin = std::chrono::minutes(1);
constexpr Nanos kLook = std::chrono::milliseconds(100);  // how often somebody who waits looks whether to stop

// Read when a source is set up, before there are threads that could change it.
std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool IsHeaderText(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

std::shared_ptr<const HttpCredentials> Headers(std::vector<std::string> lines) {
  HttpCredentials credentials;
  credentials.headers = std::move(lines);
  return std::make_shared<const HttpCredentials>(std::move(credentials));
}

HttpCredentials UserAndKey(const std::string& user, const std::string& key) {
  HttpCredentials credentials;
  credentials.headers = {"X-Auth-User: " + user, "X-Auth-Key: " + key};
  return credentials;
}

// When to log in anew. Early enough that a request under way is not caught out, unless tokens are short-lived.
std::optional<Nanos> RenewAt(const HttpHeaders& headers, Nanos asked_at) {
  const auto text = headers.Find("x-auth-token-expires");
  const auto seconds = text ? ParseNumber(*text) : std::nullopt;
  if (!seconds) return std::nullopt;
  const Nanos life = std::chrono::seconds(std::min<uint64_t>(*seconds, 100'000'000));
  return asked_at + life - std::min(kLongestMargin, life / 4);
}

using MadeAuth = Result<std::shared_ptr<OpenStackAuth>>;

MadeAuth MakeTempAuth(const std::string& url_text, TempAuth::Settings settings) {
  auto url = ParseHttpUrl(url_text);
  if (!url) return Error{Errc::kInvalid, fmt::format("{}: the auth URL: {}", settings.where, url.error().message)};
  settings.url = std::move(*url);
  if (settings.user.empty() || settings.key.empty())
    return Error{Errc::kInvalid, fmt::format("{}: a login of version 1 needs a user name and a password", settings.where)};
  if (!IsHeaderText(settings.user) || !IsHeaderText(settings.key))
    return Error{Errc::kInvalid, fmt::format("{}: the user or the key holds a control character", settings.where)};
  return std::shared_ptr<OpenStackAuth>(std::make_shared<TempAuth>(std::move(settings)));
}

// As python-swiftclient takes them: all three, or they do not count.
bool HasStVariables() {
  return !Environment("ST_AUTH").empty() && !Environment("ST_USER").empty() && !Environment("ST_KEY").empty();
}

MadeAuth FromStVariables(const BackendOptions& options) {
  const std::string version = Environment("ST_AUTH_VERSION");
  if (!version.empty() && version != "1" && version != "1.0")
    return Error{Errc::kInvalid, fmt::format("ST_AUTH_VERSION={}: ST_AUTH, ST_USER and ST_KEY are for version 1; for Keystone "
                                             "set the OS_* variables or OS_CLOUD", version)};
  TempAuth::Settings settings;
  settings.user = Environment("ST_USER");
  settings.key = Environment("ST_KEY");
  settings.where = "ST_AUTH, ST_USER and ST_KEY";
  settings.http = HttpSettingsFrom(options);
  return MakeTempAuth(Environment("ST_AUTH"), std::move(settings));
}

bool IsVersionOne(const CloudSettings& cloud) {
  const std::string type = cloud.Get("auth_type"), version = cloud.Get("auth_version");
  return type == "v1password" || (type.empty() && (version == "1" || version == "1.0"));
}

MadeAuth FromCloud(const CloudSettings& cloud, const BackendOptions& options) {
  TempAuth::Settings settings;
  settings.user = cloud.Get("username");
  settings.key = cloud.Get("password");
  settings.where = cloud.where;
  settings.http = HttpSettingsFrom(options);
  if (settings.http.ca_file.empty()) settings.http.ca_file = cloud.Get("cacert");
  return MakeTempAuth(cloud.Get("auth_url"), std::move(settings));
}

std::string Place(const HttpUrl& url) { return url.port.empty() ? url.host : url.host + ":" + url.port; }

std::string WithoutSlash(std::string path) {
  while (path.ends_with('/')) path.pop_back();
  return path;
}

}  // namespace

Result<HttpUrl> ParseStorageUrl(std::string_view text) {
  GLINTFS_ASSIGN(HttpUrl url, ParseHttpUrl(text));
  if (!url.query.empty()) return Error{Errc::kInvalid, "a storage URL has no '?'"};
  if (!url.path.ends_with('/')) url.path += '/';
  return url;
}

TempAuth::TempAuth(Settings settings)
    : settings_(std::move(settings)),
      http_(settings_.http, std::make_shared<FixedAuthorizer>(UserAndKey(settings_.user, settings_.key))) {}

Result<Authorizer::Credentials> TempAuth::Current(std::stop_token stop) {
  GLINTFS_ASSIGN(const SharedSession session, LoggedIn(std::move(stop)));
  return session->credentials;
}

Result<HttpUrl> TempAuth::Endpoint(std::string_view, std::stop_token stop) {
  GLINTFS_ASSIGN(const SharedSession session, LoggedIn(std::move(stop)));
  return session->storage;
}

bool TempAuth::Renew(long status, const Credentials& refused) {
  if (status != 401) return false;
  MutexLock lock(mu_);
  if (session_ && session_->credentials == refused) session_.reset();
  return true;
}

bool TempAuth::IsUsable() const {
  return session_ && (!session_->renew_at || Clock::System().Now() < *session_->renew_at);
}

Result<TempAuth::SharedSession> TempAuth::LoggedIn(std::stop_token stop) {
  {
    MutexLock lock(mu_);
    while (!IsUsable() && logging_in_) {
      const uint64_t before = logins_;
      while (logins_ == before && !stop.stop_requested()) changed_.WaitFor(mu_, kLook);
      if (stop.stop_requested()) return Error{Errc::kCancelled, "given up"};
      // One that was called off tells nothing: the next in line tries.
      if (failure_ && failure_->code != Errc::kCancelled) return *failure_;
    }
    if (IsUsable()) return session_;
    logging_in_ = true;
  }
  Result<SharedSession> made = Error{Errc::kCancelled, "given up"};
  try {
    made = LogIn(stop);
  } catch (const std::exception& e) {
    made = Error{Errc::kIo, e.what()};
  }
  MutexLock lock(mu_);
  logging_in_ = false;
  ++logins_;
  failure_ = made ? std::nullopt : std::optional(made.error());
  if (made) session_ = *made;
  changed_.NotifyAll();
  return made;
}

Result<TempAuth::SharedSession> TempAuth::LogIn(std::stop_token stop) {
  OriginRequest request;
  request.url = settings_.url;
  IgnoreBody ignore;
  const Nanos asked_at = Clock::System().Now();
  GLINTFS_ASSIGN(const OriginResponse response, http_.Perform(request, ignore, std::move(stop)));
  const std::string where = request.url.Origin() + request.url.path;
  if (response.status == 401 || response.status == 403)
    return Error{Errc::kAccessDenied, fmt::format("{} refuses the user {} or its key ({}): check {}", where, settings_.user,
                                                  response.status, settings_.where)};
  if (response.status < 200 || response.status > 299) return StatusError(request, response);
  auto token = response.headers.Find("x-auth-token");
  if (!token) token = response.headers.Find("x-storage-token");
  if (!token || token->empty() || token->size() > kMaxToken || !IsHeaderText(*token))
    return Error{Errc::kInvalid, where + ": no login of version 1 (X-Auth-Token is missing): check the auth URL"};
  auto storage = ParseStorageUrl(response.headers.Find("x-storage-url").value_or(""));
  if (!storage) return Error{Errc::kInvalid, fmt::format("{}: X-Storage-Url: {}", where, storage.error().message)};
  Session session{.credentials = Headers({"X-Auth-Token: " + *token}), .storage = *storage, .renew_at = {}};
  session.renew_at = RenewAt(response.headers, asked_at);
  return SharedSession(std::make_shared<const Session>(std::move(session)));
}

CloudIdentity TempAuth::identity() const {
  const std::string account = settings_.user.substr(0, settings_.user.find(':'));
  return {.cloud = Place(settings_.url) + WithoutSlash(settings_.url.path), .region = {}, .project = account};
}

std::string TempAuth::DescribeLogin() const { return fmt::format("user {} ({})", settings_.user, settings_.where); }

FixedLogin::FixedLogin(HttpUrl storage, const std::string& token, std::string ca_file)
    : storage_(std::move(storage)),
      ca_file_(std::move(ca_file)),
      credentials_(Headers(token.empty() ? std::vector<std::string>() : std::vector<std::string>{"X-Auth-Token: " + token})) {}

CloudIdentity FixedLogin::identity() const {
  return {.cloud = Place(storage_) + WithoutSlash(storage_.path), .region = {}, .project = {}};
}

Result<SwiftLogin> MakeSwiftLogin(const BackendOptions& options) {
  SwiftLogin login;
  if (const std::string text = Environment("OS_STORAGE_URL"); !text.empty()) {
    auto url = ParseStorageUrl(text);
    if (!url) return Error{Errc::kInvalid, "OS_STORAGE_URL: " + url.error().message};
    login.storage = std::move(*url);
  }
  if (HasStVariables() && options.openstack.cloud.empty()) {
    GLINTFS_ASSIGN(login.auth, FromStVariables(options));
    return login;
  }
  GLINTFS_ASSIGN(const auto cloud, FindCloudSettings(options));
  if (cloud && IsVersionOne(*cloud)) {
    GLINTFS_ASSIGN(login.auth, FromCloud(*cloud, options));
    return login;
  }
  // A token without a Keystone that gave it is for the storage URL.
  if (login.storage && (!cloud || cloud->Get("auth_url").empty())) {
    const std::string token = Environment("OS_AUTH_TOKEN");
    if (!IsHeaderText(token)) return Error{Errc::kInvalid, "OS_AUTH_TOKEN holds a control character"};
    login.auth = std::make_shared<FixedLogin>(*login.storage, token, options.ca_file);
    return login;
  }
  GLINTFS_ASSIGN(login.auth, MakeOpenStackAuth(options));
  if (login.auth) return login;
  if (!Environment("ST_AUTH").empty())
    return Error{Errc::kInvalid, "ST_AUTH alone is not enough: set ST_USER and ST_KEY, too"};
  return Error{Errc::kInvalid,
               "nothing says how to log in: set OS_CLOUD (an entry of clouds.yaml) or the OS_* variables for Keystone, ST_AUTH, "
               "ST_USER and ST_KEY for TempAuth, or OS_STORAGE_URL with OS_AUTH_TOKEN"};
}

}  // namespace glintfs
