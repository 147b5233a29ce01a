// glintfs: command line → Options → Daemon. What belongs to the process and not to the mount is here: descriptors, core
// files, the terminal, exit codes.
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <tuple>

#include "fs/background.h"
#include "fs/base/mount_table.h"
#include "fs/base/own_mount.h"
#include "fs/control_tcp.h"
#include "fs/daemon.h"
#include "fs/notify.h"
#include "fs/options.h"
#include "fs/signals.h"
#include "fs/startup.h"

namespace glintfs {
namespace {

enum ExitCode { kOk = 0, kCannotMount = 1, kUsage = 2, kForced = 3 };  // as in the manual, see options_text.cc

int Fail(ExitCode code, const Error& error) {
  std::fprintf(stderr, "glintfs: %s\n", error.message.empty() ? error.ToString().c_str() : error.message.c_str());
  return code;
}

void PrepareProcess() {
  rlimit files;
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    // One descriptor per image in use and per connection; the soft limit of 1024 is for users of select().
    files.rlim_cur = std::min<rlim_t>(files.rlim_max, 1 << 20);
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
  const char* dumpable = ::getenv("GLINTFS_DUMPABLE");
  if (dumpable == nullptr || std::string_view(dumpable) != "1") ::prctl(PR_SET_DUMPABLE, 0);
  ::umask(022);  // cache files get their 0600 explicitly; the control socket's directory must stay reachable
}

// The words glintfs was started with, for reading them again on SIGHUP.
struct Words {
  std::vector<std::string> args;
  Convention convention;
  Surroundings around;

  Result<CommandLine> Parse() const { return ParseCommandLine(args, around, convention); }
};

// Says so when the file now names another source or mount point.
void WarnOfOtherPlaces(const Options& before, const Options& after) {
  for (const auto& [name, was, is] : {std::tuple("source", &before.source, &after.source),
                                      std::tuple("mountpoint", &before.mountpoint, &after.mountpoint)})
    if (*was != *is)
      LogWarn("SIGHUP: {} is now {} in the settings, but changes with the next mount only; stays {}", name, *is, *was);
}

// SIGHUP: what the file and the command line say now wins, also over what was changed meanwhile.
Result<void> Reload(const Words& words, Daemon& daemon) {
  if (auto reopened = ReopenLog(); !reopened) LogWarn("SIGHUP: {}", reopened.error().message);
  const auto line = words.Parse();
  if (!line) {
    LogError("SIGHUP: nothing changed: {}", line.error().message);
    return line.error();
  }
  WarnOfOtherPlaces(daemon.settings().Get(), line->options);
  daemon.settings().Reload(line->options);
  daemon.ReloadControl();
  return {};
}

// Until the end of the mount. The service manager hears how it goes, and gets its signs of life from here: so this thread
// runs, the parts give out their locks, and the kernel's requests are answered.
void Serve(const Words& words, Events& events, Daemon& daemon, const Options& options, Notifier& notifier) {
  std::string refused;  // why the last reload changed nothing
  const auto summary = [&] { return daemon.Summary() + (refused.empty() ? "" : "; reload refused: " + refused); };
  constexpr Nanos kStatusInterval = std::chrono::seconds(5);
  const Nanos interval =
      notifier.watchdog() == Nanos(0) ? kStatusInterval : std::min(kStatusInterval, notifier.watchdog() / 3);
  if (notifier.enabled()) notifier.Status(summary());
  notifier.Ready();
  for (;;) {
    const auto event = notifier.enabled() ? events.WaitFor(interval) : events.Wait();
    if (!event) {
      notifier.Status(summary());
      if (notifier.watchdog() != Nanos(0) && daemon.Works()) notifier.Alive();
      continue;
    }
    switch (*event) {
      case Events::Kind::kReload: {
        notifier.Reloading();
        const auto reloaded = Reload(words, daemon);
        refused = reloaded ? "" : reloaded.error().message;
        if (notifier.enabled()) notifier.Status(summary());
        notifier.Ready();
        continue;
      }
      case Events::Kind::kStop: LogInfo("signal: unmounting {}", options.mountpoint); return;
      case Events::Kind::kUnmounted: LogInfo("unmounted: {}", options.mountpoint); return;
    }
  }
}

int Run(const Words& words, Options options) {
  // Only who stays in the foreground is the service; in the background, what started us may be one, with news of its own.
  Notifier notifier = Notifier::FromEnvironment();
  if (!options.foreground) notifier = Notifier();
  notifier.Status(fmt::format("starting: {}", options.source));
  if (auto checked = CheckPlaces(options); !checked) return Fail(kCannotMount, checked.error());
  const auto made = PrepareCacheDirectory(options);  // kept to the end: what is empty then goes
  if (!made) return Fail(kCannotMount, made.error());

  std::optional<Background> background;
  if (!options.foreground) {
    auto forked = Background::Fork();
    if (!forked) return Fail(kCannotMount, forked.error());
    background.emplace(std::move(*forked));
  }
  [[maybe_unused]] const int ignored = ::chdir("/");

  SetLogLevel(options.log_level);
  if (auto opened = OpenLog(options.log == "stderr" ? "" : options.log); !opened)
    return Fail(kCannotMount, opened.error());
  if (background) KeepWarnings();  // for whoever waits at the terminal

  Events events;
  const auto mount = std::make_shared<OwnMount>();
  Signals signals(events, [mount] {
    const OwnMount::Place ours = mount->place();
    const bool shows = mount->Shows();
    LogWarn("second signal: {}ending at once", shows ? fmt::format("detaching {} and ", ours.path) : "");
    if (shows) DetachMount(ours.path);
    ::_exit(kForced);
  });
  if (auto checked = CheckTcpControl(options); !checked) return Fail(kUsage, checked.error());
  auto backend = MakeBackend(options.source, options.backend);
  if (!backend) return Fail(kUsage, backend.error());
  auto daemon = Daemon::Start(options, std::move(*backend), mount, [&events] { events.Post(Events::Kind::kUnmounted); });
  if (!daemon) {
    if (options.log != "stderr") LogError("cannot mount: {}", daemon.error().message);
    return Fail(kCannotMount, daemon.error());
  }
  if (background) {
    for (const std::string& warning : TakeWarnings())
      if (options.log != "stderr") std::fprintf(stderr, "glintfs: %s\n", warning.c_str());
    background->Ready();
  }
  Serve(words, events, **daemon, options, notifier);
  notifier.Stopping();
  notifier.Status("stopping: " + options.mountpoint);
  daemon->reset();
  LogInfo("ended");
  return kOk;
}

// The topmost mount at the mount point is a glintfs, and of this source if one is named: the file of config= may have changed since
// the mount, and now name another's mount point.
bool IsMounted(const Options& options) {
  const auto top = TopMountAt(options.mountpoint);
  return top && top->type.starts_with(kMountType) && (options.source.empty() || top->source == options.source);
}

// For a service manager: the mount is gone for everybody when this returns, even if its daemon should hang.
int Unmount(const Options& options) {
  if (!IsMounted(options)) return kOk;
  DetachMount(options.mountpoint);
  if (!IsMounted(options)) return kOk;
  return Fail(kCannotMount, {Errc::kAccessDenied, "cannot unmount " + options.mountpoint});
}

// mount(8) expects its own exit codes from a helper.
int ForMount(int code) {
  constexpr int kMountUsage = 1, kMountFailed = 32;
  return code == kOk ? kOk : code == kUsage ? kMountUsage : kMountFailed;
}

int Main(int argc, char** argv) {
  const Words words{{argv + 1, argv + argc}, ConventionOf(argv[0]), Surroundings::OfThisProcess()};
  const bool helper = words.convention == Convention::kMountHelper;
  auto line = words.Parse();
  if (!line) return helper ? ForMount(Fail(kUsage, line.error())) : Fail(kUsage, line.error());
  std::string text;
  switch (line->action) {
    case Action::kMount: {
      PrepareProcess();
      const int code = Run(words, std::move(line->options));
      return helper ? ForMount(code) : code;
    }
    case Action::kCheck: return kOk;
    case Action::kUnmount: return Unmount(line->options);
    case Action::kHelp: text = HelpText(); break;
    case Action::kVersion: text = VersionText() + "\n"; break;
    case Action::kDumpConfig: text = DumpConfig(line->options); break;
    case Action::kManual: text = ManualPage(); break;
    case Action::kManualOfFile: text = ManualPageOfFile(); break;
    case Action::kMarkdown: text = SettingsMarkdown(); break;
  }
  std::fputs(text.c_str(), stdout);
  return kOk;
}

}  // namespace
}  // namespace glintfs

int main(int argc, char** argv) { return glintfs::Main(argc, argv); }
