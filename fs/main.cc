// glintfs: command line → Options → Daemon. What belongs to the process and not to the mount is here: descriptors, core
// files, the terminal, exit codes.
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <optional>

#include "fs/background.h"
#include "fs/daemon.h"
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

// Applies what SIGHUP may change; `options` becomes what is now in force.
void Reload(std::span<const std::string> args, const Surroundings& around, Daemon& daemon, Options& options) {
  if (auto reopened = ReopenLog(); !reopened) LogWarn("SIGHUP: {}", reopened.error().message);
  const auto line = ParseCommandLine(args, around);
  if (!line) {
    LogError("SIGHUP: nothing changed: {}", line.error().message);
    return;
  }
  bool changed = false;
  for (const Setting& setting : SettingTable()) {
    const std::string before = setting.get(options), after = setting.get(line->options);
    if (before == after) continue;
    if (!setting.on_sighup) {
      LogWarn("SIGHUP: {} is now {} in the settings, but changes with the next mount only; stays {}", setting.name,
              after, before);
      continue;
    }
    if (auto set = setting.set(options, after); !set) continue;
    LogInfo("SIGHUP: {} {} → {}", setting.name, before, after);
    changed = true;
  }
  SetLogLevel(options.log_level);
  if (changed) {
    daemon.SetLimits(options.cache.limits);
  } else {
    LogInfo("SIGHUP: log opened again, settings unchanged");
  }
}

int Run(std::span<const std::string> args, const Surroundings& around, Options options) {
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

  Events events;
  Signals signals(events, [mountpoint = options.mountpoint] {
    LogWarn("second signal: detaching {} and ending at once", mountpoint);
    if (MountTypeAt(mountpoint).starts_with(kMountType)) DetachMount(mountpoint);
    ::_exit(kForced);
  });
  auto backend = MakeBackend(options.source, options.backend);
  if (!backend) return Fail(kUsage, backend.error());
  auto daemon = Daemon::Start(options, std::move(*backend), [&events] { events.Post(Events::Kind::kUnmounted); });
  if (!daemon) {
    if (options.log != "stderr") LogError("cannot mount: {}", daemon.error().message);
    return Fail(kCannotMount, daemon.error());
  }
  if (background) {
    if (!(*daemon)->warning().empty()) std::fprintf(stderr, "glintfs: %s\n", (*daemon)->warning().c_str());
    background->Ready();
  }
  for (;;) {
    switch (events.Wait()) {
      case Events::Kind::kReload: Reload(args, around, **daemon, options); continue;
      case Events::Kind::kStop: LogInfo("signal: unmounting {}", options.mountpoint); break;
      case Events::Kind::kUnmounted: LogInfo("unmounted: {}", options.mountpoint); break;
    }
    break;
  }
  daemon->reset();
  LogInfo("ended");
  return kOk;
}

int Main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  const Surroundings around = Surroundings::OfThisProcess();
  auto line = ParseCommandLine(args, around);
  if (!line) return Fail(kUsage, line.error());
  std::string text;
  switch (line->action) {
    case Action::kMount: PrepareProcess(); return Run(args, around, std::move(line->options));
    case Action::kHelp: text = HelpText(); break;
    case Action::kVersion: text = VersionText() + "\n"; break;
    case Action::kDumpConfig: text = DumpConfig(line->options); break;
    case Action::kManual: text = ManualPage(); break;
    case Action::kMarkdown: text = SettingsMarkdown(); break;
  }
  std::fputs(text.c_str(), stdout);
  return kOk;
}

}  // namespace
}  // namespace glintfs

int main(int argc, char** argv) { return glintfs::Main(argc, argv); }
