#include "backends/openstack/cloud_config.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "fs/base/home.h"
#include "fs/base/log.h"

namespace glintfs {
namespace {

// What the OpenStack tools take when nothing is said.
constexpr char kDefaultDomain[] = "default";

Error Missing(const CloudSettings& settings, std::string_view what) {
  return Error{Errc::kInvalid, fmt::format("{}: {}", settings.where, what)};
}

std::string First(const CloudSettings& settings, std::initializer_list<const char*> keys) {
  for (const char* key : keys)
    if (std::string value = settings.Get(key); !value.empty()) return value;
  return "";
}

// A domain that is said once holds for user and project.
CloudName NameOf(const CloudSettings& settings, const std::string& id, const std::string& name, const std::string& kind) {
  CloudName result{.id = id, .name = name, .domain_id = {}, .domain_name = {}};
  if (name.empty() || !id.empty()) return result;
  for (const std::string& prefix : {kind + "_domain", std::string("domain"), std::string("default_domain")}) {
    result.domain_id = settings.Get(prefix + "_id");
    result.domain_name = settings.Get(prefix + "_name");
    if (!result.domain_id.empty() || !result.domain_name.empty()) return result;
  }
  result.domain_id = settings.Get("default_domain");
  if (result.domain_id.empty()) result.domain_id = kDefaultDomain;
  return result;
}

// `has_endpoints`: it is known where services are without asking Keystone.
Result<CloudConfig::Method> MethodOf(const CloudSettings& settings, bool has_endpoints) {
  using Method = CloudConfig::Method;
  const std::string type = First(settings, {"auth_type", "auth_plugin"});
  const bool token = !First(settings, {"token", "auth_token"}).empty();
  const bool password = !settings.Get("password").empty();
  if (type == "none" || type == "noauth") return Method::kNone;
  if (type == "admin_token") return Method::kFixedToken;
  if (type == "token" || type == "v3token") return Method::kToken;
  if (type == "v3applicationcredential") return Method::kApplicationCredential;
  if (type.empty() || type == "password" || type == "v3password") {
    // A credential in place of a password says enough, even where its type is not written down.
    if (!password && !settings.Get("application_credential_secret").empty()) return Method::kApplicationCredential;
    if (!password && token) return settings.Get("auth_url").empty() ? Method::kFixedToken : Method::kToken;
    if (!password && has_endpoints && settings.Get("auth_url").empty()) return Method::kNone;
    return Method::kPassword;
  }
  return Missing(settings, fmt::format("auth_type {} is not known here: use password, v3applicationcredential, v3token, "
                                       "admin_token or none", type));
}

Result<void> AddEndpoints(const CloudSettings& settings, CloudConfig& config) {
  const auto add = [&](const std::string& service, std::initializer_list<const char*> keys) -> Result<void> {
    const std::string text = First(settings, keys);
    if (text.empty()) return {};
    auto url = ParseSourceUrl(text);
    if (!url) return Missing(settings, fmt::format("{}: {}", *keys.begin(), url.error().message));
    config.endpoints[service] = std::move(*url);
    return {};
  };
  GLINTFS_TRY(add("image", {"image_endpoint_override", "image_endpoint"}));
  GLINTFS_TRY(add("object_store", {"object_store_endpoint_override", "object_store_endpoint"}));
  return add("", {"endpoint_override", "endpoint", "url"});
}

Result<void> AddScope(const CloudSettings& settings, CloudConfig& config) {
  config.trust_id = settings.Get("trust_id");
  const std::string system = settings.Get("system_scope");
  config.system_scope = !system.empty();
  if (config.system_scope && system != "all") return Missing(settings, "system_scope: Keystone knows 'all' only");
  config.project = NameOf(settings, First(settings, {"project_id", "tenant_id"}), First(settings, {"project_name", "tenant_name"}),
                          "project");
  // Beside a project, the domain is that of its name.
  if (config.project.empty())
    config.domain = {.id = settings.Get("domain_id"), .name = settings.Get("domain_name"), .domain_id = {}, .domain_name = {}};
  return {};
}

Result<void> AddIdentity(const CloudSettings& settings, CloudConfig& config) {
  using Method = CloudConfig::Method;
  config.user = NameOf(settings, settings.Get("user_id"), First(settings, {"username", "user_name"}), "user");
  if (config.method == Method::kNone) return {};
  if (config.method == Method::kPassword) {
    config.secret = settings.Get("password");
    if (config.user.empty()) return Missing(settings, "username or user_id (OS_USERNAME) is missing");
    if (config.secret.empty()) return Missing(settings, "password (OS_PASSWORD) is missing; secure.yaml is a good place for it");
  } else if (config.method == Method::kApplicationCredential) {
    config.secret = settings.Get("application_credential_secret");
    config.credential.id = settings.Get("application_credential_id");
    config.credential.name = settings.Get("application_credential_name");
    if (config.secret.empty()) return Missing(settings, "application_credential_secret is missing");
    if (config.credential.empty() || (config.credential.id.empty() && config.user.empty()))
      return Missing(settings, "application_credential_id is missing, or application_credential_name and the user it belongs to");
  } else {
    config.secret = First(settings, {"token", "auth_token"});
    if (config.secret.empty()) return Missing(settings, "token (OS_TOKEN) is missing");
    // It becomes a line of a request.
    if (config.secret.find_first_of("\r\n") != std::string::npos) return Missing(settings, "the token has more than one line");
  }
  return {};
}

Result<std::string> Interface(const CloudSettings& settings, const BackendOptions& options) {
  std::string interface = options.openstack.interface;
  if (interface.empty()) interface = First(settings, {"interface", "endpoint_type"});
  if (interface.ends_with("URL")) interface.resize(interface.size() - 3);
  if (interface.empty()) return std::string("public");
  if (interface == "public" || interface == "internal" || interface == "admin") return interface;
  return Missing(settings, fmt::format("interface {}: use public, internal or admin", interface));
}

}  // namespace

// The version is ours to choose: the URL may name none, or an old one.
Result<HttpUrl> AuthUrl(const CloudSettings& settings) {
  const std::string text = settings.Get("auth_url");
  if (text.empty()) return Missing(settings, "auth_url (OS_AUTH_URL) is missing: the URL of Keystone");
  auto url = ParseSourceUrl(text);
  if (!url) return Missing(settings, "auth_url: " + url.error().message);
  for (const std::string_view version : {"/v3/", "/v2.0/"})
    if (url->path.ends_with(version)) url->path.resize(url->path.size() - version.size() + 1);
  url->path += "v3/";
  return url;
}

Result<std::string> CaFile(const CloudSettings& settings, const BackendOptions& options) {
  if (!options.ca_file.empty()) return options.ca_file;
  std::string path = settings.Get("cacert");
  if (const std::string home = HomeDirectory(); path.starts_with("~/") && !home.empty()) path.replace(0, 1, home);
  if (!path.empty() && ::access(path.c_str(), R_OK) != 0) return Missing(settings, fmt::format("cacert {} cannot be read", path));
  return path;
}

std::string CloudName::Text() const {
  if (!id.empty()) return id;
  const std::string& of = domain_name.empty() ? domain_id : domain_name;
  return of.empty() ? name : of + "/" + name;
}

std::string CloudConfig::Describe() const {
  switch (method) {
    case Method::kPassword:
      return fmt::format("user {}{} ({})", user.Text(), project.empty() ? "" : " in project " + project.Text(), where);
    case Method::kApplicationCredential: return fmt::format("application credential {} ({})", credential.Text(), where);
    case Method::kToken:
    case Method::kFixedToken: return fmt::format("the token ({})", where);
    case Method::kNone: return fmt::format("no login ({})", where);
  }
  return where;
}

std::string KeyOfService(std::string_view service) {
  std::string key(service);
  std::replace(key.begin(), key.end(), '-', '_');
  return key;
}

Result<CloudConfig> MakeCloudConfig(const CloudSettings& settings, const BackendOptions& options) {
  CloudConfig config;
  config.where = settings.where;
  GLINTFS_TRY(AddEndpoints(settings, config));
  GLINTFS_ASSIGN(config.method, MethodOf(settings, !config.endpoints.empty()));
  if (config.method != CloudConfig::Method::kNone && config.method != CloudConfig::Method::kFixedToken) {
    GLINTFS_ASSIGN(config.auth_url, AuthUrl(settings));
  }
  GLINTFS_TRY(AddIdentity(settings, config));
  GLINTFS_TRY(AddScope(settings, config));
  GLINTFS_ASSIGN(config.interface, Interface(settings, options));
  config.region = options.region.empty() ? settings.Get("region_name") : options.region;
  if (config.region.empty() && std::getenv("OS_REGION_NAME") != nullptr) config.region = std::getenv("OS_REGION_NAME");
  GLINTFS_ASSIGN(config.ca_file, CaFile(settings, options));
  const std::string verify = settings.Get("verify"), insecure = settings.Get("insecure");
  if (verify == "false" || verify == "False" || insecure == "true" || insecure == "True" || insecure == "1")
    LogWarn("{}: certificates are checked all the same; name the authority that signed them in cacert or ca_file=", settings.where);
  return config;
}

}  // namespace glintfs
