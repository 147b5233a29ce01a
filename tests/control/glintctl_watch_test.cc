// glintctl top and events.
#include <signal.h>

#include "control/ctl/top_text.h"
#include "tests/control/ctl_test.h"

namespace glintfs::testing {
namespace {

using nlohmann::json;
using namespace ctl;

constexpr const char* kEnter = "\033[?1049h";
constexpr const char* kLeave = "\033[?1049l";

class GlintctlTopTest : public GlintctlTest {
 protected:
  void SetUp() override {
    GlintctlTest::SetUp();
    SetCounters(100, 0);
    Activity activity;
    activity.fills.push_back({"fill.img", 1 << 30, 1 << 29, 1 << 20, true});
    activity.fetches.push_back({"slow.img", 8 << 20, 4 << 20, 1 << 20, "demand", std::chrono::milliseconds(2500)});
    service_.SetActivity(activity);
  }
  void SetCounters(uint64_t hits, uint64_t bytes) {
    ServiceStatus status;
    status.version = "1.2.3";
    status.source = "http://host/images/";
    status.mountpoint = "/mnt/images";
    status.uptime = std::chrono::hours(1);
    status.cache.limits.max_size = 10'000'000'000;
    status.cache.used_bytes = 5'000'000'000;
    status.cache.read_hits = hits;
    status.cache.read_misses = 100;
    status.cache.bytes_read = bytes;
    service_.SetStatus(status);
  }
};

TEST_F(GlintctlTopTest, BatchIsPlainBlocks) {
  const ProcessResult result = Ctl({"top", "-d", "50ms", "-n", "2"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_NE(result.out.find("http://host/images/ at /mnt/images, up 1h"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("fill.img"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("slow.img"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("50.0% overall"), std::string::npos) << result.out;
  EXPECT_EQ(result.out.find('\033'), std::string::npos);
  EXPECT_NE(result.out.find("glintfs 1.2.3", 1), std::string::npos) << "the second block";
  EXPECT_NE(Ctl({"top", "-b", "-n1", "-d", "1ms", "--color=always"}).out.find("\033[1mReaders"), std::string::npos);
}

TEST_F(GlintctlTopTest, NoLooksAreWrongUsage) {
  const ProcessResult none = Ctl({"top", "-n", "0"});
  EXPECT_EQ(none.code, 2);
  EXPECT_NE(none.err.find("--count"), std::string::npos) << none.err;
}

TEST_F(GlintctlTopTest, TimesLeftAndUptimesAreWholeSeconds) {
  Sample sample;
  sample.status = {{"uptime_seconds", 0.2}};
  sample.activity = {{"fills", {{{"name", "a"}, {"size", 1000}, {"cached_bytes", 442}, {"fill_rate", 100.0}}}}};
  const std::string text = TopText(sample, {}, 0, false);
  EXPECT_NE(text.find("up <1s\n"), std::string::npos) << text;
  EXPECT_NE(text.find("  6s  being read"), std::string::npos) << text;
}

TEST_F(GlintctlTopTest, JsonIsAnObjectPerInterval) {
  Subprocess ctl(Command({"top", "--json", "-d", "20ms"}), {});
  ASSERT_TRUE(WaitFor([&] { return Contains(ctl.OutputSoFar(), "\n"); }));
  SetCounters(200, 50'000'000);
  ASSERT_TRUE(WaitFor([&] { return Contains(ctl.OutputSoFar(), "\"hit_ratio\":1.0"); })) << ctl.OutputSoFar();
  server_.reset();
  ASSERT_TRUE(WaitFor([&] { return Contains(ctl.OutputSoFar(), "\"error\":"); }));
  ctl.Signal(SIGTERM);
  const ProcessResult result = ctl.Wait();
  EXPECT_EQ(result.code, 0);
  std::istringstream lines(result.out);
  double most = 0;
  for (std::string line; std::getline(lines, line);) {
    const json object = json::parse(line, nullptr, false);
    ASSERT_TRUE(object.is_object()) << line;
    most = std::max(most, object.value("read_bytes_per_second", 0.0));
  }
  EXPECT_GT(most, 0);
}

TEST_F(GlintctlTopTest, TakesAScreenAndGivesItBack) {
  for (const int signal : {0, SIGINT, SIGTERM, SIGHUP}) {
    Subprocess ctl(Command({"top", "-d", "100ms"}), OnScreen());
    ASSERT_TRUE(WaitFor([&] { return Contains(ctl.ErrorSoFar(), "slow.img"); })) << ctl.ErrorSoFar();
    EXPECT_FALSE(ctl.IsPlainTerminal());
    EXPECT_TRUE(Contains(ctl.ErrorSoFar(), kEnter));
    if (signal == 0) ctl.Type("q"); else ctl.Signal(signal);
    const ProcessResult result = ctl.Wait();
    EXPECT_EQ(result.code, 0) << signal;
    EXPECT_TRUE(result.err.ends_with(kLeave)) << signal;
    EXPECT_TRUE(ctl.IsPlainTerminal()) << signal;
  }
}

TEST_F(GlintctlTopTest, FitsTheTerminalAndFollowsItsSize) {
  Subprocess ctl(Command({"top", "-d", "10s", "--color=never"}), OnScreen(4, 40));
  ASSERT_TRUE(WaitFor([&] { return Contains(ctl.ErrorSoFar(), "Cache"); })) << ctl.ErrorSoFar();
  EXPECT_FALSE(Contains(ctl.ErrorSoFar(), "Queue")) << "the sixth line";
  EXPECT_FALSE(Contains(ctl.ErrorSoFar(), "/mnt/images, up")) << "beyond the column";
  EXPECT_TRUE(Contains(ctl.ErrorSoFar(), "ok: glintfs 1.2.3")) << "that never is";
  ctl.Resize(30, 120);
  EXPECT_TRUE(WaitFor([&] { return Contains(ctl.ErrorSoFar(), "slow.img") && Contains(ctl.ErrorSoFar(), "/mnt/images, up"); }));
  EXPECT_FALSE(Contains(ctl.ErrorSoFar(), "\033[1m"));
  ctl.Type("q");
  EXPECT_EQ(ctl.Wait().code, 0);
}

TEST_F(GlintctlTopTest, WaitsForADaemonThatWentAway) {
  Subprocess ctl(Command({"top", "-d", "30ms"}), OnScreen());
  ASSERT_TRUE(WaitFor([&] { return Contains(ctl.ErrorSoFar(), "slow.img"); }));
  server_.reset();
  ASSERT_TRUE(WaitFor([&] { return Contains(ctl.ErrorSoFar(), "waiting for it to come back"); })) << ctl.ErrorSoFar();
  const size_t seen = ctl.ErrorSoFar().size();
  StartServer();
  ASSERT_TRUE(WaitFor([&] { return Contains(ctl.ErrorSoFar().substr(seen), ", up 1h"); })) << ctl.ErrorSoFar().substr(seen);
  ctl.Type("q");
  EXPECT_EQ(ctl.Wait().code, 0);
}

TEST_F(GlintctlTopTest, NoColorIsHeard) {
  Subprocess::Options options = OnScreen();
  options.environment = {{"NO_COLOR", "1"}, {"TERM", "xterm"}};
  const ProcessResult result = Subprocess(Command({"top", "-n", "1", "-d", "10ms"}), options).Wait();
  EXPECT_EQ(result.code, 0);
  EXPECT_FALSE(Contains(result.err, "\033[1m")) << result.err;
  options.environment = {{"TERM", "xterm"}};
  EXPECT_TRUE(Contains(Subprocess(Command({"top", "-n", "1", "-d", "10ms"}), options).Wait().err, "\033[1m"));
}

// ---- events

class GlintctlEventsTest : public GlintctlTest {
 protected:
  void Happens(ServiceEvent::Kind kind, const std::string& name, const std::string& text = "") {
    service_.AddEvent({0, std::chrono::seconds(1'763'650'000), kind, name, text, kind == ServiceEvent::Kind::kFilled ? 1048576u : 0u});
  }
  using Kind = ServiceEvent::Kind;
};

TEST_F(GlintctlEventsTest, WhatIsKept) {
  for (int i = 0; i < 12; ++i) Happens(Kind::kFilled, "a" + std::to_string(i));
  Happens(Kind::kError, "b.img", "connection refused");
  const ProcessResult all = Ctl({"events", "--no-follow"});
  EXPECT_EQ(all.code, 0) << all.err;
  EXPECT_EQ(std::count(all.out.begin(), all.out.end(), '\n'), 13);
  EXPECT_TRUE(all.out.starts_with("2025-11-20 14:46:40  filled       a0  1.00 MiB\n")) << all.out;
  EXPECT_NE(all.out.find("error        b.img  connection refused\n"), std::string::npos) << all.out;
  const ProcessResult two = Ctl({"events", "--no-follow", "-n", "2"});
  EXPECT_EQ(std::count(two.out.begin(), two.out.end(), '\n'), 2) << two.out;
  EXPECT_EQ(Ctl({"events", "--no-follow", "--type", "error,evicted"}).out.find("filled"), std::string::npos);
  const ProcessResult some = Ctl({"events", "--no-follow", "a1*", "b.img"});
  EXPECT_EQ(std::count(some.out.begin(), some.out.end(), '\n'), 4) << some.out;  // a1, a10, a11, b.img
  EXPECT_EQ(Ctl({"events", "--type", "nonsense"}).code, 2);
  const ProcessResult lines = Ctl({"events", "--no-follow", "--json", "-n1"});
  EXPECT_EQ(json::parse(lines.out)["sequence"], 13);
}

TEST_F(GlintctlEventsTest, FollowsThroughARestart) {
  for (int i = 0; i < 12; ++i) Happens(Kind::kFilled, "old" + std::to_string(i) + ".");
  Subprocess ctl(Command({"events"}), {});
  ASSERT_TRUE(WaitFor([&] { return Contains(ctl.OutputSoFar(), "old11."); }));
  EXPECT_FALSE(Contains(ctl.OutputSoFar(), "old1.")) << "the last ten only";
  Happens(Kind::kEvicted, "new.img", "to make room");
  ASSERT_TRUE(WaitFor([&] { return Contains(ctl.OutputSoFar(), "evicted      new.img  to make room\n"); }));
  service_.ForgetEvents();
  Happens(Kind::kFilled, "after.img");
  ASSERT_TRUE(WaitFor([&] { return Contains(ctl.OutputSoFar(), "after.img"); }));
  EXPECT_TRUE(Contains(ctl.ErrorSoFar(), "the daemon was restarted")) << ctl.ErrorSoFar();
  server_.reset();
  ASSERT_TRUE(WaitFor([&] { return Contains(ctl.ErrorSoFar(), "waiting for it to come back"); }));
  service_.ForgetEvents();  // also a new daemon, which has had as many events since
  Happens(Kind::kFilled, "again.img");
  StartServer();  // its uptime is 0
  ASSERT_TRUE(WaitFor([&] { return Contains(ctl.OutputSoFar(), "again.img"); })) << ctl.ErrorSoFar();
  ctl.Signal(SIGINT);
  EXPECT_EQ(ctl.Wait().code, 0);
}

TEST_F(GlintctlEventsTest, TellsWhatWasLost) {
  Happens(Kind::kFilled, "a.img");
  Subprocess ctl(Command({"events", "--json", "-n", "0"}), {});
  const int asked = service_.event_pages();
  ASSERT_TRUE(WaitFor([&] { return service_.event_pages() > asked + 1; }));
  for (int i = 0; i < 5; ++i) service_.AddEvent({0, std::chrono::seconds(1), Kind::kFilled, "b.img", "", 1}, i == 4);
  ASSERT_TRUE(WaitFor([&] { return Contains(ctl.OutputSoFar(), "b.img"); })) << ctl.OutputSoFar();
  ctl.Signal(SIGTERM);
  const ProcessResult result = ctl.Wait();
  EXPECT_EQ(result.code, 0);
  EXPECT_FALSE(Contains(result.out, "a.img")) << result.out;
  std::istringstream lines(result.out);
  uint64_t lost = 0, seen = 0;
  for (std::string line; std::getline(lines, line);) {
    const json event = json::parse(line, nullptr, false);
    ASSERT_TRUE(event.is_object()) << line;
    if (event["event"] == "lost") lost += event["lost"].get<uint64_t>(); else ++seen;
  }
  EXPECT_EQ(lost + seen, 5u) << result.out;
  EXPECT_GT(lost, 0u);
}

}  // namespace
}  // namespace glintfs::testing
