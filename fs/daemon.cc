// Stopping. The order matters twice: what waits for the source is cancelled before anyone is joined, and the session
// goes before what answers its requests. So a store that never answers cannot hold up an end.
#include "fs/daemon.h"

#include <grp.h>
#include <unistd.h>

#include "backends/backend.h"
#include "control/server.h"
#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/base/size_text.h"
#include "fs/base/thread.h"
#include "fs/cache/layout.h"
#include "fs/cache_events.h"
#include "fs/catalog/catalog.h"
#include "fs/control_tcp.h"
#include "fs/event_log.h"
#include "fs/fuse/filesystem.h"
#include "fs/fuse/session.h"
#include "fs/service.h"
#include "fs/startup.h"

namespace glintfs {
namespace {

constexpr Nanos kFirstAskLimit = std::chrono::seconds(5);
constexpr Nanos kGlanceGiveUp = std::chrono::seconds(5);

Result<ControlOptions> MakeControlOptions(const Options& options) {
  ControlOptions control;
  control.socket_path = options.control;
  GLINTFS_ASSIGN(control.tcp, MakeTcpControl(options));
  if (options.control_group.empty()) return control;
  const group* entry = ::getgrnam(options.control_group.c_str());
  if (entry == nullptr)
    return Error{Errc::kInvalid,
                 fmt::format("option control_group: '{}' is no group of this system", options.control_group)};
  control.group = entry->gr_gid;
  return control;
}

// Null when there is none to be.
Result<std::unique_ptr<ControlServer>> StartControl(const Options& options, ControlOptions control, Service& service) {
  const auto go_without = [&](const std::string& why) {
    LogWarn("no control socket, so nothing for glintctl to ask: {}; choose a place for it with -o control=PATH", why);
    control.socket_path.clear();
  };
  if (options.control_optional && control.socket_path.empty()) go_without("neither XDG_RUNTIME_DIR nor a home directory is known");
  if (options.control_optional && !control.socket_path.empty()) {
    auto started = ControlServer::Start(control, service);
    if (started) return started;
    go_without(started.error().message);
  }
  if (control.socket_path.empty() && !control.tcp) return std::unique_ptr<ControlServer>();
  return ControlServer::Start(control, service);
}

CatalogOptions MakeCatalogOptions(const Options& options, EventLog& events) {
  CatalogOptions catalog;
  catalog.attr_ttl = options.attr_ttl;
  catalog.negative_ttl = options.negative_ttl;
  // Glance has its own store to go to, and can do nothing else while it waits.
  if (options.layout == Layout::kGlanceCache) catalog.give_up = kGlanceGiveUp;
  catalog.on_health = [&events](const Health& health) {
    events.Add(health.reachable ? ServiceEvent::Kind::kSourceBack : ServiceEvent::Kind::kSourceAway, "", health.error);
  };
  return catalog;
}

FsOptions MakeFsOptions(const Options& options, const std::string& source) {
  FsOptions fs;
  fs.source = source;
  fs.file_mode = options.mode;
  fs.uid = options.uid;
  fs.gid = options.gid;
  return fs;
}

// What Glance writes in its image_cache_dir.
Result<std::shared_ptr<Scratch>> OpenScratch(const Options& options) {
  if (options.layout != Layout::kGlanceCache) return std::shared_ptr<Scratch>();
  GLINTFS_ASSIGN(std::shared_ptr<Scratch> scratch, Scratch::Open(options.cache.directory + "/" + layout::kScratch, {}));
  const Scratch::Use use = scratch->use();
  LogInfo("layout glance-cache: scratch area {}/{} holds {} bytes in {} files, at most {} bytes beside max_size", options.cache.directory,
          layout::kScratch, use.bytes, use.files, Scratch::Limits().bytes);
  if (options.uid == 0)
    LogInfo("layout glance-cache: files belong to root; a Glance that runs as another user needs uid= and gid=, as in uid=glance,gid=glance");
  return scratch;
}

SessionOptions MakeSessionOptions(const Options& options, std::shared_ptr<OwnMount> mount) {
  SessionOptions session;
  session.mount = std::move(mount);
  session.mountpoint = options.mountpoint;
  session.fsname = options.source;  // as in fstab: mount -a compares the two
  session.extra = options.kernel_options;
  session.allow_other = options.allow_other;
  session.nonempty = options.nonempty;
  session.writable = options.layout == Layout::kGlanceCache;
  session.passthrough = options.passthrough;
  session.passthrough_probe = options.cache.directory + "/" + layout::kLock;
  return session;
}

bool HasIndex(const std::string& cache_directory) {
  return ::access((cache_directory + "/" + layout::kIndex).c_str(), F_OK) == 0;
}

}  // namespace

// Members in the order they are made.
struct Daemon::Parts {
  explicit Parts(const Options& options) : settings(options) {}

  RunningSettings settings;
  std::shared_ptr<OwnMount> mount;
  EventLog events{Clock::System()};
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Cache> cache;
  std::unique_ptr<Catalog> catalog;
  std::unique_ptr<Filesystem> filesystem;
  std::unique_ptr<Session> session;
  std::unique_ptr<DaemonService> service;
  std::unique_ptr<ControlServer> control;
  Thread watcher;  // waits for the end of the session

  ~Parts() {
    if (service) service->Cancel();
    control.reset();
    if (session) session->Stop();
    watcher.Join();
    if (cache) cache->SetEventHandler(nullptr);
    settings.SetCallbacks({});
    service.reset();
    session.reset();
    if (catalog) catalog->Stop();
  }
};

Daemon::Daemon(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Daemon::~Daemon() = default;

Result<std::unique_ptr<Daemon>> Daemon::Start(const Options& options, std::unique_ptr<Backend> backend, std::shared_ptr<OwnMount> mount,
                                              std::function<void()> on_unmounted) {
  GLINTFS_ASSIGN(ControlOptions control, MakeControlOptions(options));
  Clock& clock = Clock::System();
  auto parts = std::make_unique<Parts>(options);
  parts->backend = std::move(backend);
  const std::string source = parts->backend->source();
  const Result<std::string> asked = AskSource(*parts->backend, kFirstAskLimit);
  const bool no_root = !asked && asked.error().code == Errc::kNotFound;
  if (!asked && !(no_root && HasIndex(options.cache.directory))) return asked.error();
  GLINTFS_ASSIGN(parts->cache, Cache::Open(options.cache, *parts->backend, clock));
  // Who served images of it before did not mistype it: what holds it is away.
  if (no_root && parts->cache->NamesIn("").empty()) return asked.error();
  const std::string trouble = asked ? *asked : asked.error().message;
  parts->catalog = std::make_unique<Catalog>(MakeCatalogOptions(options, parts->events), *parts->backend, *parts->cache, clock);
  // So that it is known from the first question on, and the source is asked again.
  if (!trouble.empty()) parts->catalog->CannotAsk({Errc::kUnavailable, trouble});
  FsOptions fs = MakeFsOptions(options, source);
  GLINTFS_ASSIGN(fs.scratch, OpenScratch(options));
  parts->filesystem = std::make_unique<Filesystem>(std::move(fs), *parts->catalog, *parts->cache, clock);
  parts->settings.SetCallbacks({.apply = [cache = parts->cache.get()](const Options& now) {
                                  SetLogLevel(now.log_level);
                                  cache->SetLimits(now.cache.limits);
                                },
                                .changed = [&events = parts->events](const SettingChange& change) {
                                  events.Add(ServiceEvent::Kind::kSettings, "",
                                             fmt::format("{} {} → {}", change.name, change.before, change.after));
                                }});
  parts->mount = mount;
  parts->service = std::make_unique<DaemonService>(parts->settings, parts->events, *parts->backend, *parts->cache, *parts->catalog,
                                                   clock);
  parts->service->SetMount(mount);
  // The socket before the mount: what can still be refused is refused while nothing shows.
  GLINTFS_ASSIGN(parts->control, StartControl(options, std::move(control), *parts->service));
  GLINTFS_ASSIGN(parts->session, Session::Mount(MakeSessionOptions(options, std::move(mount)), *parts->filesystem));
  parts->service->SetPassthrough(parts->session->passthrough_refused());
  parts->cache->SetEventHandler([filesystem = parts->filesystem.get(), pass_on = PassOnCacheEvents(parts->events, *parts->catalog)](
                                    Cache::Event event, const ImageInfo& image, const Cache::EventDetail& detail) {
    if (event == Cache::Event::kSealed) filesystem->OnSealed(image);
    if (event == Cache::Event::kChunkDropped) filesystem->OnChunkDropped(image);
    pass_on(event, image, detail);
  });
  parts->watcher = Thread("glintfs-watch", [session = parts->session.get(), on_unmounted](std::stop_token) {
    session->WaitUntilEnded();
    on_unmounted();
  });
  LogInfo("mounted {} at {}, cache {} of at most {}", source, options.mountpoint, options.cache.directory,
          FindSetting("max_size")->get(options));
  const std::string& refused = parts->session->passthrough_refused();
  LogInfo("passthrough {}", refused.empty() ? "on: the kernel reads complete images from the cache's files"
                                            : "off: " + refused + "; complete images are read through glintfs, slower");
  std::unique_ptr<Daemon> daemon(new Daemon(std::move(parts)));
  if (!trouble.empty()) LogWarn("source {} cannot be asked ({}): serving what is cached", source, trouble);
  return daemon;
}

bool Daemon::Works() { return parts_->session->Serves(); }

std::string Daemon::Summary() {
  const CacheStats stats = parts_->cache->Stats();
  const std::string most = stats.limits.max_size == 0 ? "no limit" : FormatQuantity(stats.limits.max_size);
  std::string line = fmt::format("serving {}; {} images in the cache, {} complete, {} of {}", parts_->backend->source(),
                                 stats.images - stats.absent, stats.complete + stats.verified,
                                 FormatSize(stats.used_bytes), most);
  if (const Health health = parts_->catalog->health(); !health.reachable)
    line += fmt::format("; source cannot be asked, what is cached is served: {}", health.error);
  if (const std::string why_not = parts_->mount->WhyNot(); !why_not.empty()) line += "; " + why_not;
  if (!stats.storage_error.empty()) line += "; cache does not store: " + stats.storage_error;
  return line;
}

RunningSettings& Daemon::settings() { return parts_->settings; }

void Daemon::ReloadControl() {
  if (parts_->control) parts_->control->Reload();
}

}  // namespace glintfs
