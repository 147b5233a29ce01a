// From the words of the command line to Options. Order: the table's defaults, the config file, -o in the order given,
// then the defaults that depend on the source and on who mounts. The command line is therefore read twice: once for
// config=.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <numeric>
#include <optional>

#include "fs/base/home.h"
#include "fs/options.h"

namespace glintfs {
namespace {

// What mount(8), fstab and systemd hand to every file system. A mount of glintfs is always nosuid and nodev, and but for
// layout=glance-cache read-only.
constexpr std::array kMeansNothing = {
    "defaults",   "ro",       "rw",         "_netdev",    "nofail",      "auto",          "noauto",
    "user",       "nouser",   "users",      "nousers",    "owner",       "noowner",       "group",
    "nogroup",    "suid",     "nosuid",     "dev",        "nodev",       "sync",          "async",
    "dirsync",    "atime",    "noatime",    "relatime",   "norelatime",  "strictatime",   "nostrictatime",
    "diratime",   "nodiratime", "lazytime", "nolazytime", "iversion",    "noiversion",    "mand",
    "nomand",     "silent",   "loud",       "nosymfollow", "symfollow"};

// Labels of SELinux. They may hold commas, and stand in quotes then, also for the kernel.
constexpr std::array kLabels = {"context", "fscontext", "defcontext", "rootcontext"};

bool IsLabel(std::string_view name) { return std::find(kLabels.begin(), kLabels.end(), name) != kLabels.end(); }

// Takes an option that the kernel heeds for this mount too. True when `name` is one.
bool KeepForKernel(Options& options, std::string_view name, std::string_view value, bool has_value) {
  if (name == "exec" || name == "noexec") {
    std::erase(options.kernel_options, "noexec");
    if (name == "noexec") options.kernel_options.emplace_back(name);
    return true;
  }
  if (!IsLabel(name) || !has_value) return false;
  // A kernel without SELinux does not know the word and would refuse the mount.
  if (::access("/sys/fs/selinux/enforce", F_OK) == 0)
    options.kernel_options.push_back(fmt::format("{}=\"{}\"", name, value));
  return true;
}

bool MeansNothing(std::string_view name) {
  return std::find(kMeansNothing.begin(), kMeansNothing.end(), name) != kMeansNothing.end() || name == "comment" ||
         name == "helper" || name == "uhelper" || name.starts_with("x-") || name.starts_with("X-");
}

bool IsKnownOption(std::string_view name) {
  return MeansNothing(name) || IsLabel(name) || name == "exec" || name == "noexec" || name == "remount" ||
         FindSetting(name) != nullptr || (name.starts_with("no") && FindSetting(name.substr(2)) != nullptr);
}

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, change});
    }
  }
  return row[b.size()];
}

Error UnknownOption(std::string_view name) {
  const Setting* nearest = nullptr;
  size_t distance = std::max<size_t>(2, name.size() / 3) + 1;
  for (const Setting& setting : SettingTable()) {
    const size_t d = EditDistance(name, setting.name);
    if (d < distance) nearest = &setting, distance = d;
  }
  const std::string hint = nearest == nullptr ? "" : fmt::format("did you mean {}? ", nearest->name);
  return Error{Errc::kInvalid, fmt::format("option {}: unknown; {}glintfs --help lists all", name, hint)};
}

struct Assignment {
  std::string name, value;
  bool has_value = false;
};

// "a=b\,c,d" → {a, "b,c"}, {d}. A backslash takes the next character as it is; a value that begins with a quotation mark goes
// to the next one, as in fstab: context="user:role:type:s0:c1,c2".
std::vector<Assignment> SplitOptions(std::string_view text) {
  std::vector<Assignment> out;
  Assignment now;
  bool quoted = false;
  auto flush = [&] {
    if (!now.name.empty() || now.has_value) out.push_back(std::move(now));
    now = {};
  };
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '"' && (quoted || (now.has_value && now.value.empty() && text[i - 1] == '='))) {
      quoted = !quoted;
      continue;
    }
    if (c == ',' && !quoted) {
      flush();
      continue;
    }
    if (c == '=' && !now.has_value) {
      now.has_value = true;
      continue;
    }
    if (c == '\\' && i + 1 < text.size()) c = text[++i];
    (now.has_value ? now.value : now.name) += c;
  }
  flush();
  return out;
}

constexpr std::string_view kUsage = "glintfs SOURCE MOUNTPOINT [-o key=value,…] [-f]";
constexpr std::string_view kHelperUsage =
    "mount.fuse.glintfs SOURCE MOUNTPOINT [-sfnv] [-N namespace] [-o options] [-t type.subtype]";

struct Words {
  Action action = Action::kMount;
  bool foreground = false;
  bool sloppy = false;  // unknown options are to be ignored
  std::vector<std::string> positional;
  std::vector<Assignment> options;
};

void AddOptions(std::string_view text, Words& words) {
  for (Assignment& a : SplitOptions(text)) words.options.push_back(std::move(a));
}

constexpr std::pair<std::string_view, Action> kActions[] = {
    {"--help", Action::kHelp},        {"-h", Action::kHelp},
    {"--version", Action::kVersion},  {"-V", Action::kVersion},
    {"--dump-config", Action::kDumpConfig}, {"--unmount", Action::kUnmount},
    {"--man", Action::kManual},       {"--man=toml", Action::kManualOfFile},
    {"--man=markdown", Action::kMarkdown},
};

Result<Words> SplitWords(std::span<const std::string> args) {
  Words words;
  bool options_end = false;
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string& arg = args[i];
    const auto action = std::find_if(std::begin(kActions), std::end(kActions), [&](auto& a) { return a.first == arg; });
    if (options_end || arg.empty() || arg[0] != '-') {
      words.positional.push_back(arg);
    } else if (arg == "--") {
      options_end = true;
    } else if (arg.starts_with("-o")) {
      if (arg.size() == 2 && ++i == args.size()) return Error{Errc::kInvalid, "-o needs a value: -o key=value,…"};
      AddOptions(arg.size() == 2 ? args[i] : std::string_view(arg).substr(2), words);
    } else if (arg == "-f") {
      words.foreground = true;
    } else if (action != std::end(kActions)) {
      words.action = action->second;
    } else {
      return Error{Errc::kInvalid, fmt::format("unknown argument {}; settings are given as -o key=value", arg)};
    }
  }
  return words;
}

Result<Words> SplitHelperWords(std::span<const std::string> args) {
  Words words;
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string& arg = args[i];
    if (arg.size() < 2 || arg[0] != '-') {
      words.positional.push_back(arg);
      continue;
    }
    for (const char flag : std::string_view(arg).substr(1)) {
      const bool takes_value = flag == 'o' || flag == 't' || flag == 'N';
      if (takes_value && ++i == args.size())
        return Error{Errc::kInvalid, fmt::format("-{} needs a value; usage: {}", flag, kHelperUsage)};
      switch (flag) {
        case 'o': AddOptions(args[i], words); break;
        case 's': words.sloppy = true; break;
        case 'f': words.action = Action::kCheck; break;
        case 'n': case 'v': case 't': case 'N': break;  // mount(8) has seen to them
        default: return Error{Errc::kInvalid, fmt::format("unknown argument {}; usage: {}", arg, kHelperUsage)};
      }
    }
  }
  return words;
}

std::string Absolute(const std::string& path, const Surroundings& around) {
  return (std::filesystem::path(around.directory) / path).lexically_normal().string();
}

void MakePathsAbsolute(Options& o, const Surroundings& around) {
  for (std::string* path : {&o.cache.directory, &o.backend.ca_file, &o.backend.user_file, &o.backend.token_file, &o.backend.ceph.conf,
                            &o.backend.ceph.keyring, &o.backend.s3.credentials_file, &o.backend.openstack.clouds_file,
                            &o.control_tcp.token_file, &o.control_tcp.tls_cert, &o.control_tcp.tls_key})
    if (!path->empty()) *path = Absolute(*path, around);
  if (!o.control.empty() && o.control != "none") o.control = Absolute(o.control, around);
  if (!o.log.empty() && o.log != "stderr" && o.log != "syslog") o.log = Absolute(o.log, around);
}

Result<void> FillDefaults(Options& o, const Surroundings& around) {
  const std::string name = o.source.empty() ? "NAME" : NameForSource(o.source);
  const std::string caches = around.uid == 0                   ? "/var/cache"
                             : !around.xdg_cache_home.empty() ? around.xdg_cache_home
                             : around.home.empty()            ? ""
                                                              : around.home + "/.cache";
  if (o.cache.directory.empty()) {
    if (caches.empty())
      return Error{Errc::kInvalid, "option cache: needed, as neither $XDG_CACHE_HOME nor $HOME is set and the user has no home directory"};
    o.cache.directory = caches + "/glintfs/" + name;
  }
  if (o.control.empty()) {
    const std::string runtime = around.uid == 0 ? "/run" : around.xdg_runtime_dir;
    o.control_optional = runtime.empty();  // after su, or from cron
    const std::string directory = !runtime.empty() ? runtime + "/glintfs" : caches.empty() ? "" : caches + "/glintfs/control";
    o.control = directory.empty() ? "none" : directory + "/" + name + ".sock";
  }
  if (o.log.empty()) o.log = o.foreground ? "stderr" : "syslog";
  MakePathsAbsolute(o, around);
  if (o.control == "none") o.control.clear();
  o.backend.max_parallel = o.cache.fetch_threads;
  return {};
}

// The arguments, which win over the file; both may be in either.
Result<void> TakePlaces(const Words& words, const Surroundings& around, Options& o) {
  const auto& p = words.positional;
  if (p.size() > 2) return Error{Errc::kInvalid, fmt::format("one argument too many: {}; usage: {}", p[2], kUsage)};
  if (!p.empty()) o.source = p[0];
  if (p.size() > 1) o.mountpoint = p[1];
  if (!o.mountpoint.empty()) o.mountpoint = Absolute(o.mountpoint, around);
  if (o.mountpoint.size() > 1 && o.mountpoint.ends_with('/')) o.mountpoint.pop_back();
  if (words.action == Action::kDumpConfig) return {};
  const bool needs_source = o.source.empty() && words.action != Action::kUnmount;
  if (!needs_source && !o.mountpoint.empty()) return {};
  const std::string_view missing = !needs_source             ? "MOUNTPOINT is"
                                   : !o.mountpoint.empty() ? "SOURCE is"
                                                           : "SOURCE and MOUNTPOINT are";
  const std::string file = o.config.empty() ? "" : fmt::format("; {} may hold source = and mountpoint =", o.config);
  return Error{Errc::kInvalid, fmt::format("{} missing; usage: {}{}", missing, kUsage, file)};
}

}  // namespace

Surroundings Surroundings::OfThisProcess() {
  auto variable = [](const char* name) {
    const char* value = ::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  std::error_code ignored;
  Surroundings s;
  s.uid = ::getuid();
  s.gid = ::getgid();
  s.home = HomeDirectory();
  s.xdg_cache_home = variable("XDG_CACHE_HOME");
  s.xdg_runtime_dir = variable("XDG_RUNTIME_DIR");
  s.directory = std::filesystem::current_path(ignored).string();
  return s;
}

Result<void> SetOption(Options& options, std::string_view name, std::string_view value, bool has_value) {
  if (MeansNothing(name) || KeepForKernel(options, name, value, has_value)) return {};
  if (name == "remount")
    return Error{Errc::kInvalid,
                 "option remount: settings marked (SIGHUP) change in the config file, then SIGHUP or systemctl reload; "
                 "for others umount and mount again"};
  const Setting* setting = FindSetting(name);
  if (setting == nullptr && !has_value && name.starts_with("no")) {
    setting = FindSetting(name.substr(2));
    if (setting != nullptr && setting->kind == Setting::Kind::kFlag) return setting->set(options, "no");
    setting = nullptr;
  }
  if (setting == nullptr) return UnknownOption(name);
  if (!has_value) {
    if (setting->kind == Setting::Kind::kFlag) return setting->set(options, "yes");
    return Error{Errc::kInvalid, fmt::format("option {}: needs a value: {}", name, setting->allowed)};
  }
  if (auto set = setting->set(options, value); !set)
    return Error{Errc::kInvalid, fmt::format("option {}: {}", name, set.error().message)};
  return {};
}

Convention ConventionOf(std::string_view program) {
  return program.substr(program.rfind('/') + 1) == kMountHelper ? Convention::kMountHelper : Convention::kOwn;
}

Result<CommandLine> ParseCommandLine(std::span<const std::string> args, const Surroundings& around,
                                     Convention convention) {
  GLINTFS_ASSIGN(const Words words, convention == Convention::kOwn ? SplitWords(args) : SplitHelperWords(args));
  CommandLine line;
  line.action = words.action;
  constexpr std::array kTexts = {Action::kHelp, Action::kVersion, Action::kManual, Action::kManualOfFile, Action::kMarkdown};
  if (std::find(kTexts.begin(), kTexts.end(), words.action) != kTexts.end()) return line;
  Options& o = line.options;
  o.foreground = words.foreground;
  o.uid = around.uid;
  o.gid = around.gid;
  o.allow_other = around.uid == 0;
  for (const Setting& setting : SettingTable())
    if (!setting.default_text.empty()) GLINTFS_TRY(SetOption(o, setting.name, setting.default_text, true));
  for (const Assignment& a : words.options)
    if (a.name == "config") GLINTFS_TRY(SetOption(o, a.name, a.value, a.has_value));
  if (!o.config.empty()) {
    o.config = Absolute(o.config, around);
    GLINTFS_TRY(ReadConfigFile(o.config, o));
  }
  for (const Assignment& a : words.options) {
    if (a.name == "config" || (words.sloppy && !IsKnownOption(a.name))) continue;
    GLINTFS_TRY(SetOption(o, a.name, a.value, a.has_value));
  }
  GLINTFS_TRY(TakePlaces(words, around, o));
  GLINTFS_TRY(FillDefaults(o, around));
  if (o.layout == Layout::kGlanceCache && !o.allow_other && o.uid != around.uid)
    return Error{Errc::kInvalid, "option layout: glance-cache with another uid than who mounts needs allow_other"};
  GLINTFS_TRY(CheckTogether(o));
  return line;
}

std::string NameForSource(std::string_view source) {
  while (source.size() > 1 && source.ends_with('/')) source.remove_suffix(1);
  std::string name;
  for (char c : source) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
    if (plain) {
      name += c;
    } else if (!name.empty() && name.back() != '_') {
      name += '_';
    }
    if (name.size() == 40) break;  // a Unix socket's path ends at 107 bytes
  }
  // FNV-1a: the name only has to be the same for the same source for ever, and differ where the cut or the '_' made it
  // equal.
  uint32_t hash = 2166136261u;
  for (unsigned char c : source) hash = (hash ^ c) * 16777619u;
  return fmt::format("{}-{:08x}", name, hash);
}

}  // namespace glintfs
