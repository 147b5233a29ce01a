// The table of settings. A row binds a name to a field of Options through one of the Kind functions below (Size,
// Duration, …), which make the parser, its inverse and the words for what is allowed; so a default, a bound or a unit
// stands in one place.
//
// Defaults are texts and go through the same parser as what a user writes. Those that depend on who mounts what
// (cache=, control=, uid=, log=, allow_other) are filled in by options_parse.cc once the command line is known.
#include "fs/options.h"

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <initializer_list>
#include <optional>

#include "fs/base/size_text.h"

namespace glintfs {
namespace {

using Kind = Setting::Kind;

struct Binding {
  Kind kind;
  std::string allowed;
  std::function<Result<void>(Options&, std::string_view)> set;
  std::function<std::string(const Options&)> get;
};

Error NotAllowed(std::string_view value, std::string_view allowed) {
  return Error{Errc::kInvalid, fmt::format("'{}' is not {}", value, allowed)};
}

template <typename Field>
Binding Size(Field field, uint64_t least, uint64_t most = 0, bool power_of_two = false) {
  std::string allowed = "a size like 10G (10·10⁹ bytes) or 10Gi (10·2³⁰)";
  if (most != 0) {
    allowed += fmt::format(" from {} to {}", FormatQuantity(least), FormatQuantity(most));
  } else if (least != 0) {
    allowed += fmt::format(" of at least {}", FormatQuantity(least));
  }
  if (power_of_two) allowed += ", a power of two";
  auto set = [=](Options& o, std::string_view text) -> Result<void> {
    const auto value = ParseSize(text);
    if (!value || *value < least || (most != 0 && *value > most) || (power_of_two && !std::has_single_bit(*value)))
      return NotAllowed(text, allowed);
    field(o) = *value;
    return {};
  };
  return {Kind::kSize, allowed, set, [=](const Options& o) { return FormatQuantity(field(o)); }};
}

std::string DurationText(Nanos value) {
  struct Unit {
    int64_t ms;
    const char* suffix;
  };
  const int64_t ms = std::chrono::duration_cast<std::chrono::milliseconds>(value).count();
  for (const Unit& unit : {Unit{86'400'000, "d"}, Unit{3'600'000, "h"}, Unit{60'000, "m"}, Unit{1000, "s"}})
    if (ms != 0 && ms % unit.ms == 0) return fmt::format("{}{}", ms / unit.ms, unit.suffix);
  return ms == 0 ? "0s" : fmt::format("{}ms", ms);
}

template <typename Field>
Binding Duration(Field field, std::string_view least) {
  const std::string allowed = fmt::format("a duration like 500ms, 90s, 10m or 24h, at least {}", least);
  auto set = [=, least = *ParseDuration(least)](Options& o, std::string_view text) -> Result<void> {
    const auto value = ParseDuration(text);
    if (!value || *value < least) return NotAllowed(text, allowed);
    field(o) = *value;
    return {};
  };
  return {Kind::kDuration, allowed, set, [=](const Options& o) { return DurationText(field(o)); }};
}

template <typename Field>
Binding Share(Field field, double least, double most) {
  const std::string allowed = fmt::format("a share from {:g}% to {:g}%, written 90% or 0.9", least * 100, most * 100);
  auto set = [=](Options& o, std::string_view text) -> Result<void> {
    const auto value = ParseShare(text);
    if (!value || *value < least || *value > most) return NotAllowed(text, allowed);
    field(o) = *value;
    return {};
  };
  return {Kind::kShare, allowed, set, [=](const Options& o) { return fmt::format("{:.6g}%", field(o) * 100); }};
}

template <typename Field>
Binding Number(Field field, int least, int most) {
  const std::string allowed = fmt::format("a number from {} to {}", least, most);
  auto set = [=](Options& o, std::string_view text) -> Result<void> {
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < least || value > most)
      return NotAllowed(text, allowed);
    field(o) = value;
    return {};
  };
  return {Kind::kNumber, allowed, set, [=](const Options& o) { return fmt::format("{}", field(o)); }};
}

template <typename Field>
Binding Flag(Field field) {
  const std::string allowed = "yes or no";
  auto set = [=](Options& o, std::string_view text) -> Result<void> {
    const bool yes = text == "yes" || text == "true" || text == "on" || text == "1";
    if (!yes && text != "no" && text != "false" && text != "off" && text != "0") return NotAllowed(text, allowed);
    field(o) = yes;
    return {};
  };
  return {Kind::kFlag, allowed, set, [=](const Options& o) { return std::string(field(o) ? "yes" : "no"); }};
}

template <typename T, typename Field>
Binding Choice(Field field, std::initializer_list<std::pair<const char*, T>> list) {
  const std::vector<std::pair<std::string, T>> choices(list.begin(), list.end());
  std::string allowed;
  for (size_t i = 0; i < choices.size(); ++i)
    allowed += (i == 0 ? "" : i + 1 == choices.size() ? " or " : ", ") + choices[i].first;
  auto set = [=](Options& o, std::string_view text) -> Result<void> {
    for (const auto& [name, value] : choices) {
      if (text != name) continue;
      field(o) = value;
      return {};
    }
    return NotAllowed(text, allowed);
  };
  auto get = [=](const Options& o) {
    for (const auto& [name, value] : choices)
      if (field(o) == value) return name;
    return std::string();
  };
  return {Kind::kChoice, allowed, set, get};
}

template <typename Field>
Binding Text(Field field, std::string allowed) {
  auto set = [=](Options& o, std::string_view text) -> Result<void> {
    if (text.empty()) return NotAllowed(text, allowed);
    field(o) = std::string(text);
    return {};
  };
  return {Kind::kText, allowed, set, [=](const Options& o) { return std::string(field(o)); }};
}

// A number, or a name that `lookup` knows.
template <typename Field, typename Lookup>
Binding Account(Field field, std::string allowed, Lookup lookup) {
  auto set = [=](Options& o, std::string_view text) -> Result<void> {
    uint32_t id = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (error != std::errc() || end != text.data() + text.size()) {
      const std::optional<uint32_t> known = lookup(std::string(text));
      if (!known) return NotAllowed(text, allowed);
      id = *known;
    }
    field(o) = id;
    return {};
  };
  return {Kind::kText, allowed, set, [=](const Options& o) { return fmt::format("{}", field(o)); }};
}

template <typename Field>
Binding Mode(Field field) {
  const std::string allowed = "an octal mode of read and execute bits like 0444 or 0440";
  auto set = [=](Options& o, std::string_view text) -> Result<void> {
    uint32_t mode = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
    if (error != std::errc() || end != text.data() + text.size() || (mode & ~0555u) != 0)
      return NotAllowed(text, allowed);
    field(o) = mode;
    return {};
  };
  return {Kind::kText, allowed, set, [=](const Options& o) { return fmt::format("{:04o}", field(o)); }};
}

std::optional<uint32_t> UserId(const std::string& name) {
  const passwd* entry = ::getpwnam(name.c_str());
  return entry == nullptr ? std::nullopt : std::optional<uint32_t>(entry->pw_uid);
}
std::optional<uint32_t> GroupId(const std::string& name) {
  const group* entry = ::getgrnam(name.c_str());
  return entry == nullptr ? std::nullopt : std::optional<uint32_t>(entry->gr_gid);
}

class Table {
 public:
  void Group(std::string_view group) { group_ = group; }
  void Add(std::string_view name, std::string_view value, std::string_view shown, bool on_sighup, Binding binding,
           std::string_view help) {
    settings_.push_back({group_, name, value, shown, on_sighup, help, binding.kind, std::move(binding.allowed),
                         std::move(binding.set), std::move(binding.get)});
  }
  std::vector<Setting> Take() { return std::move(settings_); }

 private:
  std::string_view group_;
  std::vector<Setting> settings_;
};

constexpr bool kOnSighup = true, kFixed = false;
#define FIELD(path) \
  [](auto& o) -> auto& { return o.path; }

void AddCache(Table& t) {
  t.Group("Cache");
  t.Add("cache", "", "/var/cache/glintfs/NAME for root, else $XDG_CACHE_HOME/glintfs/NAME", kFixed,
        Text(FIELD(cache.directory), "a directory"),
        "Directory of the cache, made if missing. One daemon at a time. NAME is made from the source.");
  t.Add("max_size", "10G", "", kOnSighup, Size(FIELD(cache.limits.max_size), 0),
        "Most disk space the cache may take, fetches in flight included; never exceeded; at least four chunks. 0: no limit but min_free.");
  t.Add("low_mark", "90%", "", kOnSighup, Share(FIELD(cache.limits.low_mark), 0, 1),
        "Share of max_size that eviction goes down to once it starts.");
  t.Add("min_free", "5%", "", kOnSighup, Share(FIELD(cache.limits.min_free), 0, 1),
        "Share of the cache's file system that is left free.");
  t.Add("stall_time", "24h", "", kOnSighup, Duration(FIELD(cache.limits.stall_time), "1s"),
        "A partial image without progress and without an open handle for this long is removed (not with fill=demand).");
  t.Add("clean_interval", "10m", "", kOnSighup, Duration(FIELD(cache.limits.clean_interval), "1s"),
        "How often stalled and invalid images are looked for and removed.");
  t.Add("chunk", "256Ki", "", kFixed, Size(FIELD(cache.chunk_size), 64 << 10, 4 << 20, true),
        "Unit of presence in the cache. Fixed for a cache directory when it is made.");
}

void AddFilling(Table& t) {
  t.Group("Filling");
  t.Add(
      "fill", "full", "", kFixed,
      Choice<FillMode>(FIELD(cache.fill), {{"full", FillMode::kFull}, {"demand", FillMode::kDemand}}),
      "full: the first read of an image also fetches the rest of it in the background. demand: only what is read, and "
      "readahead.");
  t.Add("fill_rate", "0", "", kOnSighup, Size(FIELD(cache.limits.fill_rate), 0),
        "Limit in bytes per second for background and queued traffic together; reads that wait are never limited. 0: "
        "none.");
  t.Add("threads", "16", "", kFixed, Number(FIELD(cache.fetch_threads), 1, 256), "Fetches that may run at once.");
}

void AddSource(Table& t) {
  t.Group("Source");
  t.Add("connect_timeout", "10s", "", kFixed, Duration(FIELD(backend.connect_timeout), "10ms"),
        "How long a connection may take to be made.");
  t.Add("first_byte_timeout", "20s", "", kFixed, Duration(FIELD(backend.first_byte_timeout), "10ms"),
        "How long a request may wait for the first byte of its answer.");
  t.Add("low_speed_limit", "1Ki", "", kFixed, Size(FIELD(backend.low_speed_limit), 0),
        "A transfer slower than this many bytes per second for low_speed_time is cut off and tried again.");
  t.Add("low_speed_time", "20s", "", kFixed, Duration(FIELD(backend.low_speed_time), "1s"), "See low_speed_limit.");
  t.Add("fetch_timeout", "60s", "", kFixed, Duration(FIELD(backend.fetch_deadline), "10ms"),
        "A fetch with all its retries fails after this long without a new byte.");
  t.Add("ask_timeout", "15s", "", kFixed, Duration(FIELD(backend.ask_deadline), "10ms"),
        "A question about a name with all its retries fails after this long.");
  t.Add("retries", "4", "", kFixed, Number(FIELD(backend.retries), 0, 100), "Attempts after the first, with back-off.");
  t.Add("ca_file", "", "the system's", kFixed, Text(FIELD(backend.ca_file), "a file of PEM certificates"),
        "Certificate authorities for https.");
  t.Add("user_file", "", "none", kFixed, Text(FIELD(backend.user_file), "a file that holds user:password"),
        "File with user:password for HTTP basic authentication. Without one: $GLINTFS_HTTP_USER.");
  t.Add("token_file", "", "none", kFixed, Text(FIELD(backend.token_file), "a file that holds a bearer token"),
        "File with a bearer token. Without one: $GLINTFS_HTTP_TOKEN.");
  t.Add("listing", "auto", "", kFixed,
        Choice<std::string>(FIELD(backend.listing), {{"auto", "auto"}, {"none", "none"}}),
        "http: how directories are listed. auto: from the server's index pages. none: names still resolve one by one.");
  t.Add("checksums", "yes", "", kFixed, Flag(FIELD(backend.checksums)),
        "Look for SHA256SUMS, SHA512SUMS, NAME.sha256 and NAME.sha512 beside an image, to verify it once complete.");
  t.Add("region", "", "$AWS_REGION and the like, $OS_REGION_NAME", kFixed, Text(FIELD(backend.region), "a region"),
        "s3: the region that requests are signed for. glance, swift: the region of the service in Keystone's catalogue.");
}

void AddStores(Table& t) {
  t.Group("Ceph (rbd, rados)");
  t.Add("ceph_conf", "", "$CEPH_CONF, else /etc/ceph/CLUSTER.conf", kFixed, Text(FIELD(backend.ceph.conf), "a file"),
        "Ceph's configuration file.");
  t.Add("ceph_id", "", "admin", kFixed, Text(FIELD(backend.ceph.id), "a name without 'client.'"),
        "Who we are to Ceph: glance is client.glance. It needs to read only (mon 'profile rbd', osd 'profile rbd-read-only').");
  t.Add("ceph_keyring", "", "from ceph.conf", kFixed, Text(FIELD(backend.ceph.keyring), "a file"),
        "File with the key of ceph_id.");
  t.Add("ceph_cluster", "", "ceph", kFixed, Text(FIELD(backend.ceph.cluster), "a cluster's name"), "Name of the cluster.");
  t.Add("rbd_head", "no", "", kFixed, Flag(FIELD(backend.ceph.rbd_head)),
        "rbd: show images that have no snapshot too, as they are now; each change is a new version.");
  t.Group("S3");
  t.Add("endpoint", "", "AWS", kFixed, Text(FIELD(backend.s3.endpoint), "a URL like https://host:port"),
        "URL of the service.");
  t.Add("addressing", "auto", "", kFixed,
        Choice<std::string>(FIELD(backend.s3.addressing), {{"auto", "auto"}, {"path", "path"}, {"virtual", "virtual"}}),
        "Where the bucket's name stands: in the path, or in the host name (virtual). auto: virtual at AWS where the name allows, else "
        "path.");
  t.Add("profile", "", "$AWS_PROFILE, else default", kFixed, Text(FIELD(backend.s3.profile), "a profile's name"),
        "Section of the credentials file. Named here, it goes before the keys in the environment.");
  t.Add("credentials_file", "", "$AWS_SHARED_CREDENTIALS_FILE, else ~/.aws/credentials", kFixed,
        Text(FIELD(backend.s3.credentials_file), "a file"),
        "File with the keys, as the AWS tools have it. Read again when the server refuses what was read before.");
  t.Add("anonymous", "no", "", kFixed, Flag(FIELD(backend.s3.anonymous)), "Sign nothing, for public buckets.");
  t.Group("OpenStack (glance, swift)");
  t.Add("cloud", "", "$OS_CLOUD", kFixed, Text(FIELD(backend.openstack.cloud), "a cloud of clouds.yaml"),
        "Entry of clouds.yaml with what is needed to log in. Without one: the OS_* variables; without those: no login.");
  t.Add("clouds_file", "", "$OS_CLIENT_CONFIG_FILE, else where the OpenStack tools look", kFixed,
        Text(FIELD(backend.openstack.clouds_file), "a file"), "Path of clouds.yaml.");
  t.Add("interface", "", "$OS_INTERFACE, else public", kFixed,
        Text(FIELD(backend.openstack.interface), "public, internal or admin"),
        "Which of a service's endpoints in the catalogue to use.");
  t.Add("names", "no", "", kFixed, Flag(FIELD(backend.openstack.names)),
        "glance: also show the images by their names, in by-name/; where several have one name, ~ID is added.");
}

void AddMount(Table& t) {
  t.Group("Mount");
  t.Add("attr_ttl", "60s", "", kFixed, Duration(FIELD(attr_ttl), "0s"),
        "How long a name's answer is believed; a new version at the source shows after this long.");
  t.Add("negative_ttl", "5s", "", kFixed, Duration(FIELD(negative_ttl), "0s"),
        "How long a missing name is believed missing.");
  t.Add("uid", "", "who mounts", kFixed, Account(FIELD(uid), "a user's name or number", UserId), "Owner of files.");
  t.Add("gid", "", "who mounts", kFixed, Account(FIELD(gid), "a group's name or number", GroupId), "Group of files.");
  t.Add("mode", "0444", "", kFixed, Mode(FIELD(mode)), "Permissions of files; directories have x wherever there is r. With layout=glance-cache the owner also has w.");
  t.Add("allow_other", "", "yes for root, else no", kFixed, Flag(FIELD(allow_other)),
        "Users other than the one who mounts may use the mount, as permissions allow. noallow_other turns it off.");
  t.Add("nonempty", "no", "", kFixed, Flag(FIELD(nonempty)), "Mount over a directory that is not empty.");
  t.Add("passthrough", "auto", "", kFixed, Choice<bool>(FIELD(passthrough), {{"auto", true}, {"off", false}}),
        "auto: complete images are read by the kernel straight from the cache's files, at the speed of the disk, where it "
        "can (Linux 6.9, root). off: all reads go through glintfs.");
  t.Add("layout", "images", "", kFixed,
        Choice<Layout>(FIELD(layout), {{"images", Layout::kImages}, {"glance-cache", Layout::kGlanceCache}}),
        "images: the images of the source, read-only. glance-cache: what Glance expects in its image_cache_dir, the images by their ids; "
        "needs uid= and gid= of its user; see docs/glance.md.");
}

void AddControlAndLog(Table& t) {
  t.Group("Control and log");
  t.Add("control", "", "/run/glintfs/NAME.sock for root, else $XDG_RUNTIME_DIR/glintfs/NAME.sock, or ~/.cache/glintfs/control/NAME.sock without that", kFixed,
        Text(FIELD(control), "a path, or none"),
        "Unix socket for glintctl and the cache API, or none. NAME is made from the source.");
  t.Add("control_group", "", "none", kFixed, Text(FIELD(control_group), "a group"),
        "Group that may use the control socket, besides its owner.");
  t.Add("control_tcp", "", "none", kFixed, Text(FIELD(control_tcp.listen), "an address and port like 127.0.0.1:9393 or [::1]:9393"),
        "Serve the control API over TCP too, to those whom control_auth lets in. Needs control_token_file or control_auth=keystone.");
  t.Add("control_auth", "token", "", kFixed,
        Choice<ControlTcpOptions::Auth>(FIELD(control_tcp.auth), {{"token", ControlTcpOptions::Auth::kToken},
                                                                 {"keystone", ControlTcpOptions::Auth::kKeystone}}),
        "Who may use control_tcp. token: who sends the token of control_token_file as X-Auth-Token. keystone: who sends a token that "
        "Keystone knows, with one of control_roles.");
  t.Add("control_token_file", "", "none", kFixed, Text(FIELD(control_tcp.token_file), "a file that holds a token"),
        "File whose first line is the token for control_auth=token; read again on SIGHUP.");
  t.Add("control_keystone", "", "of cloud=, else $OS_AUTH_URL", kFixed,
        Text(FIELD(control_tcp.keystone), "a URL like https://host:5000/v3"), "Keystone for control_auth=keystone, which is asked about each token with that token.");
  t.Add("control_roles", "admin", "", kFixed, Text(FIELD(control_tcp.roles), "roles, separated by commas"),
        "Roles that may use the control API with control_auth=keystone; one of them is enough.");
  t.Add("control_tls_cert", "", "none: no TLS", kFixed, Text(FIELD(control_tcp.tls_cert), "a PEM file"),
        "Certificate of the TCP listener, with the chain; needs control_tls_key. Read again on SIGHUP.");
  t.Add("control_tls_key", "", "none", kFixed, Text(FIELD(control_tcp.tls_key), "a PEM file"), "Its private key, without passphrase. Read again on SIGHUP.");
  t.Add("log", "", "stderr with -f, else syslog", kFixed, Text(FIELD(log), "a file, stderr or syslog"),
        "Where log lines go: a file (opened again on SIGHUP), stderr or syslog.");
  t.Add("log_level", "info", "", kOnSighup,
        Choice<LogLevel>(FIELD(log_level), {{"debug", LogLevel::kDebug},
                                            {"info", LogLevel::kInfo},
                                            {"warn", LogLevel::kWarn},
                                            {"error", LogLevel::kError}}),
        "Least severe lines that are written.");
  t.Add("config", "", "none", kFixed, Text(FIELD(config), "a TOML file"),
        "TOML file with any of these settings; what the command line says wins.");
}

#undef FIELD

std::vector<Setting> MakeTable() {
  Table table;
  AddCache(table);
  AddFilling(table);
  AddSource(table);
  AddStores(table);
  AddMount(table);
  AddControlAndLog(table);
  return table.Take();
}

}  // namespace

const std::vector<Setting>& SettingTable() {
  static const std::vector<Setting> table = MakeTable();
  return table;
}

const Setting* FindSetting(std::string_view name) {
  const auto& table = SettingTable();
  const auto it = std::find_if(table.begin(), table.end(), [&](const Setting& s) { return s.name == name; });
  return it == table.end() ? nullptr : &*it;
}

}  // namespace glintfs
