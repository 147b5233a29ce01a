// The pools are made beforehand, with one placement group each: the gateway would make them with many, which takes longer than all
// the rest. What it does in the background (garbage of other zones, resharding, life cycles) is switched off.
#include "tests/support/radosgw.h"

#include <fmt/format.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <stdexcept>

#include "tests/support/port.h"
#include "tests/support/s3_client.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

constexpr char kId[] = "rgw.test";

std::string Slurp(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

S3User KeyNotIn(const std::set<std::string>& known, const std::string& uid, const std::string& json) {
  const nlohmann::json user = nlohmann::json::parse(json);
  for (const auto& key : user.at("keys"))
    if (!known.contains(key.at("access_key"))) return {uid, key.at("access_key"), key.at("secret_key")};
  throw std::runtime_error("radosgw-admin made no key");
}

}  // namespace

struct RadosGateway::Parts {
  explicit Parts(Ceph& the_ceph) : ceph(the_ceph), port(ReservePort()), directory(ceph.directory() + "/rgw") {}

  Ceph& ceph;
  const int port;
  const std::string directory;
  std::set<std::string> access_keys;  // all that were made
  std::optional<Process> process;

  void Spawn() {
    const std::string out = directory + "/out";
    ProcessOptions options;
    options.stdout_path = out;
    options.stderr_path = out;
    options.death_signal = SIGKILL;
    process.emplace(std::vector<std::string>{"radosgw", "-c", ceph.conf(), "-n", fmt::format("client.{}", kId), "-f",
                     fmt::format("--rgw_frontends=beast endpoint=127.0.0.1:{}", port), "--rgw_data=" + directory,
                     "--rgw_dns_name=localhost", "--rgw_thread_pool_size=64", "--log_file=" + directory + "/log",
                     "--admin_socket=" + directory + "/admin.asok", "--pid_file=", "--rgw_run_sync_thread=false",
                     "--rgw_dynamic_resharding=false", "--rgw_enable_lc_threads=false", "--rgw_enable_quota_threads=false"},
                    options);
    const S3Client anybody(fmt::format("http://127.0.0.1:{}", port), "nobody", "nothing");
    if (!WaitFor([&] { return !process->Running() || anybody.Ask("GET", "", "").status != 0; }) || !process->Running())
      throw std::runtime_error("radosgw does not come up: " + Slurp(out) + Slurp(directory + "/log"));
  }

  S3User NewKey(const std::string& uid, const std::vector<std::string>& arguments) {
    std::vector<std::string> argv{"radosgw-admin"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    S3User user = KeyNotIn(access_keys, uid, ceph.Run(std::move(argv)).out);
    access_keys.insert(user.access_key);
    return user;
  }
};

RadosGateway::RadosGateway(Ceph& ceph) : parts_(std::make_unique<Parts>(ceph)) {}
RadosGateway::~RadosGateway() { Stop(); }

std::unique_ptr<RadosGateway> RadosGateway::Start(Ceph& ceph) {
  std::unique_ptr<RadosGateway> gateway(new RadosGateway(ceph));
  std::filesystem::create_directories(gateway->parts_->directory);
  for (const char* pool : {".rgw.root", "default.rgw.log", "default.rgw.control", "default.rgw.meta", "default.rgw.buckets.index",
                           "default.rgw.buckets.data", "default.rgw.buckets.non-ec"})
    ceph.MakePool(pool, "rgw");
  ceph.AddUser(kId, {"mon", "allow rw", "osd", "allow rwx"});
  gateway->parts_->Spawn();
  return gateway;
}

std::string RadosGateway::endpoint() const { return fmt::format("http://127.0.0.1:{}", parts_->port); }
int RadosGateway::port() const { return parts_->port; }

S3User RadosGateway::MakeUser(const std::string& uid) {
  return parts_->NewKey(uid, {"user", "create", "--uid=" + uid, "--display-name=" + uid, "--key-type=s3", "--gen-access-key",
                              "--gen-secret"});
}

S3User RadosGateway::AddKey(const std::string& uid) {
  return parts_->NewKey(uid, {"key", "create", "--uid=" + uid, "--key-type=s3", "--gen-access-key", "--gen-secret"});
}

void RadosGateway::RemoveKey(const S3User& key) {
  parts_->ceph.Run({"radosgw-admin", "key", "rm", "--uid=" + key.uid, "--key-type=s3", "--access-key=" + key.access_key});
}

void RadosGateway::Stop() {
  if (!parts_->process) return;
  Thaw();
  parts_->process->Signal(SIGKILL);  // an orderly end takes seconds, and has nothing to save
  parts_->process.reset();
}

void RadosGateway::Restart() {
  Stop();
  parts_->Spawn();
}

void RadosGateway::Freeze() { parts_->process->Signal(SIGSTOP); }
void RadosGateway::Thaw() { parts_->process->Signal(SIGCONT); }

}  // namespace glintfs::testing
