// Options: every setting of glintfs exactly once. One table (SettingTable in options.cc) holds name, kind, default,
// help and whether SIGHUP may change it; from it come the parser of -o and of the TOML file, --help, the manual, the
// README's table and --dump-config.
//
// Errors are one line that names the option, its value, what is allowed and, for an unknown name, the nearest known
// one. Values only; thread-safe as values are.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backends/registry.h"
#include "fs/base/log.h"
#include "fs/base/result.h"
#include "fs/cache/cache.h"

namespace glintfs {

// What the mount shows: the images of the source, or what Glance expects to find in its image_cache_dir.
enum class Layout { kImages, kGlanceCache };

// The control API over TCP.
struct ControlTcpOptions {
  enum class Auth { kToken, kKeystone };
  std::string listen;         // "127.0.0.1:9393", "[::1]:9393"; empty: not over TCP
  Auth auth = Auth::kToken;
  std::string token_file;     // for kToken: the one token that may
  std::string keystone;       // for kKeystone: "https://keystone:5000/v3"; empty: as clouds.yaml or OS_AUTH_URL say
  std::string roles = "admin";  // for kKeystone: separated by commas; one of them is needed
  std::string tls_cert;       // PEM files; both or neither
  std::string tls_key;
};

struct Options {
  std::string source;
  std::string mountpoint;  // absolute
  std::vector<std::string> kernel_options;  // those of mount(8) that the kernel is to hear: noexec, context="a:b:c"
  bool foreground = false;

  CacheOptions cache;  // .directory is absolute
  BackendOptions backend;

  Nanos attr_ttl = std::chrono::seconds(60);
  Nanos negative_ttl = std::chrono::seconds(5);
  uint32_t uid = 0, gid = 0;  // owner of every file and directory
  uint32_t mode = 0444;       // permissions of files; a directory adds x where there is r
  bool allow_other = false;
  bool nonempty = false;
  bool passthrough = true;    // where the kernel and our privileges allow it
  Layout layout = Layout::kImages;

  std::string control;        // path of the socket; empty: none
  bool control_optional = false;  // nobody named one and there is no runtime directory: without it, glintfs says so and goes on
  std::string control_group;  // group that owns the socket; empty: the daemon's
  ControlTcpOptions control_tcp;
  std::string log;            // path, "stderr" or "syslog"
  LogLevel log_level = LogLevel::kInfo;
  std::string config;  // the TOML file, empty: none
};

// What defaults depend on, apart from the command line.
struct Surroundings {
  uint32_t uid = 0, gid = 0;
  std::string home;             // $HOME
  std::string xdg_cache_home;   // $XDG_CACHE_HOME
  std::string xdg_runtime_dir;  // $XDG_RUNTIME_DIR
  std::string directory = "/";  // current one, for relative paths

  static Surroundings OfThisProcess();
};

enum class Action { kMount, kCheck, kUnmount, kHelp, kVersion, kDumpConfig, kManual, kManualOfFile, kMarkdown };

struct CommandLine {
  Action action = Action::kMount;
  Options options;
};

// How a command line is written: as people do, or as mount(8) calls the helper of a file system type:
// SOURCE MOUNTPOINT [-sfnv] [-N namespace] [-o options] [-t type.subtype].
enum class Convention { kOwn, kMountHelper };
inline constexpr std::string_view kMountHelper = "mount.fuse.glintfs";  // its name in /sbin
Convention ConventionOf(std::string_view program);  // argv[0]

// `args` without the program's name. kInvalid for everything the user can mend. Reads the config file, if one is named.
Result<CommandLine> ParseCommandLine(std::span<const std::string> args, const Surroundings& around,
                                     Convention convention = Convention::kOwn);

// Refuses values that are allowed one by one but not together. ParseCommandLine does it too.
Result<void> CheckTogether(const Options& options);

// ---- The table.

struct Setting {
  enum class Kind { kSize, kDuration, kShare, kNumber, kFlag, kChoice, kText };

  std::string_view group;  // heading in the manual
  std::string_view name;
  std::string_view default_text;   // parsed like a given value; empty: `set` is not called
  std::string_view shown_default;  // for people, where the default depends on the surroundings
  bool on_sighup;                  // read again on SIGHUP
  std::string_view help;           // sentences, without the default
  Kind kind;
  std::string allowed;  // "a size of at least 1Mi", for messages and the manual
  std::function<Result<void>(Options&, std::string_view)> set;
  std::function<std::string(const Options&)> get;  // text that `set` takes and that gives the same value
};

const std::vector<Setting>& SettingTable();
const Setting* FindSetting(std::string_view name);

// Sets `name` to `value` ("yes" for a bare flag). Names options that mount(8) hands to every file system are accepted
// and mean nothing.
Result<void> SetOption(Options& options, std::string_view name, std::string_view value, bool has_value);

// Applies the TOML file, which may also name `source` and `mountpoint`. Messages begin with its path and, where known, the line.
Result<void> ReadConfigFile(const std::string& path, Options& options);

// ---- Texts.

std::string HelpText();
std::string VersionText();                       // "glintfs 0.1.0"
std::string DumpConfig(const Options& options);  // TOML that ReadConfigFile takes
std::string ManualPage();                        // roff, glintfs(8)
std::string ManualPageOfFile();                  // roff, glintfs.toml(5)
std::string SettingsMarkdown();                  // the table in README.md

// "http://host/a b/" → "http_host_a_b-1a2b3c4d": a name for the source's cache directory and control socket.
std::string NameForSource(std::string_view source);

}  // namespace glintfs
