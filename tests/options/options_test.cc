#include "fs/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "tests/support/temp_dir.h"

namespace glintfs {
namespace {

using ::testing::HasSubstr;
using testing::TempDir;

const Surroundings kRoot{
    .uid = 0, .gid = 0, .home = "/root", .xdg_cache_home = "", .xdg_runtime_dir = "", .directory = "/srv"};
const Surroundings kUser{.uid = 1000,
                         .gid = 100,
                         .home = "/home/u",
                         .xdg_cache_home = "",
                         .xdg_runtime_dir = "/run/user/1000",
                         .directory = "/home/u"};

Result<CommandLine> Parse(std::vector<std::string> args, const Surroundings& around = kRoot) {
  return ParseCommandLine(args, around);
}

Options ParseOk(const std::string& o, const Surroundings& around = kRoot) {
  auto line = Parse({"dir:///images", "/mnt", "-o", o}, around);
  EXPECT_TRUE(line) << line.error().message;
  return line ? line->options : Options{};
}

std::string ParseError(const std::string& o) {
  auto line = Parse({"dir:///images", "/mnt", "-o", o});
  EXPECT_FALSE(line) << o;
  return line ? "" : line.error().message;
}

void WriteFile(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

// ---- Defaults.

TEST(Options, TableDefaultsAreTheStructsDefaults) {
  const Options o = ParseOk("defaults");
  const CacheLimits limits;
  const BackendOptions backend;
  EXPECT_EQ(o.cache.limits.max_size, limits.max_size);
  EXPECT_EQ(o.cache.limits.low_mark, limits.low_mark);
  EXPECT_EQ(o.cache.limits.min_free, limits.min_free);
  EXPECT_EQ(o.cache.limits.fill_rate, limits.fill_rate);
  EXPECT_EQ(o.cache.limits.stall_time, limits.stall_time);
  EXPECT_EQ(o.cache.limits.clean_interval, limits.clean_interval);
  EXPECT_EQ(o.cache.chunk_size, CacheOptions().chunk_size);
  EXPECT_EQ(o.cache.fetch_threads, CacheOptions().fetch_threads);
  EXPECT_EQ(o.cache.fill, CacheOptions().fill);
  EXPECT_EQ(o.backend.connect_timeout, backend.connect_timeout);
  EXPECT_EQ(o.backend.first_byte_timeout, backend.first_byte_timeout);
  EXPECT_EQ(o.backend.low_speed_limit, backend.low_speed_limit);
  EXPECT_EQ(o.backend.low_speed_time, backend.low_speed_time);
  EXPECT_EQ(o.backend.fetch_deadline, backend.fetch_deadline);
  EXPECT_EQ(o.backend.ask_deadline, backend.ask_deadline);
  EXPECT_EQ(o.backend.retries, backend.retries);
  EXPECT_EQ(o.backend.listing, backend.listing);
  EXPECT_EQ(o.backend.checksums, backend.checksums);
  EXPECT_EQ(o.backend.max_parallel, backend.max_parallel);
  EXPECT_EQ(o.attr_ttl, Options().attr_ttl);
  EXPECT_EQ(o.negative_ttl, Options().negative_ttl);
  EXPECT_EQ(o.mode, 0444u);
}

TEST(Options, EverySettingHasNameHelpAndAWayBack) {
  std::set<std::string_view> names;
  const Options o = ParseOk("defaults");
  for (const Setting& s : SettingTable()) {
    EXPECT_TRUE(names.insert(s.name).second) << s.name;
    EXPECT_FALSE(s.help.empty()) << s.name;
    EXPECT_FALSE(s.default_text.empty() && s.shown_default.empty()) << s.name;
    Options copy = o;
    const std::string text = s.get(o);
    if (text.empty()) continue;
    EXPECT_TRUE(s.set(copy, text)) << s.name << " " << text;
    EXPECT_EQ(s.get(copy), text) << s.name;
  }
}

TEST(Options, PathsForRootAndForUsers) {
  const Options root = ParseOk("defaults");
  const std::string name = NameForSource("dir:///images");
  EXPECT_EQ(root.cache.directory, "/var/cache/glintfs/" + name);
  EXPECT_EQ(root.control, "/run/glintfs/" + name + ".sock");
  EXPECT_TRUE(root.allow_other);
  const Options user = ParseOk("defaults", kUser);
  EXPECT_EQ(user.cache.directory, "/home/u/.cache/glintfs/" + name);
  EXPECT_EQ(user.control, "/run/user/1000/glintfs/" + name + ".sock");
  EXPECT_FALSE(user.allow_other);
  EXPECT_EQ(user.uid, 1000u);
  EXPECT_EQ(user.gid, 100u);
  Surroundings xdg = kUser;
  xdg.xdg_cache_home = "/big";
  xdg.xdg_runtime_dir = "";
  EXPECT_EQ(ParseOk("defaults", xdg).cache.directory, "/big/glintfs/" + name);
  EXPECT_EQ(ParseOk("defaults", xdg).control, "/big/glintfs/control/" + name + ".sock");
  EXPECT_TRUE(ParseOk("defaults", xdg).control_optional);
  EXPECT_FALSE(user.control_optional);
  EXPECT_FALSE(ParseOk("control=none", xdg).control_optional);
  xdg.xdg_cache_home = xdg.home = "";
  EXPECT_EQ(ParseOk("cache=/big", xdg).control, "");
  EXPECT_TRUE(ParseOk("cache=/big", xdg).control_optional);
}

TEST(Options, WithoutTheVariableTheHomeDirectoryIsTheOneOfTheUser) {
  const char* before = ::getenv("HOME");
  const std::string kept = before == nullptr ? "" : before;
  ::unsetenv("HOME");  // as mount(8) does
  const std::string home = Surroundings::OfThisProcess().home;
  if (before != nullptr) ::setenv("HOME", kept.c_str(), 1);
  const struct passwd* entry = ::getpwuid(::getuid());
  if (entry == nullptr) GTEST_SKIP() << "runs as a user without an entry";
  EXPECT_EQ(home, entry->pw_dir);
}

TEST(Options, NameForSourceIsSafeShortAndDistinct) {
  EXPECT_EQ(NameForSource("http://host/images/"), NameForSource("http://host/images"));
  EXPECT_EQ(NameForSource("http://host/images").substr(0, 17), "http_host_images-");
  EXPECT_NE(NameForSource("http://host/a/b"), NameForSource("http://host/a_b"));
  const std::string odd = NameForSource("dir:///" + std::string(500, 'x') + "/../\n ü");
  EXPECT_LE(odd.size(), 49u);
  EXPECT_EQ(odd.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"),
            std::string::npos);
}

TEST(Options, RelativePathsAreMadeAbsolute) {
  auto line = Parse({"dir:///images", "mnt/", "-o",
                     "cache=c,control=s,log=l,ca_file=p,clouds_file=o,ceph_conf=e,ceph_keyring=k,credentials_file=a"});
  ASSERT_TRUE(line);
  EXPECT_EQ(line->options.mountpoint, "/srv/mnt");
  EXPECT_EQ(line->options.cache.directory, "/srv/c");
  EXPECT_EQ(line->options.control, "/srv/s");
  EXPECT_EQ(line->options.log, "/srv/l");
  const BackendOptions& backend = line->options.backend;
  EXPECT_EQ(backend.ca_file, "/srv/p");
  EXPECT_EQ(backend.openstack.clouds_file, "/srv/o");
  EXPECT_EQ(backend.ceph.conf, "/srv/e");
  EXPECT_EQ(backend.ceph.keyring, "/srv/k");
  EXPECT_EQ(backend.s3.credentials_file, "/srv/a");
}

// ---- The command line.

TEST(Options, AsMountFuse3CallsIt) {
  auto line = Parse({"http://h/i/", "/mnt", "-o", "rw,dev,suid,_netdev,max_size=1Gi,x-systemd.automount,comment=a b"});
  ASSERT_TRUE(line) << line.error().message;
  EXPECT_EQ(line->options.source, "http://h/i/");
  EXPECT_EQ(line->options.cache.limits.max_size, 1ull << 30);
  EXPECT_FALSE(line->options.foreground);
  EXPECT_EQ(line->options.log, "syslog");
}

TEST(Options, ForegroundLogsToStderr) {
  auto line = Parse({"-f", "dir:///images", "/mnt"});
  ASSERT_TRUE(line);
  EXPECT_TRUE(line->options.foreground);
  EXPECT_EQ(line->options.log, "stderr");
}

TEST(Options, LaterValuesWinAndOptionsMayComeInPieces) {
  auto line = Parse({"-omax_size=1G", "dir:///images", "-o", "max_size=2G,threads=3", "/mnt", "-o", "threads=4"});
  ASSERT_TRUE(line) << line.error().message;
  EXPECT_EQ(line->options.cache.limits.max_size, 2'000'000'000u);
  EXPECT_EQ(line->options.cache.fetch_threads, 4);
  EXPECT_EQ(line->options.backend.max_parallel, 4);
}

TEST(Options, CommasAreEscapedByBackslash) {
  EXPECT_EQ(ParseOk(R"(cache=/a\,b\\c=d,threads=2)").cache.directory, R"(/a,b\c=d)");
}

TEST(Options, FlagsWithAndWithoutValue) {
  EXPECT_TRUE(ParseOk("nonempty").nonempty);
  EXPECT_FALSE(ParseOk("noallow_other").allow_other);
  EXPECT_TRUE(ParseOk("allow_other=yes", kUser).allow_other);
  EXPECT_FALSE(ParseOk("checksums=no").backend.checksums);
  EXPECT_FALSE(ParseOk("nochecksums").backend.checksums);
}

TEST(Options, ControlNone) { EXPECT_EQ(ParseOk("control=none").control, ""); }

TEST(Options, Actions) {
  EXPECT_EQ(Parse({"--help"})->action, Action::kHelp);
  EXPECT_EQ(Parse({"--version"})->action, Action::kVersion);
  EXPECT_EQ(Parse({"--man"})->action, Action::kManual);
  EXPECT_EQ(Parse({"--dump-config"})->action, Action::kDumpConfig);
}

TEST(Options, WrongCommandLines) {
  EXPECT_THAT(Parse({}).error().message, HasSubstr("SOURCE and MOUNTPOINT are missing"));
  EXPECT_THAT(Parse({"dir:///x"}).error().message, HasSubstr("MOUNTPOINT is missing"));
  EXPECT_THAT(Parse({"a", "b", "c"}).error().message, HasSubstr("too many: c"));
  EXPECT_THAT(Parse({"a", "b", "-o"}).error().message, HasSubstr("-o needs a value"));
  EXPECT_THAT(Parse({"a", "b", "--max_size=1"}).error().message, HasSubstr("unknown argument --max_size=1"));
}

// ---- Errors name the option, the value, what is allowed and the nearest name.

TEST(Options, UnknownOptionNamesTheNearest) {
  EXPECT_EQ(ParseError("max_sice=1G"), "option max_sice: unknown; did you mean max_size? glintfs --help lists all");
  EXPECT_EQ(ParseError("qqqqqqqqqqqqqq"), "option qqqqqqqqqqqqqq: unknown; glintfs --help lists all");
}

TEST(Options, BadValues) {
  EXPECT_EQ(ParseError("max_size=10Q"),
            "option max_size: '10Q' is not a size like 10G (10·10⁹ bytes) or 10Gi (10·2³⁰)");
  EXPECT_EQ(ParseError("chunk=100Ki"),
            "option chunk: '100Ki' is not a size like 10G (10·10⁹ bytes) or 10Gi (10·2³⁰) from "
            "64Ki to 4Mi, a power of two");
  EXPECT_EQ(ParseError("fill=some"), "option fill: 'some' is not full or demand");
  EXPECT_EQ(ParseError("threads=0"), "option threads: '0' is not a number from 1 to 256");
  EXPECT_EQ(ParseError("low_mark=110%"), "option low_mark: '110%' is not a share from 0% to 100%, written 90% or 0.9");
  EXPECT_EQ(ParseError("mode=0644"),
            "option mode: '0644' is not an octal mode of read and execute bits like 0444 or 0440");
  EXPECT_EQ(ParseError("uid=no-such-user"), "option uid: 'no-such-user' is not a user's name or number");
  EXPECT_EQ(ParseError("log_level=loud"), "option log_level: 'loud' is not debug, info, warn or error");
  EXPECT_EQ(ParseError("nonempty=maybe"), "option nonempty: 'maybe' is not yes or no");
  EXPECT_THAT(ParseError("attr_ttl=soon"), HasSubstr("option attr_ttl: 'soon' is not a duration"));
  EXPECT_EQ(ParseError("cache="), "option cache: '' is not a directory");
  EXPECT_THAT(ParseError("max_size"), HasSubstr("option max_size: needs a value"));
}

// ---- The file.

TEST(OptionsFile, CommandLineWins) {
  TempDir dir;
  WriteFile(dir / "c.toml", "max_size = \"1Gi\"\nthreads = 7\nchecksums = false\nlow_mark = 0.5\nfill = 'demand'\n");
  const Options o = ParseOk("threads=9,config=" + dir / "c.toml");
  EXPECT_EQ(o.cache.limits.max_size, 1ull << 30);
  EXPECT_EQ(o.cache.fetch_threads, 9);
  EXPECT_FALSE(o.backend.checksums);
  EXPECT_DOUBLE_EQ(o.cache.limits.low_mark, 0.5);
  EXPECT_EQ(o.cache.fill, FillMode::kDemand);
}

TEST(OptionsFile, NamesWhatIsMountedWhere) {
  TempDir dir;
  const std::string path = dir / "c.toml", option = "config=" + path;
  WriteFile(path, "source = 'dir:///srv/a'\nmountpoint = '/mnt/a/'\n");
  const auto line = Parse({"-o", option, "-f"});
  ASSERT_TRUE(line) << line.error().message;
  EXPECT_EQ(line->options.source, "dir:///srv/a");
  EXPECT_EQ(line->options.mountpoint, "/mnt/a");
  const auto wins = Parse({"dir:///srv/b", "/mnt/b", "-o", option});
  ASSERT_TRUE(wins) << wins.error().message;
  EXPECT_EQ(wins->options.source, "dir:///srv/b");
  EXPECT_EQ(wins->options.mountpoint, "/mnt/b");
  EXPECT_EQ(wins->options.cache.directory, Parse({"dir:///srv/b", "/mnt/b"})->options.cache.directory);
  WriteFile(path, DumpConfig(line->options));
  EXPECT_EQ(DumpConfig(Parse({"-o", option})->options), DumpConfig(line->options));
  EXPECT_EQ(Parse({"-o", option, "--unmount"})->action, Action::kUnmount);
}

TEST(OptionsFile, SaysWhichPlaceIsMissing) {
  TempDir dir;
  const std::string path = dir / "c.toml", option = "config=" + path;
  const std::string where = "; " + path + " may hold source = and mountpoint =";
  const auto error = [&](const std::string& text) {
    WriteFile(path, text);
    const auto line = Parse({"-o", option, "-f"});
    return line ? std::string() : line.error().message;
  };
  EXPECT_THAT(error(""), AllOf(HasSubstr("SOURCE and MOUNTPOINT are missing"), HasSubstr(where)));
  EXPECT_THAT(error("source = 'dir:///a'"), AllOf(HasSubstr("MOUNTPOINT is missing"), HasSubstr(where)));
  EXPECT_THAT(error("mountpoint = '/a'"), AllOf(HasSubstr("SOURCE is missing"), HasSubstr(where)));
  EXPECT_EQ(error("mountpoint = 'a'"), path + ": line 1: mountpoint: 'a' is not an absolute path");
  EXPECT_EQ(error("source = ''"), path + ": line 1: source: is empty");
}

// ---- What mount(8) and fstab hand over.

Result<CommandLine> ParseAsHelper(std::vector<std::string> args) {
  return ParseCommandLine(args, kRoot, Convention::kMountHelper);
}

TEST(MountHelper, IsKnownByItsName) {
  EXPECT_EQ(ConventionOf("/sbin/mount.fuse.glintfs"), Convention::kMountHelper);
  EXPECT_EQ(ConventionOf("mount.fuse.glintfs"), Convention::kMountHelper);
  EXPECT_EQ(ConventionOf("/usr/bin/glintfs"), Convention::kOwn);
}

TEST(MountHelper, TakesTheConventionOfMount) {
  const auto line = ParseAsHelper({"dir:///a", "/mnt", "-n", "-sv", "-N", "/proc/1/ns/mnt", "-o", "rw,_netdev,threads=3,bogus",
                                   "-t", "fuse.glintfs"});
  ASSERT_TRUE(line) << line.error().message;
  EXPECT_EQ(line->action, Action::kMount);
  EXPECT_EQ(line->options.cache.fetch_threads, 3);
  EXPECT_FALSE(line->options.foreground);
  EXPECT_EQ(ParseAsHelper({"dir:///a", "/mnt", "-f"})->action, Action::kCheck);
  EXPECT_THAT(ParseAsHelper({"dir:///a", "/mnt", "-o", "bogus"}).error().message, HasSubstr("option bogus: unknown"));
  EXPECT_THAT(ParseAsHelper({"dir:///a", "/mnt", "-s", "-o", "threads=x"}).error().message, HasSubstr("option threads"));
  EXPECT_THAT(ParseAsHelper({"dir:///a", "/mnt", "-x"}).error().message, HasSubstr("unknown argument -x"));
  EXPECT_THAT(ParseAsHelper({"dir:///a", "/mnt", "-o"}).error().message, HasSubstr("-o needs a value"));
}

TEST(MountHelper, OptionsOfFstabAreTaken) {
  for (const char* option :
       {"defaults", "_netdev", "nofail", "auto", "noauto", "user", "user=joe", "users", "owner", "group", "ro", "rw", "nosuid",
        "nodev", "noexec", "suid", "dev", "exec", "noatime", "x-systemd.automount", "x-systemd.requires=a.service",
        "x-systemd.mount-timeout=30", "x-systemd.idle-timeout=60", "comment=x", "context=a:b:c:s0"})
    EXPECT_TRUE(Parse({"dir:///a", "/mnt", "-o", option})) << option;
}

TEST(MountHelper, TheKernelHearsNoexec) {
  EXPECT_EQ(ParseOk("noexec").kernel_options, std::vector<std::string>{"noexec"});
  EXPECT_TRUE(ParseOk("noexec,exec").kernel_options.empty());
  EXPECT_TRUE(ParseOk("defaults").kernel_options.empty());
}

TEST(MountHelper, QuotedValuesMayHoldCommas) {
  EXPECT_EQ(ParseOk("context=\"u:r:t:s0:c1,c2\",threads=5").cache.fetch_threads, 5);
  EXPECT_EQ(ParseOk("cache=\"/a,b\",threads=5").cache.directory, "/a,b");
}

TEST(MountHelper, RemountSaysWhatToDo) {
  EXPECT_THAT(ParseError("remount,ro"), HasSubstr("option remount: settings marked (SIGHUP)"));
}

TEST(OptionsFile, ErrorsNameFileAndLine) {
  TempDir dir;
  const std::string path = dir / "c.toml";
  WriteFile(path, "threads = 7\nmax_sice = 1\n");
  EXPECT_EQ(ParseError("config=" + path),
            path + ": line 2: option max_sice: unknown; did you mean max_size? glintfs --help lists all");
  WriteFile(path, "\nfill = 'some'\n");
  EXPECT_EQ(ParseError("config=" + path), path + ": line 2: option fill: 'some' is not full or demand");
  WriteFile(path, "threads = [1]\n");
  EXPECT_EQ(ParseError("config=" + path), path + ": line 1: option threads: takes a text, a number, true or false");
  WriteFile(path, "threads = = 1\n");
  EXPECT_THAT(ParseError("config=" + path), HasSubstr(path + ": line 1: not TOML: "));
  EXPECT_THAT(ParseError("config=" + dir / "none.toml"), HasSubstr("cannot read " + dir / "none.toml: No such file"));
}

TEST(OptionsFile, DumpedConfigReadsBackTheSame) {
  TempDir dir;
  const Options o = ParseOk(
      "max_size=3Gi,low_mark=81.5%,fill_rate=20M,stall_time=90m,fill=demand,control=none,mode=0440,"
      "noallow_other,log_level=debug,retries=0,cache=/a \"b\"\\\\c");
  WriteFile(dir / "c.toml", DumpConfig(o));
  const Options back = ParseOk("config=" + dir / "c.toml");
  for (const Setting& s : SettingTable())
    if (s.name != "config") {
      EXPECT_EQ(s.get(back), s.get(o)) << s.name;
    }
}

// ---- Texts.

TEST(OptionsText, EverySettingIsInHelpManualAndDump) {
  const std::string help = HelpText(), manual = ManualPage(), dump = DumpConfig(ParseOk("defaults"));
  for (const Setting& s : SettingTable()) {
    EXPECT_THAT(help, HasSubstr("\n  " + std::string(s.name)));
    EXPECT_THAT(manual, HasSubstr("\\fB" + std::string(s.name)));
    if (s.name != "config") {
      EXPECT_THAT(dump, HasSubstr(std::string(s.name) + " = "));
    }
  }
}

TEST(OptionsText, TheManualOfTheFileSpeaksToml) {
  const std::string manual = ManualPageOfFile();
  EXPECT_THAT(manual, HasSubstr("Takes true or false. Default: true."));
  EXPECT_THAT(manual, HasSubstr("Takes true or false. Default: true for root, else false."));
  EXPECT_THAT(manual, ::testing::Not(HasSubstr("Default: yes")));
  EXPECT_THAT(manual, ::testing::Not(HasSubstr("# toml")));
}

TEST(OptionsText, ReadmeHasTheTable) {
  std::ifstream file(GLINTFS_README);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_THAT(text.str(), HasSubstr(SettingsMarkdown())) << "put the output of `glintfs --man=markdown` into README.md";
}

}  // namespace
}  // namespace glintfs
