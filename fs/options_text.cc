// What people read about the settings: --help, the manual page (roff), the README's table, --dump-config. All from the
// table.
#include <cstring>
#include <map>
#include <utility>

#include "fs/base/roff.h"
#include "fs/options.h"

#ifndef GLINTFS_VERSION
#error "GLINTFS_VERSION comes from CMakeLists.txt"
#endif

namespace glintfs {
namespace {

using Kind = Setting::Kind;

std::string DefaultOf(const Setting& s) {
  return std::string(s.shown_default.empty() ? s.default_text : s.shown_default);
}

std::string Synopsis(const Setting& s) {
  return s.kind == Kind::kFlag ? std::string(s.name) : std::string(s.name) + "=";
}

// Breaks `text` at spaces so that no line is longer than `width`, each line after the first indented.
std::string Wrap(std::string_view text, size_t indent, size_t width) {
  std::string out;
  size_t column = indent;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    const std::string_view word = text.substr(at, end - at);
    if (column > indent && column + 1 + word.size() > width) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > indent) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
    at = end + 1;
  }
  return out;
}

// For roff: backslashes, and the characters that begin a request at the start of a line.
std::string Roff(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      if ((c == '.' || c == '\'') && (out.empty() || out.back() == '\n')) out += "\\&";
      out += c;
    }
  }
  return out;
}

std::string TomlText(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04X}", static_cast<int>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string TomlValue(const Setting& s, const std::string& text) {
  switch (s.kind) {
    case Kind::kNumber: return text;
    case Kind::kFlag: return text == "yes" ? "true" : "false";
    case Kind::kSize:
    case Kind::kDuration:
    case Kind::kShare:
    case Kind::kChoice:
    case Kind::kText: return TomlText(text);
  }
  return TomlText(text);
}

constexpr std::string_view kSynopsis = "glintfs SOURCE MOUNTPOINT [-o key=value,…] [-f]";

constexpr std::string_view kDescription =
    "Shows the images of a store as read-only files. The first read of a byte fetches it and keeps it; every later "
    "read is "
    "local.";

std::string SchemesText() {
  std::string text;
  for (const std::string& scheme : KnownSchemes()) text += (text.empty() ? "" : ", ") + scheme + "://";
  return text;
}

struct Argument {
  std::string_view name, help;
};
constexpr Argument kArguments[] = {
    {"SOURCE", "What is mounted: dir:///path, http://host/path/, rbd://pool, rados://pool, s3://bucket, swift://container, glance://host:port. A manual "
     "page glintfs-NAME(7) for each."},
    {"MOUNTPOINT", "An existing, empty directory. Both may stand in the file of config= instead, see glintfs.toml(5)."},
    {"-o key=value,…",
     "Settings, see below. A comma inside a value is written \\,. Options of mount(8) that say nothing to "
     "glintfs (defaults, rw, noatime, _netdev, x-…) are accepted; a mount is nosuid, nodev and, but for layout=glance-cache, read-only all "
     "the same."},
    {"-f", "Stay in the foreground. Without it glintfs returns once the mount answers, and goes on in the background."},
    {"--dump-config", "Print the settings in force as a TOML file that config= takes, and end."},
    {"--unmount", "Detach the mount of SOURCE at MOUNTPOINT, in use or not, and end. Where there is none, nothing happens."},
    {"--man", "Print this manual page (roff), and end. --man=toml prints glintfs.toml(5), --man=markdown the table of settings."},
    {"--help, --version", "Print help or the version, and end."},
};

struct ExitCode {
  int code;
  std::string_view meaning;
};
constexpr ExitCode kExitCodes[] = {
    {0, "mounted (background), or unmounted cleanly (-f)"},
    {1, "cannot mount; one line on standard error says why"},
    {2, "a wrong argument or setting; one line on standard error names it"},
    {3, "ended by a second SIGTERM or SIGINT before everything was stopped"},
};

constexpr ExitCode kHelperExitCodes[] = {
    {1, "a wrong argument or setting"},
    {32, "cannot mount"},
};

constexpr Argument kSignals[] = {
    {"SIGTERM, SIGINT", "Unmount, write a last checkpoint, end. A second one ends at once."},
    {"SIGHUP",
     "Open the log file again and read the config file again, and the token and certificate of control_tcp; settings marked (SIGHUP) "
     "change at once, and what changed is logged."},
};

constexpr Argument kVariables[] = {
    {"XDG_CACHE_HOME, HOME, XDG_RUNTIME_DIR", "Where cache and control socket are for users other than root."},
    {"GLINTFS_HTTP_USER, GLINTFS_HTTP_TOKEN",
     "user:password, or a bearer token, for http and https, when no file is named."},
    {"CEPH_CONF, CEPH_ARGS, AWS_…, OS_…, ST_…",
     "What the stores' own tools take from the environment, see the page of each: glintfs-rbd(7), glintfs-rados(7), glintfs-s3(7), "
     "glintfs-swift(7), glintfs-glance(7)."},
    {"NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID",
     "With -f: where the service manager is told of readiness, reloads, the end and a line of status, and how often it "
     "wants a sign of life, see sd_notify(3)."},
    {"JOURNAL_STREAM", "Where standard error is the journal, lines carry their priority for it instead of the time."},
    {"GLINTFS_DUMPABLE",
     "Set to 1 to allow core files and debuggers; they can hold secrets, so neither is possible without."},
};

constexpr Argument kFiles[] = {
    {"/etc/glintfs/NAME.toml", "Settings, source and mount point of glintfs@NAME.service, see glintfs.toml(5)."},
    {"/var/cache/glintfs", "Caches of root's mounts, a directory per source."},
    {"/run/glintfs", "Control sockets of root's mounts, for glintctl."},
};

// scripts/check-examples runs what stands between .EX and .EE.
constexpr std::string_view kExamples = R"(A directory on a network mount, for all users:
.PP
.RS
.EX
glintfs dir:///net/images /mnt \-o max_size=200Gi
ls /mnt
glintctl list
umount /mnt
.EE
.RE
.PP
In \fI/etc/fstab\fR; the second line is mounted when somebody looks at it:
.PP
.RS
.EX
http://images.example/ /srv/images fuse.glintfs _netdev,nofail,max_size=200Gi 0 0
rbd://images /srv/rbd fuse.glintfs _netdev,noauto,x\-systemd.automount,ceph_id=glintfs 0 0
.EE
.RE
.PP
As a service, with settings in \fI/etc/glintfs/images.toml\fR:
.PP
.RS
.EX
systemctl enable \-\-now glintfs@images
.EE
.RE
)";

constexpr std::string_view kFileFormat = R"(.SH NAME
glintfs.toml \- settings of a glintfs mount
.SH SYNOPSIS
.B /etc/glintfs/\fINAME\fB.toml
.SH DESCRIPTION
A TOML file with the settings of \fBglintfs\fR(8), without tables: \fIkey\fR = \fIvalue\fR.
It is read with \fB\-o config=\fIFILE\fR, and by \fBglintfs@\fINAME\fB.service\fR; what the command line says wins.
.PP
A value is a text in quotes.
Whole numbers and \fBtrue\fR and \fBfalse\fR may go without them.
Sizes are written as Kubernetes quantities, \(dq10G\(dq is 10\(mu10^9 bytes, \(dq10Gi\(dq is 10\(mu2^30; exponents and thousandths are refused.
Paths should be absolute.
.PP
SIGHUP (\fBsystemctl reload glintfs@\fINAME\fR) has the file read again.
What is marked (SIGHUP) then changes at once, what is not changes with the next mount, and the log says so.
A file with a mistake changes nothing; the log and \fBsystemctl status\fR name the line.
.PP
\fBglintfs \-o config=\fIFILE\fB \-\-dump\-config\fR checks a file and prints all that is in force.
.SH KEYS
These two stand in for the arguments:
.TP
.B source =
What is mounted, as on the command line: \(dqhttps://images.example/\(dq.
.TP
.B mountpoint =
An existing, empty directory; an absolute path.
)";

constexpr std::string_view kFileExamples = R"(.SH EXAMPLES
.I /etc/glintfs/images.toml
.PP
.RS
.EX
.\" toml
source = "https://images.example/cloud/"
mountpoint = "/srv/images"
max_size = "200Gi"
fill_rate = "100M"
control_group = "glintfs"
.EE
.RE
.PP
.I /etc/glintfs/rbd.toml
.PP
.RS
.EX
.\" toml
source = "rbd://images"
mountpoint = "/srv/images"
ceph_id = "glintfs"
cache = "/srv/cache/images"
max_size = "1Ti"
low_mark = "85%"
checksums = false
threads = 32
.EE
.RE
.SH SEE ALSO
.BR glintfs (8),
.BR glintctl (1),
.BR systemd.unit (5)
)";

// What the file takes: the words for -o, and that TOML has flags of its own.
std::string TomlAllowed(const Setting& s) { return s.kind == Kind::kFlag ? "true or false" : s.allowed; }

std::string TomlDefault(const Setting& s) {
  std::string text = DefaultOf(s);
  if (s.kind != Kind::kFlag) return text;
  for (const auto& [word, toml] : {std::pair{"yes", "true"}, std::pair{"no", "false"}})
    if (const size_t at = text.find(word); at != text.npos) text.replace(at, std::strlen(word), toml);
  return text;
}

}  // namespace

std::string VersionText() { return "glintfs " GLINTFS_VERSION; }

std::string HelpText() {
  std::string out =
      fmt::format("usage: {}\n\n{}\nSources: {}\n\n", kSynopsis, Wrap(kDescription, 0, 100), SchemesText());
  for (const Argument& a : kArguments) out += fmt::format("  {:<20} {}\n", a.name, Wrap(a.help, 23, 110));
  std::string_view group;
  for (const Setting& s : SettingTable()) {
    if (s.group != group) out += fmt::format("\n{} (-o):\n", group = s.group);
    const std::string text = fmt::format("{} Default: {}.{}", s.help, DefaultOf(s), s.on_sighup ? " (SIGHUP)" : "");
    out += fmt::format("  {:<20} {}\n", Synopsis(s), Wrap(text, 23, 110));
  }
  out += "\nExit status:\n";
  for (const ExitCode& e : kExitCodes) out += fmt::format("  {}  {}\n", e.code, e.meaning);
  return out;
}

std::string DumpConfig(const Options& options) {
  std::string out = fmt::format("# {}: settings in force\n", VersionText());
  if (!options.source.empty()) out += fmt::format("source = {}\n", TomlText(options.source));
  if (!options.mountpoint.empty()) out += fmt::format("mountpoint = {}\n", TomlText(options.mountpoint));
  std::string_view group;
  for (const Setting& s : SettingTable()) {
    if (s.name == "config") continue;
    if (s.group != group) out += fmt::format("\n# {}\n", group = s.group);
    std::string value = s.get(options);
    if (s.name == "control" && value.empty()) value = "none";
    out += fmt::format("{}{} = {}\n", value.empty() ? "# " : "", s.name, TomlValue(s, value));
  }
  return out;
}

std::string ManualPage() {
  std::string out = fmt::format(".TH GLINTFS 8 \"\" \"{}\" \"System Administration\"\n", VersionText());
  auto section = [&](std::string_view title) { out += fmt::format(".SH {}\n", title); };
  auto item = [&](std::string_view term, std::string_view text) {
    out += fmt::format(".TP\n\\fB{}\\fR\n{}\n", Roff(term), Roff(text));
  };
  section("NAME");
  out += "glintfs \\- mount an image store with a local cache\n";
  section("SYNOPSIS");
  out += fmt::format("\\fB{}\\fR\n.br\n\\fBmount \\-t fuse.glintfs\\fR SOURCE MOUNTPOINT [\\fB\\-o\\fR key=value,…]\n",
                     Roff(kSynopsis));
  section("DESCRIPTION");
  out += Roff(kDescription) + "\n";
  section("ARGUMENTS");
  for (const Argument& a : kArguments) item(a.name, a.help);
  section("SETTINGS");
  out +=
      "The same names are used with \\fB\\-o\\fR and in the TOML file. Sizes: 10G is 10·10⁹ bytes, 10Gi is 10·2³⁰.\n";
  std::string_view group;
  for (const Setting& s : SettingTable()) {
    if (s.group != group) out += fmt::format(".SS {}\n", group = s.group);
    item(Synopsis(s),
         fmt::format("{} Takes {}. Default: {}.{}", s.help, s.allowed, DefaultOf(s), s.on_sighup ? " (SIGHUP)" : ""));
  }
  section("SIGNALS");
  for (const Argument& a : kSignals) item(a.name, a.help);
  section("EXIT STATUS");
  for (const ExitCode& e : kExitCodes) item(std::to_string(e.code), e.meaning);
  out += ".PP\nCalled by \\fBmount\\fR(8), as \\fBmount.fuse.glintfs\\fR, it ends as that expects:\n";
  for (const ExitCode& e : kHelperExitCodes) item(std::to_string(e.code), e.meaning);
  section("EXAMPLES");
  out += kExamples;
  section("FILES");
  for (const Argument& a : kFiles) item(a.name, a.help);
  section("ENVIRONMENT");
  for (const Argument& a : kVariables) item(a.name, a.help);
  section("SEE ALSO");
  out += "\\fBglintctl\\fR(1), \\fBglintfs.toml\\fR(5), \\fBglintfs-dir\\fR(7), \\fBglintfs-http\\fR(7), \\fBglintfs-rbd\\fR(7), \\fBglintfs-rados\\fR(7), \\fBglintfs-s3\\fR(7), "
         "\\fBglintfs-swift\\fR(7), \\fBglintfs-glance\\fR(7), \\fBmount.fuse3\\fR(8), \\fBfusermount3\\fR(1)\n";
  return AsciiRoff(out);
}

std::string ManualPageOfFile() {
  std::string out = fmt::format(".TH GLINTFS.TOML 5 \"\" \"{}\" \"File Formats\"\n", VersionText());
  out += kFileFormat;
  auto item = [&](std::string_view term, std::string_view text) {
    out += fmt::format(".TP\n\\fB{}\\fR\n{}\n", Roff(term), Roff(text));
  };
  std::string_view group;
  for (const Setting& s : SettingTable()) {
    if (s.name == "config") continue;
    if (s.group != group) out += fmt::format(".SS {}\n", group = s.group);
    item(fmt::format("{} =", s.name), fmt::format("{} Takes {}. Default: {}.{}", s.help, TomlAllowed(s), TomlDefault(s),
                                                  s.on_sighup ? " (SIGHUP)" : ""));
  }
  out += kFileExamples;
  return AsciiRoff(out);
}

std::string SettingsMarkdown() {
  std::string out = "| setting | default | meaning |\n|---|---|---|\n";
  std::string_view group;
  for (const Setting& s : SettingTable()) {
    if (s.group != group) out += fmt::format("| **{}** | | |\n", group = s.group);
    std::string help(s.help);
    for (size_t at = 0; (at = help.find('|', at)) != std::string::npos; at += 2) help.insert(at, "\\");
    out += fmt::format("| `{}` | {} | {}{} |\n", Synopsis(s), DefaultOf(s), help, s.on_sighup ? " (SIGHUP)" : "");
  }
  return out;
}

}  // namespace glintfs
