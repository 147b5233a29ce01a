// Keystone runs in uwsgi, which its package brings along. Tokens are signed with the keys in a directory that is read for each of
// them, so that new keys make all tokens invalid: the same to a client as their expiry.
#include "tests/support/openstack.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "tests/support/port.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::chrono::seconds kUp(60);

std::string Slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

std::string Tail(const std::string& path) {
  const std::string text = Slurp(path);
  return text.substr(text.size() - std::min<size_t>(text.size(), 3000));
}

void Write(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  if (!out.flush()) throw std::runtime_error("cannot write " + path);
}

void Run(const std::vector<std::string>& argv, const ProcessOptions& options = {}) {
  const CommandResult result = RunCommand(argv, options);
  if (!result.ok()) throw std::runtime_error(fmt::format("{}: {}{}", fmt::join(argv, " "), result.out, result.err));
}

size_t Append(char* data, size_t size, size_t count, void* to) {
  static_cast<std::string*>(to)->append(data, size * count);
  return size * count;
}

size_t AppendHeader(char* data, size_t size, size_t count, void* to) {
  std::string line(data, size * count);
  while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.pop_back();
  const size_t colon = line.find(": ");
  if (colon == std::string::npos) return size * count;
  for (size_t i = 0; i < colon; ++i) line[i] = static_cast<char>(std::tolower(static_cast<unsigned char>(line[i])));
  (*static_cast<std::map<std::string, std::string>*>(to))[line.substr(0, colon)] = line.substr(colon + 2);
  return size * count;
}

// Waits until something answers at `url`.
void WaitUntilUp(Process& process, const std::string& url, const std::string& log) {
  const bool up = WaitFor([&] { return !process.Running() || Ask({.url = url, .headers = {}, .body = {}, .file = {}}).status != 0; }, kUp);
  if (!up || !process.Running()) throw std::runtime_error(url + " does not come up: " + Tail(log));
}

std::string Hex(const unsigned char* bytes, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += fmt::format("{:02x}", bytes[i]);
  return text;
}

// Readers and a writer at once: Keystone reads on one connection while it commits on another.
void UseWriteAheadLog(const std::string& path) {
  sqlite3* db = nullptr;
  const bool done = ::sqlite3_open(path.c_str(), &db) == SQLITE_OK &&
                    ::sqlite3_exec(db, "PRAGMA journal_mode=WAL", nullptr, nullptr, nullptr) == SQLITE_OK;
  ::sqlite3_close(db);
  if (!done) throw std::runtime_error(path + " cannot have a write-ahead log");
}

const char* const kKeys[] = {"fernet", "credential"};

}  // namespace

HttpAnswer Ask(const HttpAsk& ask) {
  static const CURLcode initialised = ::curl_global_init(CURL_GLOBAL_DEFAULT);
  HttpAnswer answer;
  CURL* const easy = ::curl_easy_init();
  if (initialised != CURLE_OK || easy == nullptr) throw std::bad_alloc();
  curl_slist* headers = ::curl_slist_append(nullptr, "Expect:");
  for (const std::string& header : ask.headers) headers = ::curl_slist_append(headers, header.c_str());
  ::curl_easy_setopt(easy, CURLOPT_URL, ask.url.c_str());
  ::curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  ::curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  ::curl_easy_setopt(easy, CURLOPT_TIMEOUT, 300L);
  ::curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Append);
  ::curl_easy_setopt(easy, CURLOPT_WRITEDATA, &answer.body);
  ::curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &AppendHeader);
  ::curl_easy_setopt(easy, CURLOPT_HEADERDATA, &answer.headers);
  FILE* const file = ask.file.empty() ? nullptr : std::fopen(ask.file.c_str(), "rb");
  if (file != nullptr) {
    ::curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    ::curl_easy_setopt(easy, CURLOPT_READDATA, file);
    ::curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(fs::file_size(ask.file)));
  } else if (ask.method != "GET" && ask.method != "DELETE") {
    ::curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(ask.body.size()));
    ::curl_easy_setopt(easy, CURLOPT_POSTFIELDS, ask.body.c_str());
  }
  ::curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, ask.method.c_str());
  const CURLcode code = ::curl_easy_perform(easy);
  if (code != CURLE_OK) answer.body = ::curl_easy_strerror(code);
  if (code == CURLE_OK) ::curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &answer.status);
  if (file != nullptr) std::fclose(file);
  ::curl_slist_free_all(headers);
  ::curl_easy_cleanup(easy);
  return answer;
}

std::string UuidFor(const std::string& text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  ::EVP_Digest(text.data(), text.size(), digest, &size, ::EVP_sha256(), nullptr);
  const std::string hex = Hex(digest, 16);
  return hex.substr(0, 8) + "-" + hex.substr(8, 4) + "-" + hex.substr(12, 4) + "-" + hex.substr(16, 4) + "-" + hex.substr(20);
}

// ---- Keystone.

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
      json{{"user", {{"name", "demo"}, {"domain_id", "default"}, {"default_project_id", project}, {"password", demo_password()}}}}.dump());
  const json roles = json::parse(keystone->Admin("GET", "/roles?name=member").body);
  const std::string role = roles.at("roles").at(0).at("id");
  keystone->Admin("PUT", fmt::format("/projects/{}/users/{}/roles/{}", project, user, role));
  return keystone;
}

void Keystone::Spawn() {
  // It ends on SIGTERM (it would reload), so also with the test. It closes connections after an answer, but does not say so by itself.
  process_ = std::make_unique<Process>(
      std::vector<std::string>{"uwsgi", "--plugins", "python3", "--http-socket", fmt::format("127.0.0.1:{}", port_),
                               "--die-on-term", "--add-header", "Connection: close", "--buffer-size", "65535", "--disable-logging", "--wsgi-file",
                               "/usr/bin/keystone-wsgi-public", "--pyargv", ""},
      ProcessOptions{.environment = {"OS_KEYSTONE_CONFIG_FILES=" + (dir_ / "keystone.conf"), "OS_KEYSTONE_CONFIG_DIR=" + dir_.path()},
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

void Keystone::AddEndpoint(const std::string& type, const std::string& region, const std::string& interface, const std::string& url) {
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

Keystone::Credential Keystone::AddApplicationCredential(const std::string& name) {
  const HttpAnswer answer = Ask({.method = "POST",
                                 .url = fmt::format("{}/users/{}/application_credentials", url(), UserId("demo")),
                                 .headers = {"Content-Type: application/json", "X-Auth-Token: " + Token("demo")},
                                 .body = json{{"application_credential", {{"name", name}}}}.dump(),
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

// ---- Glance.

std::string Glance::url() const { return fmt::format("http://127.0.0.1:{}", port_); }

std::unique_ptr<Glance> Glance::Start(const GlanceOptions& options) {
  std::unique_ptr<Glance> glance(new Glance());
  glance->port_ = ReservePort();
  glance->environment_ = options.environment;
  for (const char* directory : {"images", "staging", "lock", "policy"}) fs::create_directory(glance->dir_ / directory);
  glance->WriteConf(options);
  Run({"glance-manage", "--config-file", glance->dir_ / "glance.conf", "db_sync"});
  UseWriteAheadLog(glance->dir_ / "glance.db");
  glance->Spawn();
  if (options.catalog != nullptr) options.catalog->AddService("image", glance->url());
  return glance;
}

void Glance::WriteConf(const GlanceOptions& options) {
  std::vector<std::string> store = options.store;
  if (store.empty()) store.push_back("filesystem_store_datadir = " + (dir_ / "images"));
  std::string text = fmt::format(
      "[DEFAULT]\nbind_host = 127.0.0.1\nbind_port = {1}\nworkers = 0\nuse_stderr = true\nenabled_backends = store:{2}\n"
      "show_multiple_locations = false\nimage_size_cap = 1099511627776\n"
      "[database]\nconnection = sqlite:///{0}/glance.db\n[glance_store]\ndefault_backend = store\n[store]\n{3}\n"
      "[os_glance_staging_store]\nfilesystem_store_datadir = {0}/staging\n[os_glance_tasks_store]\n"
      "filesystem_store_datadir = {0}/staging\n[oslo_concurrency]\nlock_path = {0}/lock\n[oslo_policy]\npolicy_dirs = {0}/policy\n"
      "[paste_deploy]\nconfig_file = /usr/share/glance-common/glance-api-paste.ini\n",
      dir_.path(), port_, options.store_type, fmt::join(store, "\n"));
  if (options.keystone != nullptr) {
    text += fmt::format("flavor = keystone\n[keystone_authtoken]\nwww_authenticate_uri = {0}\nauth_url = {0}\nauth_type = password\n"
                        "username = admin\npassword = {1}\nproject_name = admin\nuser_domain_id = default\n"
                        "project_domain_id = default\ntoken_cache_time = -1\n",
                        options.keystone->url(), Keystone::admin_password());
  }
  Write(dir_ / "glance.conf", text);
  ::chmod((dir_ / "glance.conf").c_str(), 0600);
}

void Glance::Spawn() {
  process_ = std::make_unique<Process>(
      std::vector<std::string>{"glance-api", "--config-file", dir_ / "glance.conf"},
      ProcessOptions{.environment = environment_, .stdout_path = dir_ / "log", .stderr_path = dir_ / "log", .directory = dir_.path()});
  WaitUntilUp(*process_, url() + "/versions", dir_ / "log");
}

HttpAnswer Glance::Request(const std::string& method, const std::string& path, const std::string& token, const std::string& body) {
  std::vector<std::string> headers = {"Content-Type: application/json"};
  if (!token.empty()) headers.push_back("X-Auth-Token: " + token);
  return Ask({.method = method, .url = url() + path, .headers = std::move(headers), .body = body, .file = {}});
}

void Glance::Create(const GlanceImage& image, const std::string& token) {
  json body = {{"id", image.id}, {"disk_format", image.disk_format}, {"container_format", "bare"}, {"visibility", image.visibility}};
  if (!image.name.empty()) body["name"] = image.name;
  const HttpAnswer answer = Request("POST", "/v2/images", token, body.dump());
  if (answer.status != 201) throw std::runtime_error(fmt::format("image {}: {} {} {}", image.id, answer.status, answer.body, Tail(dir_ / "log")));
}

void Glance::Upload(const GlanceImage& image, const std::string& bytes, const std::string& token) {
  Write(dir_ / "upload", bytes);
  UploadFile(image, dir_ / "upload", token);
}

void Glance::UploadFile(const GlanceImage& image, const std::string& path, const std::string& token) {
  Create(image, token);
  std::vector<std::string> headers = {"Content-Type: application/octet-stream"};
  if (!token.empty()) headers.push_back("X-Auth-Token: " + token);
  const HttpAnswer answer =
      Ask({.method = "PUT", .url = fmt::format("{}/v2/images/{}/file", url(), image.id), .headers = headers, .body = {}, .file = path});
  if (answer.status != 204)
    throw std::runtime_error(fmt::format("data of {}: {} {} {}", image.id, answer.status, answer.body, Tail(dir_ / "log")));
}

std::string Glance::FileOf(const std::string& id) const { return dir_ / "images" + "/" + id; }

void Glance::Sql(const std::vector<std::string>& statements) {
  sqlite3* db = nullptr;
  const bool open = ::sqlite3_open((dir_ / "glance.db").c_str(), &db) == SQLITE_OK;
  ::sqlite3_busy_timeout(db, 20'000);
  std::string failure = open ? "" : "cannot open glance.db";
  if (open) ::sqlite3_exec(db, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr);
  for (const std::string& statement : statements) {
    if (!failure.empty()) break;
    if (::sqlite3_exec(db, statement.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) failure = ::sqlite3_errmsg(db);
  }
  if (open && failure.empty() && ::sqlite3_exec(db, "COMMIT", nullptr, nullptr, nullptr) != SQLITE_OK) failure = ::sqlite3_errmsg(db);
  ::sqlite3_close(db);
  if (!failure.empty()) throw std::runtime_error(failure);
}

void Glance::Plant(const std::vector<Planted>& images, const std::string& owner) {
  std::vector<std::string> statements;
  const auto quoted = [](const std::string& text) { return text.empty() ? std::string("NULL") : "'" + text + "'"; };
  for (const Planted& image : images) {
    statements.push_back(fmt::format(
        "INSERT INTO images (id, name, size, status, created_at, updated_at, deleted, disk_format, container_format, checksum, owner, "
        "min_disk, min_ram, protected, visibility, os_hidden, os_hash_algo, os_hash_value) VALUES ('{}', {}, {}, 'active', "
        "'2026-01-02 03:04:05.000000', '2026-01-02 03:04:05.000000', 0, 'raw', 'bare', {}, {}, 0, 0, 0, 'shared', 0, {}, {})",
        image.id, quoted(image.name), image.size, quoted(image.md5), quoted(owner), image.sha512.empty() ? "NULL" : "'sha512'",
        quoted(image.sha512)));
    statements.push_back(fmt::format(
        "INSERT INTO image_locations (image_id, value, created_at, updated_at, deleted, meta_data, status) VALUES ('{0}', "
        "'file://{1}', '2026-01-02 03:04:05.000000', '2026-01-02 03:04:05.000000', 0, '{{\"store\": \"store\"}}', 'active')",
        image.id, FileOf(image.id)));
  }
  Sql(statements);
}

void Glance::Purge(const std::string& id) {
  std::vector<std::string> statements;
  for (const char* table : {"image_locations", "image_properties", "image_tags", "image_members"})
    statements.push_back(fmt::format("DELETE FROM {} WHERE image_id = '{}'", table, id));
  statements.push_back(fmt::format("DELETE FROM images WHERE id = '{}'", id));
  Sql(statements);
}

void Glance::Stop() { process_.reset(); }
void Glance::Restart() {
  Stop();
  Spawn();
}
void Glance::Freeze() { process_->Signal(SIGSTOP); }
void Glance::Thaw() { process_->Signal(SIGCONT); }

}  // namespace glintfs::testing
