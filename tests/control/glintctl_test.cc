// glintctl as its users run it, against a server with a FakeService.
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "tests/control/ctl_test.h"

namespace glintfs::testing {
namespace {

using nlohmann::json;

TEST_F(GlintctlTest, Status) {
  ServiceStatus status;
  status.version = "0.1.0";
  status.source = "http://host/images/";
  status.source_reachable = false;
  status.source_error = "refused";
  service_.SetStatus(status);
  const ProcessResult text = Ctl({"status"});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_NE(text.out.find("http://host/images/ (not reachable)"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("degraded"), std::string::npos);
  EXPECT_EQ(CtlJson({"status"})["source"], "http://host/images/");
}

TEST_F(GlintctlTest, List) {
  const ProcessResult text = Ctl({"list"});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_NE(text.out.find("dir/a.img  partial   4.00 MiB     25%"), std::string::npos) << text.out;
  EXPECT_EQ(CtlJson({"list"})["images"].size(), 2u);
}

TEST_F(GlintctlTest, Show) {
  const ProcessResult text = Ctl({"show", "dir/a.img"});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_NE(text.out.find("4 of 16 chunks of 256 KiB"), std::string::npos) << text.out;
  EXPECT_EQ(CtlJson({"show", "dir/a.img", "b.img"})["images"][1]["state"], "verified");
  const ProcessResult missing = Ctl({"show", "none.img"});
  EXPECT_EQ(missing.code, 4);
  EXPECT_NE(missing.err.find("none.img"), std::string::npos);
}

TEST_F(GlintctlTest, Queue) {
  EXPECT_EQ(Ctl({"queue"}).out, "The queue is empty.\n");
  QueueEntry entry;
  entry.name = "q.img";
  entry.attempts = 2;
  entry.error = "connection refused";
  service_.AddQueued(entry);
  const ProcessResult text = Ctl({"queue"});
  EXPECT_NE(text.out.find("connection refused"), std::string::npos) << text.out;
  EXPECT_EQ(CtlJson({"queue"})["queue"][0]["attempts"], 2);
  EXPECT_EQ(Ctl({"queue", "--clear"}).code, 0);
  EXPECT_EQ(CtlJson({"queue", "--clear"})["cleared"], "queue");
  EXPECT_EQ(service_.calls(), (std::vector<std::string>{"clear queue", "clear queue"}));
}

TEST_F(GlintctlTest, CacheEncodesNames) {
  EXPECT_EQ(Ctl({"cache", "dir/x y%2F?#\xc3\xa9.img", "z"}).out,
            "dir/x y%2F?#\xc3\xa9.img: will be cached\nz: will be cached\n");
  EXPECT_EQ(service_.calls(), (std::vector<std::string>{"queue dir/x y%2F?#\xc3\xa9.img", "queue z"}));
}

TEST_F(GlintctlTest, FailuresOfOneNameDoNotKeepTheOthers) {
  service_.FailNext("none.img", Errc::kNotFound);
  service_.FailNext("down.img", Errc::kUnavailable);
  const json results = CtlJson({"cache", "none.img", "down.img", "good.img"}, 4)["results"];
  EXPECT_EQ(results[0], (json{{"name", "none.img"}, {"ok", false}, {"error", "not found: none.img"}}));
  EXPECT_EQ(results[1]["ok"], false);
  EXPECT_EQ(results[2], (json{{"name", "good.img"}, {"ok", true}, {"error", nullptr}}));
  EXPECT_EQ(Ctl({"cache", "down.img"}).code, 1);
}

TEST_F(GlintctlTest, Evict) {
  EXPECT_EQ(Ctl({"evict", "b.img"}).out, "b.img: removed\n");
  EXPECT_EQ(Ctl({"evict", "b.img"}).code, 4);
  service_.FailNext("dir/a.img", Errc::kBusy);
  EXPECT_EQ(Ctl({"evict", "dir/a.img"}).code, 5);
  EXPECT_EQ(Ctl({"evict", "--all"}).code, 0);
  EXPECT_EQ(service_.calls().back(), "clear cache");
  EXPECT_EQ(Ctl({"evict"}).code, 2);
  EXPECT_EQ(Ctl({"evict", "--all", "b.img"}).code, 2);
}

TEST_F(GlintctlTest, EvictAllTellsWhatWentAndWhatStays) {
  ImageStatus open = MakeImage("open.img", 1 << 20, ImageState::kComplete, 1 << 20), pinned = MakeImage("pin.img", 1 << 20, ImageState::kComplete, 1 << 20);
  open.open_count = 1;
  pinned.pinned = true;
  service_.AddImage(open);
  service_.AddImage(pinned);
  EXPECT_EQ(Ctl({"evict", "--all"}).out, "2 images removed, 1.00 MiB\nopen.img: stays: open\npin.img: stays: pinned\n");
  service_.AddImage(MakeImage("b.img", 2048, ImageState::kVerified, 2048));
  const json document = CtlJson({"evict", "--all"});
  EXPECT_EQ(document, (json{{"cleared", "both"}, {"removed_images", 1}, {"removed_bytes", 2048}, {"stayed", {"open.img", "pin.img"}}}));
}

TEST_F(GlintctlTest, OfTwoVersionsTheOldOneIsMarked) {
  ImageStatus old = MakeImage("b.img", 2000, ImageState::kInvalid, 2000);
  old.error = "superseded: the source has another version, or none";
  service_.AddAlias("b.img, old", old);
  const ProcessResult list = Ctl({"list"});
  EXPECT_NE(list.out.find("  superseded\n"), std::string::npos) << list.out;
  EXPECT_EQ(list.out.find("error"), std::string::npos) << list.out;
}

TEST_F(GlintctlTest, LongNamesAreShortenedOnATerminalOnly) {
  const std::string name = "directory/with/a/very-long-name-of-an-image-that-does-not-fit-into-eighty-columns-v2.qcow2";
  service_.AddImage(MakeImage(name, 1 << 20, ImageState::kComplete, 1 << 20));
  const ProcessResult screen = Subprocess(Command({"list"}), OnScreen(24, 90)).Wait();
  EXPECT_EQ(screen.code, 0);
  EXPECT_FALSE(Contains(screen.err, name)) << screen.err;
  EXPECT_TRUE(Contains(screen.err, "...")) << screen.err;
  EXPECT_TRUE(Contains(screen.err, "v2.qcow2  complete")) << screen.err;
  EXPECT_TRUE(Contains(Ctl({"list"}).out, name));
  QueueEntry entry;
  entry.name = name;
  service_.AddQueued(entry);
  EXPECT_FALSE(Contains(Subprocess(Command({"queue"}), OnScreen(24, 80)).Wait().err, name));
  EXPECT_TRUE(Contains(Ctl({"queue"}).out, name));
}

TEST_F(GlintctlTest, AResultThatCannotBeWrittenIsAFailure) {
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "needs /dev/full";
  QueueEntry entry;
  entry.name = "q.img";
  service_.AddQueued(entry);
  service_.SetSettings({{"max_size", "10G", "10G", "a size", "", true}});
  for (const std::string command :
       {"status", "list", "show b.img", "queue", "top -n1 -d1ms", "top --json -n1 -d1ms", "events --no-follow", "cache b.img", "cancel q.img", "verify --background b.img",
        "verify --background --json b.img", "pin b.img", "pins", "unpin b.img", "prune", "clean", "get", "doctor", "evict b.img", "evict --all",
        "queue clear", "--help", "--man", "--version", "list --help", "list --json", "evict none.img --json"}) {
    if (command.starts_with("events")) service_.AddEvent({0, std::chrono::seconds(1), ServiceEvent::Kind::kFilled, "b.img", "", 1});
    const ProcessResult result = Execute({"/bin/sh", "-c", std::string(GLINTCTL) + " -s " + path() + " " + command + " >/dev/full"});
    EXPECT_NE(result.code, 0) << command;
    EXPECT_NE(result.err.find("glintctl: the result could not be written"), std::string::npos) << command << ": " << result.err;
  }
  EXPECT_EQ(Execute({"/bin/sh", "-c", std::string(GLINTCTL) + " -q -s " + path() + " pin x.img >&-"}).code, 0) << "it has nothing to print";
}

TEST_F(GlintctlTest, Prune) {
  EXPECT_EQ(Ctl({"prune"}).out, "old.img\nolder.img\n2 images removed, 2.86 MiB\n");
  EXPECT_EQ(Ctl({"prune", "--to", "5Gi", "--dry-run"}).out,
            "old.img\nolder.img\n2 images would be removed, 2.86 MiB\n");
  EXPECT_EQ(CtlJson({"prune", "--to=1k"})["total_files_pruned"], 2);
  EXPECT_EQ(service_.calls(), (std::vector<std::string>{"prune low", "prune 5368709120 dry", "prune 1000"}));
  EXPECT_EQ(Ctl({"prune", "--to", "many"}).code, 2);
}

TEST_F(GlintctlTest, Clean) {
  EXPECT_EQ(Ctl({"clean"}).out, "stalled.img\n1 image removed, 977 KiB\n");
  EXPECT_EQ(CtlJson({"clean"})["images"], json{"stalled.img"});
}

TEST_F(GlintctlTest, Pins) {
  EXPECT_EQ(Ctl({"pin", "a/b"}).code, 0);
  EXPECT_EQ(Ctl({"-q", "unpin", "a/b"}).out, "");
  EXPECT_EQ(CtlJson({"pin", ".."}, 1)["results"][0]["error"], "not a valid image name");
  EXPECT_EQ(service_.calls().front(), "pin a/b");
  EXPECT_EQ(service_.calls().back(), "unpin a/b");
}

TEST_F(GlintctlTest, APinForWhatTheSourceDoesNotHave) {
  const ProcessResult typo = Ctl({"pin", "b.imq"});
  EXPECT_EQ(typo.code, 0);
  EXPECT_EQ(typo.out, "b.imq: pinned\n");
  EXPECT_EQ(typo.err, "glintctl: b.imq: it is pinned, but the source has no such image now. Did you mean b.img?\n");
  const ProcessResult glob = Ctl({"pin", "*.iso"});
  EXPECT_EQ(glob.code, 0);
  EXPECT_NE(glob.err.find("glintctl pin --match '*.iso'"), std::string::npos) << glob.err;
  EXPECT_EQ(Ctl({"pin", "b.img"}).err, "");
  ServiceStatus away;
  away.source_reachable = false;
  service_.SetStatus(away);
  EXPECT_EQ(Ctl({"pin", "c.img"}).err, "") << "it cannot be asked";
}

TEST_F(GlintctlTest, UnpinTellsWhetherItWasPinned) {
  Ctl({"pin", "b.img"});
  EXPECT_EQ(Ctl({"unpin", "b.img", "never.img"}).out, "b.img: no longer pinned\nnever.img: was not pinned\n");
}

TEST_F(GlintctlTest, GlobsForWhatActsOnImagesThatAreKnown) {
  service_.AddImage(MakeImage("dir/c.img", 2000, ImageState::kComplete, 2000));
  service_.AddImage(MakeImage("none.img", 2000, ImageState::kAbsent, 0));
  EXPECT_EQ(Ctl({"pin", "--match", "dir/*"}).out, "dir/a.img: pinned\ndir/c.img: pinned\n");
  EXPECT_EQ(Ctl({"unpin", "-m", "**"}).out, "dir/a.img: no longer pinned\ndir/c.img: no longer pinned\n");
  EXPECT_EQ(Ctl({"verify", "--background", "-m", "*.img"}).out, "b.img: will be verified\n");
  Ctl({"cache", "x.img", "y.img"});
  EXPECT_EQ(Ctl({"cancel", "-m", "x*", "y.img"}).out, "y.img: no longer being cached\nx.img: no longer being cached\n");
  EXPECT_EQ(Ctl({"evict", "--match", "dir/?.img"}).out, "dir/a.img: removed\ndir/c.img: removed\n");
  for (const std::string command : {"pin", "unpin", "verify", "cancel", "evict"}) {
    EXPECT_EQ(Ctl({command, "--match", "*.iso"}).code, 4) << command;
    EXPECT_EQ(Ctl({command, "--match", "["}).code, 2) << command;
    EXPECT_EQ(Ctl({command}).code, 2) << command;
  }
  EXPECT_EQ(Ctl({"evict", "--all", "--match", "*"}).code, 2);
}

TEST_F(GlintctlTest, UsageErrors) {
  for (const std::vector<std::string>& wrong :
       std::vector<std::vector<std::string>>{{},
                                             {"nonsense"},
                                             {"cache"},
                                             {"status", "--what"},
                                             {"cache", "a", "--timeout", "5m"},
                                             {"cache", "-w", "a", "--timeout", "x"}}) {
    const ProcessResult result = Ctl(wrong);
    EXPECT_EQ(result.code, 2) << result.out;
    EXPECT_NE(result.err.find("glintctl: "), std::string::npos);
  }
  EXPECT_TRUE(service_.calls().empty());
}

TEST_F(GlintctlTest, HelpVersionAndManual) {
  const ProcessResult help = Execute({GLINTCTL, "--help"});
  EXPECT_EQ(help.code, 0);
  const ProcessResult manual = Execute({GLINTCTL, "--man"});
  EXPECT_EQ(manual.code, 0);
  EXPECT_EQ(manual.out.rfind(".TH GLINTCTL 1", 0), 0u);
  for (const char* command : {"status", "list", "show", "queue", "cache", "evict", "prune", "clean", "pin", "unpin"}) {
    EXPECT_NE(help.out.find(std::string("  ") + command), std::string::npos) << command;
    EXPECT_NE(manual.out.find(std::string("\\fB") + command + "\\fR"), std::string::npos) << command;
    EXPECT_EQ(Execute({GLINTCTL, command, "--help"}).code, 0) << command;
  }
  EXPECT_NE(help.out.find("  7  permission denied"), std::string::npos);
  EXPECT_EQ(help.out.find("--man"), std::string::npos);
  EXPECT_EQ(Execute({GLINTCTL, "--version"}).out.rfind("glintctl ", 0), 0u);
}

TEST_F(GlintctlTest, FindsTheOneDaemon) {
  EXPECT_EQ(Execute({GLINTCTL, "queue"}, OnlyIn(dir_.path())).out, "The queue is empty.\n");
  EXPECT_EQ(Execute({GLINTCTL, "queue"}, {{"GLINTFS_CONTROL", path()}}).code, 0);
}

TEST_F(GlintctlTest, NoDaemonAndTwoDaemons) {
  TempDir empty;
  const ProcessResult none = Execute({GLINTCTL, "status"}, OnlyIn(empty.path()));
  EXPECT_EQ(none.code, 3);
  EXPECT_NE(none.err.find(empty.path()), std::string::npos);
  EXPECT_EQ(Execute({GLINTCTL, "-s", empty / "x.sock", "status"}).code, 3);
  EXPECT_EQ(Execute({GLINTCTL, "-s", empty / "x.sock", "cache", "a"}).code, 3);

  auto second = ControlServer::Start({dir_ / "second.sock", std::nullopt, {}}, service_);
  ASSERT_TRUE(second);
  const ProcessResult two = Execute({GLINTCTL, "status", "--json"}, OnlyIn(dir_.path()));
  EXPECT_EQ(two.code, 2);
  EXPECT_NE(two.err.find(path()), std::string::npos);
  EXPECT_NE(two.err.find(dir_ / "second.sock"), std::string::npos);
  EXPECT_TRUE(json::parse(two.out)["error"]["message"].is_string());
}

TEST_F(GlintctlTest, PermissionDenied) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to run glintctl as another user";
  if (::access("/usr/bin/setpriv", X_OK) != 0) GTEST_SKIP() << "needs setpriv (util-linux)";
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0755), 0);
  TempDir open;  // another user may not reach the build directory
  ASSERT_EQ(::chmod(open.path().c_str(), 0755), 0);
  std::filesystem::copy_file(GLINTCTL, open / "glintctl");
  const std::vector<std::string> command = {"/usr/bin/setpriv", "--reuid=1234", "--regid=1234", "--clear-groups",
                                            open / "glintctl",  "-s",           path(),         "status"};
  EXPECT_EQ(Execute(command).code, 7);
  ASSERT_EQ(::chmod(path().c_str(), 0666), 0);
  const ProcessResult refused = Execute(command);
  EXPECT_EQ(refused.code, 7);
  EXPECT_NE(refused.err.find("uid 1234"), std::string::npos) << refused.err;
}

// One that the caller may not use is none of his.
TEST_F(GlintctlTest, ASocketThatIsDeniedDoesNotCountBesideAnother) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to look as another user";
  auto other = ControlServer::Start({dir_ / "other.sock", std::nullopt, {}}, service_);
  ASSERT_TRUE(other);
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0755), 0);
  ASSERT_EQ(::chmod((dir_ / "other.sock").c_str(), 0600), 0);
  ASSERT_EQ(::chmod(path().c_str(), 0666), 0);
  TempDir open;  // another user may not reach the build directory
  ASSERT_EQ(::chmod(open.path().c_str(), 0755), 0);
  if (::access("/usr/bin/setpriv", X_OK) != 0) GTEST_SKIP() << "needs setpriv (util-linux)";
  std::filesystem::copy_file(GLINTCTL, open / "glintctl");
  const std::vector<std::string> command = {"/usr/bin/setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", open / "glintctl", "status"};
  const ProcessResult one = Execute(command, OnlyIn(dir_.path()));
  EXPECT_NE(one.err.find("uid 1234"), std::string::npos) << "it is asked, and says so: " << one.err;
  ASSERT_EQ(::chmod(path().c_str(), 0600), 0);
  const ProcessResult none = Execute(command, OnlyIn(dir_.path()));
  EXPECT_EQ(none.code, 7) << none.err;
  EXPECT_NE(none.err.find(dir_ / "other.sock"), std::string::npos) << none.err;
}

}  // namespace
}  // namespace glintfs::testing
