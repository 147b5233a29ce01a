#include "backends/openstack/token_check.h"

#include <fmt/format.h>

#include <algorithm>

#include "backends/http/handlers.h"
#include "backends/http/settings.h"
#include "backends/openstack/bounded_json.h"
#include "backends/openstack/cloud_config.h"
#include "backends/openstack/token.h"

namespace glintfs {
namespace {

using nlohmann::json;

constexpr size_t kMaxAnswer = 1 << 20;
constexpr size_t kMaxToken = 8 << 10;
constexpr size_t kMaxRoles = 1000;
constexpr Nanos kPatience = std::chrono::seconds(10);  // somebody waits for the answer

// Names go into log lines.
std::string Printable(std::string text) {
  text.resize(std::min<size_t>(text.size(), 100));
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return text;
}

// "Default/demo" of {"name": "demo", "domain": {"name": "Default"}}; "" when it is not there.
std::string NameOf(const json& token, const char* key) {
  const auto it = token.find(key);
  if (it == token.end() || !it->is_object()) return "";
  std::string name = JsonText(*it, "name");
  if (name.empty()) name = JsonText(*it, "id");
  if (const auto domain = it->find("domain"); domain != it->end() && domain->is_object())
    name = JsonText(*domain, "name") + "/" + name;
  return Printable(std::move(name));
}

std::string ScopeOf(const json& token) {
  for (const char* kind : {"project", "domain"})
    if (token.contains(kind)) return fmt::format("{} {}", kind, NameOf(token, kind));
  return token.contains("system") ? "the system" : "";
}

class KeystoneChecker final : public TokenChecker {
 public:
  KeystoneChecker(const HttpUrl& url, HttpSettings settings)
      : text_(url.Text().substr(0, url.Text().size() - 1)), url_(url), client_(std::move(settings), nullptr) {
    url_.path += "auth/tokens";
    url_.query = "nocatalog=1";
  }

  const std::string& keystone() const override { return text_; }

  Result<TokenOwner> Check(const std::string& token, std::stop_token stop) override {
    if (!IsTokenText(token)) return Error{Errc::kAccessDenied, "that is no token"};
    // Redirects would take the token with them.
    const OriginRequest request{
        .url = url_,
        .headers = {"Accept: application/json", "X-Auth-Token: " + token, "X-Subject-Token: " + token},
        .follow_redirects = false};
    KeepBody keep(kMaxAnswer, {Errc::kInvalid, "the answer is too long to be about a token"});
    GLINTFS_ASSIGN(const OriginResponse response, client_.Perform(request, keep, std::move(stop)));
    if (response.status != 200) return Refusal(response.status);
    auto owner = ParseTokenOwner(keep.body());
    if (!owner) return Error{Errc::kInvalid, fmt::format("Keystone at {}: {}", text_, owner.error().message)};
    return owner;
  }

 private:
  // What Keystone says in words is not repeated: it may quote the token.
  Error Refusal(long status) const {
    const auto error = [&](Errc code, std::string_view meaning) {
      return Error{code, fmt::format("Keystone at {}: {} ({})", text_, meaning, status)};
    };
    if (status == 401 || status == 404) return error(Errc::kAccessDenied, "the token is unknown, expired or revoked");
    if (status == 403) return error(Errc::kInvalid, "its policy does not let a token ask about itself (identity:validate_token)");
    if (status == 408 || status == 429 || status >= 500) return error(Errc::kUnavailable, "it cannot check tokens for now");
    return error(Errc::kInvalid, "that is no Keystone v3: check control_keystone");
  }

  const std::string text_;  // without the last '/'
  HttpUrl url_;             // changed by the constructor only
  HttpClient client_;       // anonymous
};

}  // namespace

bool IsTokenText(std::string_view text) {
  return !text.empty() && text.size() <= kMaxToken && std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

Result<TokenOwner> ParseTokenOwner(std::string_view body) {
  GLINTFS_ASSIGN(const json answer, ParseBoundedJson(body));
  const auto token = answer.find("token");
  if (token == answer.end() || !token->is_object()) return Error{Errc::kInvalid, "the answer holds no token"};
  const auto expires = ParseIsoTime(JsonText(*token, "expires_at"));
  if (!expires) return Error{Errc::kInvalid, "the answer does not tell when the token expires"};
  TokenOwner owner{.user = NameOf(*token, "user"), .scope = ScopeOf(*token), .roles = {}, .expires_at = *expires};
  if (const auto roles = token->find("roles"); roles != token->end() && roles->is_array()) {
    for (const json& role : *roles) {
      std::string name = role.is_object() ? JsonText(role, "name") : "";
      if (!name.empty() && owner.roles.size() < kMaxRoles) owner.roles.push_back(std::move(name));
    }
  }
  return owner;
}

Result<std::shared_ptr<TokenChecker>> MakeTokenChecker(const std::string& url, const BackendOptions& options) {
  CloudSettings settings{.values = {{"auth_url", url}}, .where = "option control_keystone"};
  HttpSettings http = HttpSettingsFrom(options);
  if (url.empty()) {
    GLINTFS_ASSIGN(const std::optional<CloudSettings> found, FindCloudSettings(options));
    if (!found || found->Get("auth_url").empty())
      return Error{Errc::kInvalid, "control_auth=keystone: say where Keystone is with control_keystone=, cloud= or OS_AUTH_URL"};
    settings = *found;
    GLINTFS_ASSIGN(http.ca_file, CaFile(settings, options));
  }
  GLINTFS_ASSIGN(const HttpUrl keystone, AuthUrl(settings));
  http.connect_timeout = std::min(http.connect_timeout, kPatience);
  http.first_byte_timeout = std::min(http.first_byte_timeout, kPatience);
  return std::shared_ptr<TokenChecker>(std::make_shared<KeystoneChecker>(keystone, std::move(http)));
}

}  // namespace glintfs
