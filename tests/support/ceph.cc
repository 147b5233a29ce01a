// The monitor is told by librados, not by the `ceph` program, which takes half a second for each word. What is said of the
// cluster's state is asked of the cluster: it is up when every placement group answers.
//
// memstore writes its objects to the OSD's directory when it is unmounted, which an OSD does only with osd_fast_shutdown=false;
// that is what Stop and Restart rest on. Without a manager (ceph-mgr) there are no statistics; nothing here needs them. The OSD
// takes its ports (four) from Ceph's usual range, which lies below that of ReservePort; clients learn them from the monitor.
#include "tests/support/ceph.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <rados/librados.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>

#include "tests/support/port.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

constexpr std::chrono::seconds kPatience(60);  // a loaded machine

void Write(const std::string& path, const std::string& text, mode_t mode = 0600) {
  std::ofstream out(path, std::ios::trunc);
  ::chmod(path.c_str(), mode);
  out << text;
  if (!out.flush()) throw std::runtime_error("cannot write " + path);
}

std::string Slurp(const std::string& path) {
  std::ifstream in(path);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

std::string Base64(const std::string& bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t word = 0;
    for (size_t k = 0; k < 3; ++k) word = word << 8 | (i + k < bytes.size() ? static_cast<uint8_t>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) text += i + k > bytes.size() ? '=' : kDigits[word >> (18 - 6 * k) & 63];
  }
  return text;
}

// A cephx key: type (1, AES), time of creation, length (16), the key; little endian.
std::string MakeKey() {
  std::random_device random;
  std::string bytes("\x01\x00\x00\x00\x00\x60\x00\x00\x00\x00\x10\x00", 12);
  for (int i = 0; i < 16; ++i) bytes += static_cast<char>(random());
  return Base64(bytes);
}

std::string MakeUuid() {
  std::ifstream in("/proc/sys/kernel/random/uuid");
  std::string uuid;
  in >> uuid;
  return uuid;
}

bool Listens(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  const bool connected = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  ::close(fd);
  return connected;
}

// Every thread of the process: a signal to stop is on its way for a moment, in which an OSD may still answer.
bool IsStopped(pid_t pid) {
  std::error_code gone;
  for (const auto& task : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), gone)) {
    const std::string stat = Slurp(task.path() / "stat");
    const size_t end = stat.rfind(')');
    if (end != std::string::npos && end + 2 < stat.size() && stat[end + 2] != 'T') return false;
  }
  return !gone;
}

// A connection as client.admin, for one use: a lasting one would have to be mended after each Stop.
class Admin {
 public:
  explicit Admin(const std::string& conf) {
    if (::rados_create(&cluster_, "admin") != 0) throw std::runtime_error("rados_create");
    int err = ::rados_conf_read_file(cluster_, conf.c_str());
    ::rados_conf_set(cluster_, "client_mount_timeout", "30");
    ::rados_conf_set(cluster_, "rados_mon_op_timeout", "30");
    ::rados_conf_set(cluster_, "rados_osd_op_timeout", "30");
    if (err == 0) err = ::rados_connect(cluster_);
    if (err == 0) return;
    ::rados_shutdown(cluster_);
    throw std::runtime_error(fmt::format("connecting to ceph: {}", std::strerror(-err)));
  }
  ~Admin() { ::rados_shutdown(cluster_); }
  Admin(const Admin&) = delete;
  Admin& operator=(const Admin&) = delete;

  std::string Command(const std::string& json) {
    const char* text = json.c_str();
    char *out = nullptr, *status = nullptr;
    size_t out_size = 0, status_size = 0;
    const int err = ::rados_mon_command(cluster_, &text, 1, nullptr, 0, &out, &out_size, &status, &status_size);
    const std::string result(out == nullptr ? "" : out, out_size), why(status == nullptr ? "" : status, status_size);
    ::rados_buffer_free(out);
    ::rados_buffer_free(status);
    if (err != 0) throw std::runtime_error(fmt::format("{}: {}: {}", json, std::strerror(-err), why));
    return result;
  }

  bool OsdIsUp() {
    const auto stat = nlohmann::json::parse(Command(R"({"prefix": "osd stat", "format": "json"})"), nullptr, false);
    return stat.is_object() && stat.value("num_up_osds", 0) == 1;
  }

  std::vector<std::string> Pools() {
    std::string names(64 << 10, '\0');
    ::rados_pool_list(cluster_, names.data(), names.size());
    std::vector<std::string> pools;
    for (const char* name = names.data(); *name != '\0'; name += std::strlen(name) + 1) pools.emplace_back(name);
    return pools;
  }

  // A pool has one placement group: when any object can be asked for, all can.
  bool Serves(const std::string& pool) {
    rados_ioctx_t io = nullptr;
    if (::rados_ioctx_create(cluster_, pool.c_str(), &io) != 0) return false;
    const int err = ::rados_stat(io, "no such object", nullptr, nullptr);
    ::rados_ioctx_destroy(io);
    return err == -ENOENT;
  }

 private:
  rados_t cluster_ = nullptr;
};

}  // namespace

struct Ceph::Parts {
  TempDir dir;
  int port = 0;
  std::unique_ptr<Process> monitor, osd;

  std::string conf() const { return dir / "ceph.conf"; }

  // What the daemons have said last, for whoever has to find out why they do not come up.
  std::string Words() const {
    std::string words;
    for (const char* log : {"mon.a.log", "mon.err", "osd.0.log", "osd.err"}) {
      const std::string text = Slurp(dir / log);
      words += fmt::format("\n{}: {}", log, text.substr(text.size() - std::min<size_t>(text.size(), 2000)));
    }
    return words;
  }

  void RunOrThrow(const std::vector<std::string>& argv) {
    const CommandResult result = RunCommand(argv, {.environment = {"CEPH_ARGS="}});
    if (!result.ok())
      throw std::runtime_error(fmt::format("{} ended with {}: {}{}{}", fmt::join(argv, " "), result.status, result.out,
                                           result.err, Words()));
  }

  std::unique_ptr<Process> Daemon(const std::string& program, const std::string& id, const std::string& errors) {
    return std::make_unique<Process>(std::vector<std::string>{program, "-f", "-c", conf(), "-i", id},
                                     ProcessOptions{.environment = {"CEPH_ARGS="},
                                                    .stdout_path = dir / errors,
                                                    .stderr_path = dir / errors,
                                                    .death_signal = SIGKILL});
  }

  void WaitUntil(const std::string& what, const std::function<bool()>& condition) {
    const bool held = WaitFor([&] { return condition() || !monitor->Running() || (osd && !osd->Running()); }, kPatience);
    if (!held || !monitor->Running() || (osd && !osd->Running()))
      throw std::runtime_error(fmt::format("{}: not within {} s{}", what, kPatience.count(), Words()));
  }

  void StartMonitor() {
    monitor = Daemon("ceph-mon", "a", "mon.err");
    WaitUntil("the monitor listens", [this] { return Listens(port); });
  }

  void StartOsd() {
    osd = Daemon("ceph-osd", "0", "osd.err");
    Admin admin(conf());
    WaitUntil("the OSD is up", [&] { return admin.OsdIsUp(); });
    for (const std::string& pool : admin.Pools())
      WaitUntil("pool " + pool + " serves", [&] { return admin.Serves(pool); });
  }

  void WriteFiles(const std::string& fsid, const std::string& osd_key);
};

void Ceph::Parts::WriteFiles(const std::string& fsid, const std::string& osd_key) {
  const std::string directory = dir.path(), admin_key = MakeKey();
  Write(conf(), fmt::format(R"([global]
fsid = {fsid}
mon_host = v1:127.0.0.1:{port}
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
auth_allow_insecure_global_id_reclaim = false
keyring = {dir}/$name.keyring
ms_bind_msgr2 = false
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
run_dir = {dir}
admin_socket =
log_file =
[mon]
log_file = {dir}/$name.log
mon_data = {dir}/mon
keyring = {dir}/mon/keyring
mon_cluster_log_file = {dir}/cluster.log
mon_data_avail_crit = 1
paxos_propose_interval = 0.02
paxos_min_wait = 0.01
mon_allow_pool_size_one = true
mon_allow_pool_delete = true
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
[osd]
log_file = {dir}/$name.log
osd_data = {dir}/osd
osd_objectstore = memstore
memstore_device_bytes = 4294967296
osd_fast_shutdown = false
osd_memory_target = 939524096
)",
                            fmt::arg("fsid", fsid), fmt::arg("port", port), fmt::arg("dir", directory)),
        0644);
  Write(dir / "mon.keyring", fmt::format(R"([mon.]
	key = {}
	caps mon = "allow *"
[client.admin]
	key = {}
	caps mon = "allow *"
	caps osd = "allow *"
	caps mds = "allow *"
	caps mgr = "allow *"
[osd.0]
	key = {}
	caps mon = "allow profile osd"
	caps osd = "allow *"
)",
                                         MakeKey(), admin_key, osd_key));
  Write(dir / "client.admin.keyring", fmt::format("[client.admin]\n\tkey = {}\n", admin_key));
  Write(dir / "osd.0.keyring", fmt::format("[osd.0]\n\tkey = {}\n", osd_key));
}

Ceph::Ceph() : parts_(std::make_unique<Parts>()) {}

Ceph::~Ceph() = default;  // Process kills: what they hold is not wanted any more

std::unique_ptr<Ceph> Ceph::Start() {
  std::unique_ptr<Ceph> ceph(new Ceph);
  Parts& parts = *ceph->parts_;
  const std::string fsid = MakeUuid(), osd_uuid = MakeUuid(), map = parts.dir / "monmap";
  parts.port = ReservePort();
  parts.WriteFiles(fsid, MakeKey());
  for (const char* name : {"mon", "osd"}) std::filesystem::create_directory(parts.dir / name);
  const std::string address = fmt::format("[v1:127.0.0.1:{}]", parts.port);
  parts.RunOrThrow({"monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a", address, map});
  parts.RunOrThrow({"ceph-mon", "-c", parts.conf(), "--mkfs", "-i", "a", "--monmap", map, "--keyring", parts.dir / "mon.keyring"});
  parts.StartMonitor();
  ceph->Command(fmt::format(R"({{"prefix": "osd new", "uuid": "{}"}})", osd_uuid));
  parts.RunOrThrow({"ceph-osd", "-c", parts.conf(), "-i", "0", "--mkfs", "--osd-uuid", osd_uuid});
  parts.StartOsd();
  return ceph;
}

std::string Ceph::conf() const { return parts_->conf(); }
std::string Ceph::directory() const { return parts_->dir.path(); }
std::string Ceph::keyring(const std::string& id) const { return parts_->dir / ("client." + id + ".keyring"); }

std::string Ceph::Command(const std::string& json) { return Admin(parts_->conf()).Command(json); }

void Ceph::MakePool(const std::string& name, const std::string& application) {
  Admin admin(parts_->conf());
  admin.Command(fmt::format(R"({{"prefix": "osd pool create", "pool": "{}", "pg_num": 1, "pgp_num": 1}})", name));
  admin.Command(fmt::format(R"({{"prefix": "osd pool application enable", "pool": "{}", "app": "{}"}})", name, application));
  parts_->WaitUntil("pool " + name + " serves", [&] { return admin.Serves(name); });
}

void Ceph::AddUser(const std::string& id, const std::vector<std::string>& capabilities) {
  const nlohmann::json command = {{"prefix", "auth get-or-create"}, {"entity", "client." + id}, {"caps", capabilities}};
  Write(keyring(id), Command(command.dump()));
}

CommandResult Ceph::Run(std::vector<std::string> argv) {
  argv.insert(argv.begin() + 1, {"-c", parts_->conf()});
  CommandResult result = RunCommand(argv, {.environment = {"CEPH_ARGS="}});
  if (!result.ok())
    throw std::runtime_error(fmt::format("{} ended with {}: {}{}", fmt::join(argv, " "), result.status, result.out, result.err));
  return result;
}

void Ceph::Stop() {
  Thaw();
  // The OSD first: it says goodbye to the monitor, which then knows that it is down.
  for (auto* process : {&parts_->osd, &parts_->monitor}) {
    if (!*process) continue;
    (*process)->Signal(SIGTERM);
    if (!(*process)->Wait(kPatience)) throw std::runtime_error("ceph does not end" + parts_->Words());
    process->reset();
  }
}

void Ceph::Restart() {
  Stop();
  parts_->StartMonitor();
  parts_->StartOsd();
}

void Ceph::Freeze() {
  for (auto* process : {&parts_->osd, &parts_->monitor}) {
    if (!*process) continue;
    (*process)->Signal(SIGSTOP);
    if (!WaitFor([&] { return IsStopped((*process)->pid()); }, kPatience)) throw std::runtime_error("ceph does not stop");
  }
}

void Ceph::Thaw() {
  for (auto* process : {&parts_->monitor, &parts_->osd})
    if (*process) (*process)->Signal(SIGCONT);
}

}  // namespace glintfs::testing
