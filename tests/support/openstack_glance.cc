// The Glance of openstack.h. With `workers = 0` it serves in the process that is started, so that it ends with the test.
#include <fmt/format.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "tests/support/openstack.h"
#include "tests/support/openstack_parts.h"
#include "tests/support/port.h"

namespace glintfs::testing {

namespace fs = std::filesystem;
using namespace openstack;
using nlohmann::json;

std::string Glance::url() const { return fmt::format("http://127.0.0.1:{}", port_); }

std::unique_ptr<Glance> Glance::Start(const GlanceOptions& options) {
  std::unique_ptr<Glance> glance(new Glance());
  glance->port_ = ReservePort();
  glance->environment_ = options.environment;
  glance->within_ = options.within;
  glance->user_ = options.user;
  glance->database_ = options.same_database != nullptr ? options.same_database->database_ : glance->dir_ / "glance.db";
  for (const char* directory : {"images", "staging", "lock", "policy"}) fs::create_directory(glance->dir_ / directory);
  glance->WriteConf(options);
  if (options.same_database == nullptr) {
    Run({"glance-manage", "--config-file", glance->dir_ / "glance.conf", "db_sync"});
    UseWriteAheadLog(glance->database_);
  }
  if (options.user) Run({"chown", "-R", std::to_string(*options.user), glance->dir_.path()});
  glance->Spawn();
  if (options.catalog != nullptr) options.catalog->AddService("image", glance->url());
  return glance;
}

void Glance::WriteConf(const GlanceOptions& options) {
  std::vector<std::string> store = options.store;
  if (store.empty()) store.push_back("filesystem_store_datadir = " + (dir_ / "images"));
  std::string text = fmt::format(
      "[DEFAULT]\nbind_host = 127.0.0.1\nbind_port = {1}\nworkers = 0\nuse_stderr = true\nenabled_backends = store:{2}\n"
      "show_multiple_locations = false\nimage_size_cap = 1099511627776\n{5}\n"
      "[database]\nconnection = sqlite:///{4}\n[glance_store]\ndefault_backend = store\n[store]\n{3}\n"
      "[os_glance_staging_store]\nfilesystem_store_datadir = {0}/staging\n[os_glance_tasks_store]\n"
      "filesystem_store_datadir = {0}/staging\n[oslo_policy]\npolicy_dirs = {0}/policy\n",
      dir_.path(), port_, options.store_type, fmt::join(store, "\n"), database_, fmt::join(options.defaults, "\n"));
  if (options.lock_path) text += fmt::format("[oslo_concurrency]\nlock_path = {}/lock\n", dir_.path());
  text += "[paste_deploy]\nconfig_file = /usr/share/glance-common/glance-api-paste.ini\n";
  std::string flavor = options.flavor;
  if (options.keystone != nullptr) flavor = flavor.empty() ? "keystone" : "keystone+" + flavor;
  if (!flavor.empty()) text += "flavor = " + flavor + "\n";
  if (options.keystone != nullptr) {
    text += fmt::format(
        "[keystone_authtoken]\nwww_authenticate_uri = {0}\nauth_url = {0}\nauth_type = password\n"
        "username = admin\npassword = {1}\nproject_name = admin\nuser_domain_id = default\n"
        "project_domain_id = default\ntoken_cache_time = -1\n",
        options.keystone->url(), Keystone::admin_password());
  }
  Write(dir_ / "glance.conf", text);
  if (!options.policy.empty()) Write(dir_ / "policy/rules.yaml", options.policy);
  ::chmod((dir_ / "glance.conf").c_str(), 0600);
}

void Glance::Spawn() {
  std::vector<std::string> argv = within_;
  for (const std::string& word : {std::string("glance-api"), std::string("--config-file"), dir_ / "glance.conf"}) argv.push_back(word);
  process_ = std::make_unique<Process>(argv, ProcessOptions{.environment = environment_,
                                                            .stdout_path = dir_ / "log",
                                                            .stderr_path = dir_ / "log",
                                                            .directory = dir_.path(),
                                                            .user = user_});
  WaitUntilUp(*process_, url() + "/versions", dir_ / "log");
}

HttpAnswer Glance::Request(const std::string& method, const std::string& path, const std::string& token, const std::string& body) {
  std::vector<std::string> headers = {"Content-Type: application/json"};
  if (!token.empty()) headers.push_back("X-Auth-Token: " + token);
  return Ask({.method = method, .url = url() + path, .headers = std::move(headers), .body = body, .file = {}});
}

void Glance::Create(const GlanceImage& image, const std::string& token) {
  json body = {
      {"id", image.id}, {"disk_format", image.disk_format}, {"container_format", "bare"}, {"visibility", image.visibility}};
  if (!image.name.empty()) body["name"] = image.name;
  const HttpAnswer answer = Request("POST", "/v2/images", token, body.dump());
  if (answer.status != 201)
    throw std::runtime_error(fmt::format("image {}: {} {} {}", image.id, answer.status, answer.body, Tail(dir_ / "log")));
}

void Glance::Upload(const GlanceImage& image, const std::string& bytes, const std::string& token) {
  Write(dir_ / "upload", bytes);
  UploadFile(image, dir_ / "upload", token);
}

void Glance::UploadFile(const GlanceImage& image, const std::string& path, const std::string& token) {
  Create(image, token);
  std::vector<std::string> headers = {"Content-Type: application/octet-stream"};
  if (!token.empty()) headers.push_back("X-Auth-Token: " + token);
  const HttpAnswer answer = Ask(
      {.method = "PUT", .url = fmt::format("{}/v2/images/{}/file", url(), image.id), .headers = headers, .body = {}, .file = path});
  if (answer.status != 204)
    throw std::runtime_error(fmt::format("data of {}: {} {} {}", image.id, answer.status, answer.body, Tail(dir_ / "log")));
}

HttpAnswer Glance::Download(const std::string& id, const std::string& range, const std::string& token) {
  std::vector<std::string> headers;
  if (!range.empty()) headers.push_back("Range: bytes=" + range);
  if (!token.empty()) headers.push_back("X-Auth-Token: " + token);
  return Ask({.method = "GET", .url = fmt::format("{}/v2/images/{}/file", url(), id), .headers = headers, .body = {}, .file = {}});
}

CommandResult Glance::Tool(std::vector<std::string> argv) const {
  argv.insert(argv.begin() + 1, {"--config-file", dir_ / "glance.conf"});
  return RunCommand(argv, {.environment = environment_, .directory = dir_.path(), .user = user_});
}

std::string Glance::LogText() const { return Slurp(dir_ / "log"); }

std::string Glance::FileOf(const std::string& id) const { return dir_ / "images" + "/" + id; }

void Glance::Sql(const std::vector<std::string>& statements) {
  sqlite3* db = nullptr;
  const bool open = ::sqlite3_open(database_.c_str(), &db) == SQLITE_OK;
  ::sqlite3_busy_timeout(db, 20'000);
  std::string failure = open ? "" : "cannot open " + database_;
  if (open) ::sqlite3_exec(db, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr);
  for (const std::string& statement : statements) {
    if (!failure.empty()) break;
    if (::sqlite3_exec(db, statement.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) failure = ::sqlite3_errmsg(db);
  }
  if (open && failure.empty() && ::sqlite3_exec(db, "COMMIT", nullptr, nullptr, nullptr) != SQLITE_OK)
    failure = ::sqlite3_errmsg(db);
  ::sqlite3_close(db);
  if (!failure.empty()) throw std::runtime_error(failure);
}

void Glance::Plant(const std::vector<Planted>& images, const std::string& owner) {
  std::vector<std::string> statements;
  const auto quoted = [](const std::string& text) { return text.empty() ? std::string("NULL") : "'" + text + "'"; };
  for (const Planted& image : images) {
    statements.push_back(fmt::format(
        "INSERT INTO images (id, name, size, status, created_at, updated_at, deleted, disk_format, container_format, checksum, "
        "owner, "
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
