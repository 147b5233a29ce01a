// glintctl verify, get, set, cancel, queue clear, pins, list and doctor.
#include <signal.h>

#include "tests/control/ctl_test.h"

namespace glintfs::testing {
namespace {

using nlohmann::json;
using Scrub = ScrubStatus::State;

class GlintctlVerifyTest : public GlintctlTest {
 protected:
  void SetScrub(const std::string& name, Scrub state, uint64_t bad = 0, const std::string& error = "") {
    ImageStatus image = MakeImage(name, 4 << 20, ImageState::kComplete, 4 << 20);
    image.scrub = {state, state == Scrub::kRunning ? 1u << 20 : 4u << 20, bad, std::chrono::seconds(1'763'650'000), error};
    service_.AddImage(image);
  }
  bool WaitForCalls(size_t count) {
    return WaitFor([&] { return service_.calls().size() >= count; });
  }
};

TEST_F(GlintctlVerifyTest, ResultOfEachImage) {
  for (const char* name : {"good.img", "mended.img", "bad.img"}) SetScrub(name, Scrub::kNever);
  Subprocess ctl(Command({"verify", "good.img", "mended.img", "bad.img", "none.img"}), OnTerminal());
  ASSERT_TRUE(WaitForCalls(4));
  SetScrub("good.img", Scrub::kRunning);
  ASSERT_TRUE(WaitFor([&] { return Contains(ctl.ErrorSoFar(), "good.img  [==="); })) << ctl.ErrorSoFar();
  SetScrub("good.img", Scrub::kGood);
  SetScrub("mended.img", Scrub::kRepaired, 3);
  SetScrub("bad.img", Scrub::kFailed, 1, "the source does not answer");
  const ProcessResult result = ctl.Wait();
  EXPECT_EQ(result.code, 1) << "that of bad.img, which comes before none.img";
  EXPECT_NE(result.out.find("good.img: good\n"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("mended.img: repaired, 3 bad chunks\n"), std::string::npos) << result.out;
  EXPECT_NE(result.err.find("glintctl: bad.img: verification failed: the source does not answer. "), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("3 images: 1 good, 1 repaired, 1 failed"), std::string::npos) << result.err;
}

TEST_F(GlintctlVerifyTest, WhatToDoDependsOnTheCause) {
  const auto advice = [&](const ImageStatus& image, const ServiceStatus& status) {
    service_.SetStatus(status);
    service_.AddImage(image);
    const size_t calls = service_.calls().size();
    Subprocess ctl(Command({"verify", image.info.id.name}), {});
    EXPECT_TRUE(WaitForCalls(calls + 1));
    service_.AddImage(image);
    const ProcessResult result = ctl.Wait();
    EXPECT_EQ(result.code, 1);
    return result.err;
  };
  ServiceStatus status, away;
  status.mountpoint = "/mnt";
  away.source_reachable = false;
  ImageStatus image = MakeImage("v.img", 4 << 20, ImageState::kComplete, 4 << 20);
  image.scrub = {Scrub::kFailed, 4u << 20, 2, std::chrono::seconds(1'763'650'000), "2 bad chunks"};
  image.open_count = 1;
  EXPECT_TRUE(Contains(advice(image, away), "2 bad chunks. Nothing to do: it is repaired when the source answers again"));
  EXPECT_TRUE(Contains(advice(image, status), "It is repaired once nobody has it open; who has: lsof '/mnt/v.img'"));
  image.open_count = 0;
  EXPECT_TRUE(Contains(advice(image, status), "It is tried again by itself"));
  image.state = ImageState::kInvalid;
  image.scrub.error = "its sha256 is dcba, the source says abcd";
  for (const ServiceStatus& any : {status, away})
    EXPECT_TRUE(Contains(advice(image, any), "Compare the image in the store with its checksum there; glintctl evict 'v.img'"));
}

TEST_F(GlintctlVerifyTest, All) {
  Subprocess ctl(Command({"verify", "--all", "--json"}), {});
  ASSERT_TRUE(WaitForCalls(1));
  SetScrub("b.img", Scrub::kGood);
  SetScrub("dir/a.img", Scrub::kRepaired, 1);
  const ProcessResult result = ctl.Wait();
  EXPECT_EQ(result.code, 0) << result.err;
  const json results = json::parse(result.out)["results"];
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(results[0]["scrub"]["state"], "good");
  EXPECT_EQ(results[1]["scrub"]["bad_chunks"], 1);
  EXPECT_EQ(service_.calls(), std::vector<std::string>{"scrub all"});
}

TEST_F(GlintctlVerifyTest, BackgroundInterruptAndRestart) {
  EXPECT_EQ(Ctl({"verify", "--background", "b.img"}).out, "b.img: will be verified\n");
  Subprocess interrupted(Command({"verify", "b.img"}), {});
  ASSERT_TRUE(WaitFor([&] { return Contains(interrupted.ErrorSoFar(), "b.img: "); }));
  interrupted.Signal(SIGINT);
  EXPECT_EQ(interrupted.Wait().code, 6);
  Subprocess restarted(Command({"verify", "b.img"}), {});
  ASSERT_TRUE(WaitFor([&] { return Contains(restarted.ErrorSoFar(), "b.img: "); }));
  SetScrub("b.img", Scrub::kNever);
  const ProcessResult result = restarted.Wait();
  EXPECT_EQ(result.code, 1);
  EXPECT_NE(result.err.find("the daemon was restarted"), std::string::npos) << result.err;
  EXPECT_EQ(Ctl({"verify", "--timeout", "100ms", "b.img"}).code, 6);
  EXPECT_EQ(Ctl({"verify"}).code, 2);
  EXPECT_EQ(Ctl({"verify", "--all", "b.img"}).code, 2);
}

class GlintctlOperateTest : public GlintctlTest {
 protected:
  void SetUp() override {
    GlintctlTest::SetUp();
    SetUpSettings();
  }
  void SetUpSettings() {
    service_.SetSettings({{"max_size", "10G", "10G", "a size", "", true},
                          {"chunk", "256Ki", "256Ki", "a size", "", false},
                          {"log_level", "debug", "info", "debug, info, warn or error", "", true}});
  }
};

TEST_F(GlintctlOperateTest, Get) {
  EXPECT_EQ(Ctl({"get"}).out,
            "SETTING    VALUE  DEFAULT  CHANGEABLE\n"
            "max_size   10G    =        yes\n"
            "chunk      256Ki  =        next mount\n"
            "log_level  debug  info     yes\n");
  service_.SetSettings({{"stall_time", "24h", "1d", "a time", "", true}, {"max_size", "1Ki", "1024", "a size", "", true}, {"fill_rate", "", "0", "", "", true}});
  EXPECT_EQ(Ctl({"get"}).out,
            "SETTING     VALUE  DEFAULT  CHANGEABLE\n"
            "stall_time  24h    =        yes\n"
            "max_size    1Ki    =        yes\n"
            "fill_rate   -      0        yes\n");
  SetUpSettings();
  EXPECT_EQ(CtlJson({"get", "chunk"})["settings"][0]["value"], "256Ki");
  const ProcessResult unknown = Ctl({"get", "loglevel"});
  EXPECT_EQ(unknown.code, 1);
  EXPECT_EQ(unknown.err, "glintctl: loglevel: there is no such setting. Did you mean log_level?\n");
}

TEST_F(GlintctlOperateTest, Set) {
  EXPECT_EQ(Ctl({"set", "max_size=20Gi", "log_level=info"}).out,
            "log_level: debug -> info\nmax_size: 10G -> 20Gi\n"
            "This holds until the next start; to keep it, write it where the mount's settings are.\n");
  EXPECT_EQ(CtlJson({"set", "max_size=1=2"})["changed"][0]["after"], "1=2");
  const ProcessResult unknown = Ctl({"set", "maxsize=1"});
  EXPECT_EQ(unknown.code, 1);
  EXPECT_NE(unknown.err.find("Did you mean max_size?"), std::string::npos) << unknown.err;
  const ProcessResult fixed = Ctl({"set", "chunk=1Mi"});
  EXPECT_EQ(fixed.code, 1);
  EXPECT_NE(fixed.err.find("and mount again"), std::string::npos) << fixed.err;
  EXPECT_EQ(Ctl({"set", "max_size"}).code, 2);
}

TEST_F(GlintctlOperateTest, CancelAndClear) {
  Ctl({"cache", "x.img", "y.img"});
  EXPECT_EQ(Ctl({"cancel", "x.img"}).out, "x.img: no longer being cached\n");
  EXPECT_EQ(Ctl({"cancel", "x.img"}).code, 4);
  EXPECT_EQ(Ctl({"queue", "clear"}).out, "The queue is empty now.\n");
  EXPECT_TRUE(service_.Queue().empty());
  EXPECT_EQ(Ctl({"queue", "cleer"}).code, 2);
}

TEST_F(GlintctlOperateTest, ListOfPinsAndStatesAndSorted) {
  ImageStatus pinned = MakeImage("p.img", 9 << 20, ImageState::kComplete, 9 << 20);
  pinned.pinned = true;
  service_.AddImage(pinned);
  EXPECT_EQ(CtlJson({"pins"})["images"][0]["name"], "p.img");
  EXPECT_EQ(CtlJson({"pins"})["images"].size(), 1u);
  EXPECT_EQ(Ctl({"pin", "later \xff.img"}).code, 0);  // nothing of it is cached
  const json pins = CtlJson({"pins"})["images"];
  ASSERT_EQ(pins.size(), 2u);
  EXPECT_EQ(pins[0]["state"], "absent");
  EXPECT_EQ(pins[0]["href"], "/v1/images/later%20%FF.img");
  EXPECT_TRUE(Contains(Ctl({"pins"}).out, "absent")) << Ctl({"pins"}).out;
  EXPECT_EQ(CtlJson({"list", "--state", "partial,verified"})["images"].size(), 2u);
  EXPECT_EQ(CtlJson({"list", "--sort", "size"})["images"][0]["name"], "p.img");
  EXPECT_EQ(CtlJson({"list", "--sort", "name"})["images"][0]["name"], "b.img");
  EXPECT_EQ(Ctl({"list", "--state", "no"}).code, 2);
}

TEST_F(GlintctlOperateTest, APinnedImageSaysHowToGoOn) {
  ImageStatus pinned = MakeImage("p.img", 1000, ImageState::kComplete, 1000);
  pinned.pinned = true;
  service_.AddImage(pinned);
  service_.FailNext("p.img", Errc::kBusy);
  const ProcessResult result = Ctl({"evict", "p.img"});
  EXPECT_EQ(result.code, 5);
  EXPECT_EQ(result.err, "glintctl: p.img: busy: p.img. Let it go: glintctl unpin 'p.img'\n");
}

TEST_F(GlintctlOperateTest, DoctorTellsWhatTheDaemonFound) {
  service_.SetFindings({{"passthrough", Finding::Level::kOk, "on", ""}, {"cache disk", Finding::Level::kWarn, "nearly full", "Free some space"}});
  ProcessResult result = Ctl({"doctor"});
  EXPECT_NE(result.out.find("ok    passthrough   on\n"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("warn  cache disk    nearly full\n                    -> Free some space\n"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("warn  version"), std::string::npos) << "the fake has none";
  const bool failed_here = result.out.find("\nfail") != std::string::npos || result.out.starts_with("fail");
  EXPECT_EQ(result.code, failed_here ? 1 : 0) << result.out;
  service_.SetFindings({{"source", Finding::Level::kFail, "away", "Look at the store"}});
  EXPECT_EQ(Ctl({"doctor"}).code, 1);
  const json findings = CtlJson({"doctor"}, 1);
  EXPECT_EQ(findings["findings"].back()["check"], "source");
  EXPECT_EQ(findings["daemon"], true);
}

TEST_F(GlintctlOperateTest, DoctorWithoutADaemonLooksHere) {
  TempDir empty;
  const ProcessResult result = Execute({GLINTCTL, "doctor"}, OnlyIn(empty.path()));
  EXPECT_EQ(result.code, 3);
  EXPECT_NE(result.out.find("fuse device"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("fail  daemon        no daemon is running"), std::string::npos) << result.out;
  EXPECT_EQ(Execute({GLINTCTL, "-s", empty / "x.sock", "doctor"}).code, 3);
}

TEST_F(GlintctlOperateTest, AHangingSourceKeepsNobodyFromTheStatus) {
  service_.CloseGate();
  RawClient first(path()), second(path()), third(path());
  for (RawClient* client : {&first, &second}) ASSERT_TRUE(client->Send(RequestText("GET", "/v1/source")));
  ASSERT_TRUE(third.Send(RequestText("GET", "/v1/doctor")));
  ASSERT_TRUE(WaitFor([&] { return service_.waiting_at_gate() == 3; }));
  EXPECT_EQ(Ctl({"status"}).code, 0);
}

}  // namespace
}  // namespace glintfs::testing
