// Keystone runs in uwsgi, which its package brings along. Tokens are signed with the keys in a directory that is read for each of
// them, so that new keys make all tokens invalid: the same to a client as their expiry.
#include "tests/support/openstack.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <signal.h>
#include <sys/stat.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "tests/support/openstack_parts.h"
#include "tests/support/port.h"

namespace glintfs::testing {
namespace {

namespace fs = std::filesystem;
using namespace openstack;
using nlohmann::json;

std::string Hex(const unsigned char* bytes, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += fmt::format("{:02x}", bytes[i]);
  return text;
}

const char* const kKeys[] = {"fernet", "credential"};

}  // namespace

std::string UuidFor(const std::string& text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  ::EVP_Digest(text.data(), text.size(), digest, &size, ::EVP_sha256(), nullptr);
  const std::string hex = Hex(digest, 16);
  return hex.substr(0, 8) + "-" + hex.substr(8, 4) + "-" + hex.substr(12, 4) + "-" + hex.substr(16, 4) + "-" + hex.substr(20);
}

const std::string& Keystone::demo_password() {
  static const std::string password = "sesame-of-demo";
  return password;
}
const std::string& Keystone::admin_password() {
  static const std::string password = "sesame-of-admin";
  return password;
}
const std::string& Keystone::wrong_password() {
  static const std::string password = "guessed-in-vain";
  return password;
}

std::string Keystone::url() const { return fmt::format("http://127.0.0.1:{}/v3", port_); }

std::unique_ptr<Keystone> Keystone::Start() {
  std::unique_ptr<Keystone> keystone(new Keystone());
  TempDir& dir = keystone->dir_;
  keystone->port_ = ReservePort();
  fs::create_directory(dir / "policy");
  for (const char* keys : kKeys) {
    fs::create_directory(dir / keys);
    ::chmod((dir / keys).c_str(), 0700);
  }
  keystone->WriteKeys();
  Write(dir / "keystone.conf",
        fmt::format("[database]\nconnection = sqlite:///{0}/keystone.db\n[fernet_tokens]\nkey_repository = {0}/fernet\n"
                    "[fernet_receipts]\nkey_repository = {0}/fernet\n[credential]\nkey_repository = {0}/credential\n"
                    "[identity]\npassword_hash_rounds = 4\n[oslo_policy]\npolicy_dirs = {0}/policy\n",
                    dir.path()));
  const std::string url = keystone->url() + "/";
  const std::vector<std::string> manage = {"keystone-manage", "--config-file", dir / "keystone.conf"};
  auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), manage.begin(), manage.end());
    return more;
  };
  Run(with({"db_sync"}));
  UseWriteAheadLog(dir / "keystone.db");
  Run(with({"bootstrap", "--bootstrap-public-url", url, "--bootstrap-internal-url", url, "--bootstrap-admin-url", url,
            "--bootstrap-region-id", "RegionOne"}),
      {.environment = {"OS_BOOTSTRAP_PASSWORD=" + admin_password()}});
  keystone->Spawn();
  const std::string project = keystone->Made("/projects", "project", R"({"project": {"name": "demo", "domain_id": "default"}})");
  const std::string user = keystone->Made(
      "/users", "user",
      json{{"user", {{"name", "demo"}, {"domain_id", "default"}, {"default_project_id", project}, {"password", demo_password()}}}}
          .dump());
  const json roles = json::parse(keystone->Admin("GET", "/roles?name=member").body);
  const std::string role = roles.at("roles").at(0).at("id");
  keystone->Admin("PUT", fmt::format("/projects/{}/users/{}/roles/{}", project, user, role));
  return keystone;
}

void Keystone::Spawn() {
  // It ends on SIGTERM (it would reload), so also with the test. It closes connections after an answer, but does not say so by
  // itself.
  process_ = std::make_unique<Process>(
      std::vector<std::string>{"uwsgi", "--plugins", "python3", "--http-socket", fmt::format("127.0.0.1:{}", port_),
                               "--die-on-term", "--add-header", "Connection: close", "--buffer-size", "65535", "--disable-logging",
                               "--wsgi-file", "/usr/bin/keystone-wsgi-public", "--pyargv", ""},
      ProcessOptions{
          .environment = {"OS_KEYSTONE_CONFIG_FILES=" + (dir_ / "keystone.conf"), "OS_KEYSTONE_CONFIG_DIR=" + dir_.path()},
          .stdout_path = dir_ / "log",
          .stderr_path = dir_ / "log"});
  WaitUntilUp(*process_, url(), dir_ / "log");
}

// Fernet keys: 32 random bytes in base64 for URLs. 0 is the next one, the highest signs.
void Keystone::WriteKeys() {
  for (const char* keys : kKeys) {
    for (const char* key : {"1", "0"}) {
      unsigned char bytes[32], text[48];
      if (::RAND_bytes(bytes, sizeof(bytes)) != 1) throw std::runtime_error("no random bytes");
      ::EVP_EncodeBlock(text, bytes, sizeof(bytes));
      std::string encoded(reinterpret_cast<char*>(text));
      for (char& c : encoded) c = c == '+' ? '-' : c == '/' ? '_' : c;
      const std::string path = dir_ / keys + "/" + key;
      Write(dir_ / "key", encoded);
      ::chmod((dir_ / "key").c_str(), 0600);
      fs::rename(dir_ / "key", path);
    }
  }
}

void Keystone::ExpireTokens() { WriteKeys(); }

std::string Keystone::Token(const std::string& user) {
  const json domain = {{"id", "default"}};
  const json who = {{"name", user}, {"domain", domain}, {"password", user == "admin" ? admin_password() : demo_password()}};
  const json body = {{"auth",
                      {{"identity", {{"methods", {"password"}}, {"password", {{"user", who}}}}},
                       {"scope", {{"project", {{"name", user}, {"domain", domain}}}}}}}};
  const HttpAnswer answer = Ask({.method = "POST",
                                 .url = url() + "/auth/tokens",
                                 .headers = {"Content-Type: application/json"},
                                 .body = body.dump(),
                                 .file = {}});
  if (answer.status != 201) throw std::runtime_error(fmt::format("login as {}: {} {}", user, answer.status, answer.body));
  return answer.headers.at("x-subject-token");
}

HttpAnswer Keystone::Admin(const std::string& method, const std::string& path, const std::string& body) {
  HttpAnswer answer = Ask({.method = method,
                           .url = url() + path,
                           .headers = {"Content-Type: application/json", "X-Auth-Token: " + Token("admin")},
                           .body = body,
                           .file = {}});
  if (answer.status < 200 || answer.status > 299)
    throw std::runtime_error(fmt::format("{} {}: {} {} {}", method, path, answer.status, answer.body, Tail(dir_ / "log")));
  return answer;
}

std::string Keystone::Made(const std::string& path, const std::string& kind, const std::string& body) {
  return json::parse(Admin("POST", path, body).body).at(kind).at("id");
}

std::string Keystone::UserId(const std::string& user) {
  return json::parse(Admin("GET", "/users?name=" + user).body).at("users").at(0).at("id");
}

void Keystone::AddEndpoint(const std::string& type, const std::string& region, const std::string& interface,
                           const std::string& url) {
  if (!services_.contains(type)) {
    services_[type] = Made("/services", "service", json{{"service", {{"type", type}, {"name", type}}}}.dump());
  }
  if (region != "RegionOne") (void)Ask({.method = "POST",
                                        .url = this->url() + "/regions",
                                        .headers = {"Content-Type: application/json", "X-Auth-Token: " + Token("admin")},
                                        .body = json{{"region", {{"id", region}}}}.dump(),
                                        .file = {}});
  const json endpoint = {{"service_id", services_[type]}, {"interface", interface}, {"region_id", region}, {"url", url}};
  Made("/endpoints", "endpoint", json{{"endpoint", endpoint}}.dump());
}

void Keystone::AddService(const std::string& type, const std::string& url) {
  for (const char* interface : {"public", "internal", "admin"}) AddEndpoint(type, "RegionOne", interface, url);
}

void Keystone::SetPassword(const std::string& user, const std::string& password) {
  Admin("PATCH", "/users/" + UserId(user), json{{"user", {{"password", password}}}}.dump());
}

Keystone::Credential Keystone::AddApplicationCredential(const std::string& name, const std::string& role) {
  const HttpAnswer answer = Ask({.method = "POST",
                                 .url = fmt::format("{}/users/{}/application_credentials", url(), UserId("demo")),
                                 .headers = {"Content-Type: application/json", "X-Auth-Token: " + Token("demo")},
                                 .body = json{{"application_credential", {{"name", name}, {"roles", {{{"name", role}}}}}}}.dump(),
                                 .file = {}});
  if (answer.status != 201) throw std::runtime_error("application credential: " + answer.body);
  const json made = json::parse(answer.body).at("application_credential");
  return {made.at("id"), made.at("secret")};
}

void Keystone::WriteClouds(const std::string& path) const {
  std::string text = "clouds:\n";
  const auto add = [&](const std::string& cloud, const std::string& user, const std::string& password) {
    text += fmt::format("  {}:\n    region_name: RegionOne\n    auth:\n      auth_url: {}\n      username: {}\n      password: {}\n"
                        "      project_name: {}\n      user_domain_name: Default\n      project_domain_name: Default\n",
                        cloud, url(), user, password, user);
  };
  add("test", "demo", demo_password());
  add("wrong", "demo", wrong_password());
  add("admin", "admin", admin_password());
  Write(path, text);
  ::chmod(path.c_str(), 0600);
}

void Keystone::Stop() { process_.reset(); }
void Keystone::Restart() {
  Stop();
  Spawn();
}
void Keystone::Freeze() { process_->Signal(SIGSTOP); }
void Keystone::Thaw() { process_->Signal(SIGCONT); }

}  // namespace glintfs::testing
