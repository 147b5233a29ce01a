// librados writes to stderr and to files of its own, unless told not to; what it has to say is in its error numbers.
//
// The end of a process while the cluster hangs: calls that run, and so connections, outlive the backend. The destructors of Ceph's
// static objects would pull them from under the threads of librados; so they are not run then (EndWithoutDestructors).
#include "backends/ceph/cluster.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <sstream>
#include <vector>

#include "backends/secret_file.h"
#include "fs/base/log.h"

namespace glintfs {
namespace {

constexpr Nanos kCloseWait = std::chrono::seconds(2);

std::string Seconds(Nanos time) {
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(time).count();
  return std::to_string(seconds < 1 ? 1 : seconds);
}

std::string ConfOf(rados_t cluster, const char* option) {
  char value[4096];
  return ::rados_conf_get(cluster, option, value, sizeof(value)) == 0 ? value : "";
}

// "client.glance", and where its key was looked for.
std::string Whose(const CephSettings& settings, const std::string& keyring) {
  return fmt::format("client.{} (ceph_id=), whose key was looked for in {} (ceph_keyring=)", settings.ceph.id,
                     keyring.empty() ? "ceph.conf" : keyring);
}

void WarnOfKeyrings(const std::string& list, bool by_setting) {
  std::istringstream in(list);
  for (std::string path; std::getline(in, path, ',');) {
    path.erase(0, path.find_first_not_of(' '));
    if (!path.empty()) WarnIfReadableByAll(path, by_setting ? "ceph_keyring" : "the keyring of ceph.conf");
  }
}

Error ConnectError(const CephSettings& settings, rados_t cluster, int err) {
  const std::string keyring = ConfOf(cluster, "keyring"), monitors = ConfOf(cluster, "mon_host");
  switch (err) {
    case EACCES:
    case EPERM:
      return {Errc::kAccessDenied, fmt::format("{}: the cluster refuses {}", settings.source, Whose(settings, keyring))};
    case ENOENT:
      if (monitors.empty())
        return {Errc::kInvalid,
                fmt::format("{}: no monitor is known: name the cluster's ceph.conf with ceph_conf=", settings.source)};
      return {Errc::kAccessDenied, fmt::format("{}: no key for {}", settings.source, Whose(settings, keyring))};
    case EINVAL:
    case EIO:  // a keyring that does not parse
      return {Errc::kAccessDenied, fmt::format("{}: no usable key for {}", settings.source, Whose(settings, keyring))};
    default:
      return {Errc::kUnavailable,
              fmt::format("{}: no connection to the monitors ({}): {}", settings.source, monitors, std::strerror(err))};
  }
}

std::atomic<int> open_pools{0};

void EndIfPoolsAreOpen(int status, void*) {
  if (open_pools == 0) return;
  std::fflush(nullptr);
  ::_exit(status);
}

// For what exit() has still to do. Handlers run in the reverse order, so this one comes before the destructors of whatever Ceph has
// made until now.
void EndWithoutDestructors() {
  static std::once_flag once;
  std::call_once(once, [] { ::on_exit(EndIfPoolsAreOpen, nullptr); });
}

}  // namespace

CephPool::CephPool() { ++open_pools; }

CephPool::~CephPool() {
  if (io_ != nullptr) ::rados_ioctx_destroy(io_);
  if (cluster_ != nullptr) ::rados_shutdown(cluster_);
  --open_pools;
}

// One attempt to connect, and those who wait for it.
struct Cluster::Connecting {
  std::mutex mu;  // a leaf, as in SleepUnlessStopped
  std::condition_variable_any changed;
  std::optional<Result<CephPoolPtr>> result;
};

Result<void> Cluster::Configure(const CephSettings& settings, rados_t cluster) {
  const std::string& conf = settings.ceph.conf;
  const int err = ::rados_conf_read_file(cluster, conf.empty() ? nullptr : conf.c_str());
  // Without a file $CEPH_ARGS may say enough.
  if (err != 0 && (!conf.empty() || err != -ENOENT))
    return Error{Errc::kInvalid, fmt::format("{}: cannot use {}: {}", settings.source, conf.empty() ? "ceph.conf" : conf,
                                             std::strerror(-err))};
  ::rados_conf_parse_env(cluster, nullptr);
  const auto set = [cluster](const char* option, const std::string& value) { ::rados_conf_set(cluster, option, value.c_str()); };
  for (const char* option : {"log_to_stderr", "err_to_stderr", "log_to_syslog", "err_to_syslog", "log_to_graylog"})
    set(option, "false");
  for (const char* option : {"log_file", "admin_socket"}) set(option, "");
  set("log_max_recent", "1");
  set("client_mount_timeout", Seconds(settings.ask_deadline));
  set("rados_mon_op_timeout", Seconds(settings.ask_deadline));
  set("rados_osd_op_timeout", Seconds(settings.fetch_deadline));
  set("mon_client_hunt_interval", "1");  // the next monitor is tried after this; ours may be back
  set("mon_client_hunt_interval_max_multiple", "3");
  set("rbd_cache", "false");  // every byte is read once, and from the cluster
  if (!settings.ceph.keyring.empty()) {
    set("keyring", settings.ceph.keyring);
    set("keyfile", "");
    set("key", "");
  }
  // librados would look for DNS records, and say on stderr that there are none.
  if (ConfOf(cluster, "mon_host").empty())
    return Error{Errc::kInvalid, fmt::format("{}: nothing says where the monitors are: name a ceph.conf with mon_host by ceph_conf= or "
                                             "$CEPH_CONF, or put one at /etc/ceph/{}.conf", settings.source, settings.ceph.cluster)};
  WarnOfKeyrings(ConfOf(cluster, "keyring"), !settings.ceph.keyring.empty());
  return {};
}

Result<CephPoolPtr> Cluster::Connect(const CephSettings& settings, const Workers& workers) {
  const CephPoolPtr pool(new CephPool, [post = workers.Poster()](CephPool* dead) { post([dead] { delete dead; }); });
  int err = ::rados_create2(&pool->cluster_, settings.ceph.cluster.c_str(), ("client." + settings.ceph.id).c_str(), 0);
  if (err != 0) return Error{Errc::kUnavailable, fmt::format("{}: librados: {}", settings.source, std::strerror(-err))};
  GLINTFS_TRY(Configure(settings, pool->cluster_));
  err = ::rados_connect(pool->cluster_);
  if (err != 0) return ConnectError(settings, pool->cluster_, -err);
  err = ::rados_ioctx_create(pool->cluster_, settings.pool.c_str(), &pool->io_);
  if (err == -ENOENT)
    return Error{Errc::kNotFound, fmt::format("{}: the cluster has no pool named {}", settings.source, settings.pool)};
  if (err != 0) return ConnectError(settings, pool->cluster_, -err);
  ::rados_ioctx_set_namespace(pool->io_, settings.name_space.c_str());
  pool->heard_ = Clock::System().Now().count();
  return pool;
}

Result<CephPoolPtr> Cluster::GetPool(std::stop_token stop) {
  std::shared_ptr<Connecting> connecting;
  bool first = false;
  {
    const MutexLock lock(mu_);
    if (pool_) return pool_;
    first = connecting_ == nullptr;
    if (first) connecting_ = std::make_shared<Connecting>();
    connecting = connecting_;
  }
  if (first) {
    workers_.Post([self = shared_from_this(), connecting] {
      auto result = Connect(self->settings_, self->workers_);
      {
        const MutexLock lock(self->mu_);
        if (result) self->pool_ = *result;
        self->connecting_.reset();
      }
      const std::lock_guard lock(connecting->mu);
      connecting->result = std::move(result);
      connecting->changed.notify_all();
    });
  }
  std::unique_lock lock(connecting->mu);
  if (connecting->changed.wait(lock, stop, [&] { return connecting->result.has_value(); })) return *connecting->result;
  return Error{Errc::kCancelled, settings_.source + ": connecting: given up"};
}

Error Cluster::Failed(const CephPoolPtr& pool, int err, std::string_view what) {
  const Nanos silent = Clock::System().Now() - Nanos(pool->heard_.load());
  bool dead = err == ESHUTDOWN;  // blocklisted
  // librados mends its own connections. This is for what is not foreseen.
  if (err == ETIMEDOUT && silent > 2 * settings_.fetch_deadline + std::chrono::seconds(5)) dead = true;
  const bool pool_gone =
      err == ENOENT && ::rados_pool_lookup(pool->cluster(), settings_.pool.c_str()) != ::rados_ioctx_get_id(pool->io());
  if (dead || pool_gone) {
    CephPoolPtr old;
    const MutexLock lock(mu_);
    if (pool_ == pool) old.swap(pool_);
  }
  const std::string message = fmt::format("{}: {}: {}", settings_.source, what, std::strerror(err));
  if (pool_gone) return {Errc::kUnavailable, fmt::format("{}: {}: the pool is gone", settings_.source, what)};
  switch (err) {
    case ENOENT: return {Errc::kNotFound, message};
    case EACCES:
    case EPERM:
      return {Errc::kAccessDenied, fmt::format("{}: {}: client.{} has no right to: see its capabilities", settings_.source, what,
                                               settings_.ceph.id)};
    case ETIMEDOUT: return {Errc::kTimedOut, message};
    case EOPNOTSUPP: return {Errc::kNotSupported, message};
    default: return {Errc::kUnavailable, message};
  }
}

void Cluster::Close() {
  {
    CephPoolPtr old;
    const MutexLock lock(mu_);
    old.swap(pool_);
  }
  workers_.Close(kCloseWait);
  if (open_pools != 0) EndWithoutDestructors();
}

namespace {

// Lives until the callback has run: librados writes into it.
struct Operation {
  explicit Operation(CephPoolPtr where) : pool(std::move(where)), op(::rados_create_read_op()) {}
  ~Operation() {
    ::rados_release_read_op(op);
    if (completion != nullptr) ::rados_aio_release(completion);
  }

  const CephPoolPtr pool;
  const rados_read_op_t op;
  rados_completion_t completion = nullptr;
  std::string input;
  char output[4096];
  size_t output_size = 0;
  int step_result = 0;
  time_t mtime = 0;

  std::mutex mu;  // a leaf, as in SleepUnlessStopped
  std::condition_variable_any changed;
  bool done = false;
  ObjectAnswer answer;
};

void OnOperation(rados_completion_t completion, void* arg) {
  const std::unique_ptr<std::shared_ptr<Operation>> held(static_cast<std::shared_ptr<Operation>*>(arg));
  Operation& operation = **held;
  const std::lock_guard lock(operation.mu);
  operation.answer.result = ::rados_aio_get_return_value(completion);
  operation.answer.version = ::rados_aio_get_version(completion);
  operation.done = true;
  operation.changed.notify_all();
}

Result<ObjectAnswer> Operate(const std::shared_ptr<Operation>& operation, const std::string& object, std::stop_token stop) {
  auto held = std::make_unique<std::shared_ptr<Operation>>(operation);
  ::rados_aio_create_completion2(held.get(), OnOperation, &operation->completion);
  const int err = ::rados_aio_read_op_operate(operation->op, operation->pool->io(), operation->completion, object.c_str(), 0);
  if (err != 0) return ObjectAnswer{.result = err, .version = 0, .size = 0, .mtime = 0, .output = ""};
  held.release();
  std::unique_lock lock(operation->mu);
  if (!operation->changed.wait(lock, stop, [&] { return operation->done; })) return Error{Errc::kCancelled, object + ": given up"};
  ObjectAnswer answer = operation->answer;
  answer.mtime = operation->mtime;
  answer.output.assign(operation->output, std::min(operation->output_size, sizeof(operation->output)));
  return answer;
}

}  // namespace

Result<ObjectAnswer> StatObject(const CephPoolPtr& pool, const std::string& object, std::stop_token stop) {
  auto operation = std::make_shared<Operation>(pool);
  ::rados_read_op_stat(operation->op, &operation->answer.size, &operation->mtime, &operation->step_result);
  return Operate(operation, object, stop);
}

Result<ObjectAnswer> ExecOnObject(const CephPoolPtr& pool, const std::string& object, const std::string& cls,
                                  const std::string& method, std::string input, std::stop_token stop) {
  auto operation = std::make_shared<Operation>(pool);
  operation->input = std::move(input);
  ::rados_read_op_exec_user_buf(operation->op, cls.c_str(), method.c_str(), operation->input.data(), operation->input.size(),
                                operation->output, sizeof(operation->output), &operation->output_size, &operation->step_result);
  return Operate(operation, object, stop);
}

}  // namespace glintfs
