// From the words of the command line to Options. Order: the table's defaults, the config file, -o in the order given,
// then the defaults that depend on the source and on who mounts. The command line is therefore read twice: once for
// config=.
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <numeric>
#include <optional>

#include "fs/options.h"

namespace glintfs {
namespace {

// What mount(8), fstab and systemd hand to every file system. A mount of glintfs is always read-only, nosuid and nodev.
constexpr std::array kMeansNothing = {
    "defaults",   "ro",       "rw",         "_netdev",    "nofail",      "auto",          "noauto",
    "user",       "nouser",   "users",      "owner",      "group",       "exec",          "noexec",
    "suid",       "nosuid",   "dev",        "nodev",      "sync",        "async",         "dirsync",
    "atime",      "noatime",  "relatime",   "norelatime", "strictatime", "nostrictatime", "diratime",
    "nodiratime", "lazytime", "nolazytime", "iversion",   "noiversion",  "mand",          "nomand",
    "silent",     "loud",     "dirsync"};

bool MeansNothing(std::string_view name) {
  return std::find(kMeansNothing.begin(), kMeansNothing.end(), name) != kMeansNothing.end() || name == "comment" ||
         name.starts_with("x-") || name.starts_with("X-");
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

// "a=b\,c,d" → {a, "b,c"}, {d}. A backslash takes the next character as it is.
std::vector<Assignment> SplitOptions(std::string_view text) {
  std::vector<Assignment> out;
  Assignment now;
  auto flush = [&] {
    if (!now.name.empty() || now.has_value) out.push_back(std::move(now));
    now = {};
  };
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == ',') {
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

struct Words {
  Action action = Action::kMount;
  bool foreground = false;
  std::vector<std::string> positional;
  std::vector<Assignment> options;
};

Result<Words> SplitWords(std::span<const std::string> args) {
  Words words;
  bool options_end = false;
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string& arg = args[i];
    if (options_end || arg.empty() || arg[0] != '-') {
      words.positional.push_back(arg);
    } else if (arg == "--") {
      options_end = true;
    } else if (arg.starts_with("-o")) {
      if (arg.size() == 2 && ++i == args.size()) return Error{Errc::kInvalid, "-o needs a value: -o key=value,…"};
      for (Assignment& a : SplitOptions(arg.size() == 2 ? args[i] : std::string_view(arg).substr(2)))
        words.options.push_back(std::move(a));
    } else if (arg == "-f") {
      words.foreground = true;
    } else if (arg == "--help" || arg == "-h") {
      words.action = Action::kHelp;
    } else if (arg == "--version" || arg == "-V") {
      words.action = Action::kVersion;
    } else if (arg == "--dump-config") {
      words.action = Action::kDumpConfig;
    } else if (arg == "--man") {
      words.action = Action::kManual;
    } else if (arg == "--man=markdown") {
      words.action = Action::kMarkdown;
    } else {
      return Error{Errc::kInvalid, fmt::format("unknown argument {}; settings are given as -o key=value", arg)};
    }
  }
  return words;
}

std::string Absolute(const std::string& path, const Surroundings& around) {
  return (std::filesystem::path(around.directory) / path).lexically_normal().string();
}

void MakePathsAbsolute(Options& o, const Surroundings& around) {
  for (std::string* path : {&o.cache.directory, &o.backend.ca_file, &o.backend.user_file, &o.backend.token_file})
    if (!path->empty()) *path = Absolute(*path, around);
  if (!o.control.empty() && o.control != "none") o.control = Absolute(o.control, around);
  if (!o.log.empty() && o.log != "stderr" && o.log != "syslog") o.log = Absolute(o.log, around);
}

Result<void> FillDefaults(Options& o, const Surroundings& around) {
  const std::string name = o.source.empty() ? "NAME" : NameForSource(o.source);
  if (o.cache.directory.empty()) {
    std::string base = "/var/cache";
    if (around.uid != 0) {
      base = !around.xdg_cache_home.empty() ? around.xdg_cache_home
             : around.home.empty()          ? ""
                                            : around.home + "/.cache";
      if (base.empty())
        return Error{Errc::kInvalid, "option cache: needed, as neither $XDG_CACHE_HOME nor $HOME is set"};
    }
    o.cache.directory = base + "/glintfs/" + name;
  }
  if (o.control.empty()) {
    const std::string base = around.uid == 0 ? "/run" : around.xdg_runtime_dir;
    o.control = base.empty() ? "none" : base + "/glintfs/" + name + ".sock";
  }
  if (o.log.empty()) o.log = o.foreground ? "stderr" : "syslog";
  MakePathsAbsolute(o, around);
  if (o.control == "none") o.control.clear();
  o.backend.max_parallel = o.cache.fetch_threads;
  return {};
}

Result<void> TakePositional(const Words& words, const Surroundings& around, Options& o) {
  const auto& p = words.positional;
  const bool mount = words.action == Action::kMount;
  if (p.size() > 2)
    return Error{Errc::kInvalid, fmt::format("one argument too many: {}; usage: glintfs SOURCE MOUNTPOINT", p[2])};
  if (mount && p.size() < 2)
    return Error{Errc::kInvalid, fmt::format("{} missing; usage: glintfs SOURCE MOUNTPOINT [-o key=value,…] [-f]",
                                             p.empty() ? "SOURCE and MOUNTPOINT are" : "MOUNTPOINT is")};
  if (!p.empty()) o.source = p[0];
  if (p.size() > 1) o.mountpoint = Absolute(p[1], around);
  if (o.mountpoint.size() > 1 && o.mountpoint.ends_with('/')) o.mountpoint.pop_back();
  return {};
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
  s.home = variable("HOME");
  s.xdg_cache_home = variable("XDG_CACHE_HOME");
  s.xdg_runtime_dir = variable("XDG_RUNTIME_DIR");
  s.directory = std::filesystem::current_path(ignored).string();
  return s;
}

Result<void> SetOption(Options& options, std::string_view name, std::string_view value, bool has_value) {
  if (MeansNothing(name)) return {};
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

Result<CommandLine> ParseCommandLine(std::span<const std::string> args, const Surroundings& around) {
  GLINTFS_ASSIGN(const Words words, SplitWords(args));
  CommandLine line;
  line.action = words.action;
  if (words.action != Action::kMount && words.action != Action::kDumpConfig) return line;
  Options& o = line.options;
  o.foreground = words.foreground;
  o.uid = around.uid;
  o.gid = around.gid;
  o.allow_other = around.uid == 0;
  GLINTFS_TRY(TakePositional(words, around, o));
  for (const Setting& setting : SettingTable())
    if (!setting.default_text.empty()) GLINTFS_TRY(SetOption(o, setting.name, setting.default_text, true));
  for (const Assignment& a : words.options)
    if (a.name == "config") GLINTFS_TRY(SetOption(o, a.name, a.value, a.has_value));
  if (!o.config.empty()) {
    o.config = Absolute(o.config, around);
    GLINTFS_TRY(ReadConfigFile(o.config, o));
  }
  for (const Assignment& a : words.options)
    if (a.name != "config") GLINTFS_TRY(SetOption(o, a.name, a.value, a.has_value));
  GLINTFS_TRY(FillDefaults(o, around));
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
