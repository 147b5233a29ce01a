// glintctl cache with many images: which they are, and what shows while they come.
#include <signal.h>

#include <fstream>

#include "tests/control/ctl_test.h"

namespace glintfs::testing {
namespace {

using nlohmann::json;

class GlintctlCacheTest : public GlintctlTest {
 protected:
  void FillSource() {
    service_.SetSource({{"", {{"a.qcow2", false}, {"b.img", false}, {"dir", true}, {"other", true}}},
                        {"dir", {{"dir/c.qcow2", false}, {"dir/deep", true}}},
                        {"dir/deep", {{"dir/deep/d.qcow2", false}}},
                        {"other", {{"other/a.qcow2", false}}}});
  }
  std::vector<std::string> Queued() {
    std::vector<std::string> names;
    for (const QueueEntry& entry : service_.Queue()) names.push_back(entry.name);
    return names;
  }
  // Directories that were asked for.
  std::vector<std::string> Listed() {
    std::vector<std::string> names;
    for (const std::string& call : service_.calls())
      if (call.starts_with("list ")) names.push_back(call.substr(5));
    return names;
  }
  void Finish(const std::string& name, ImageState state = ImageState::kComplete) {
    service_.AddImage(MakeImage(name, 1 << 20, state, 1 << 20));
    service_.RemoveQueued(name);
  }
  void QueueRunning(const std::string& name, uint64_t cached) {
    service_.AddImage(MakeImage(name, 4 << 20, ImageState::kPartial, cached));
    service_.RemoveQueued(name);
    QueueEntry entry;
    entry.name = name;
    entry.running = true;
    service_.AddQueued(entry);
  }
};

using Names = std::vector<std::string>;

TEST_F(GlintctlCacheTest, AllOfTheSource) {
  FillSource();
  EXPECT_EQ(Ctl({"cache", "--all"}).code, 0);
  EXPECT_EQ(Queued(), (Names{"a.qcow2", "b.img", "dir/c.qcow2", "other/a.qcow2", "dir/deep/d.qcow2"}));
}

TEST_F(GlintctlCacheTest, GlobsAreOverWholeNamesAndSpareDirectories) {
  FillSource();
  EXPECT_EQ(Ctl({"cache", "--match", "*.qcow2"}).code, 0);
  EXPECT_EQ(Queued(), Names{"a.qcow2"});
  EXPECT_EQ(Listed(), Names{""});
  service_.ClearQueue();
  EXPECT_EQ(Ctl({"cache", "--match", "dir/**", "-m", "b.*"}).code, 0);
  EXPECT_EQ(Queued(), (Names{"b.img", "dir/c.qcow2", "dir/deep/d.qcow2"}));
  EXPECT_EQ(Listed(), (Names{"", "", "dir", "dir/deep"}));
  const ProcessResult none = Ctl({"cache", "--match", "*.iso"});
  EXPECT_EQ(none.code, 4);
  EXPECT_NE(none.err.find("no image of the source matches"), std::string::npos) << none.err;
}

TEST_F(GlintctlCacheTest, ADirectoryThatCannotBeListedIsToldAndTheOthersAreCached) {
  FillSource();
  service_.FailNext("dir", Errc::kAccessDenied);
  const ProcessResult result = Ctl({"cache", "--all"});
  EXPECT_EQ(result.code, 1);
  EXPECT_NE(result.err.find("glintctl: dir: cannot be listed: "), std::string::npos) << result.err;
  EXPECT_EQ(Queued(), (Names{"a.qcow2", "b.img", "other/a.qcow2"}));
}

TEST_F(GlintctlCacheTest, WhileTheSourceIsAwayWhatIsKnownIsTakenAndThatIsSaid) {
  ServiceStatus away;
  away.source_reachable = false;
  service_.SetStatus(away);
  service_.SetSource({{"", {{"a.qcow2", false}, {"b.img", false}}}}, false);
  const ProcessResult result = Ctl({"cache", "--all"});
  EXPECT_EQ(result.code, 1);
  EXPECT_NE(result.err.find("the source cannot be listed; only the 2 names that are known here were taken. glintctl status"), std::string::npos)
      << result.err;
  EXPECT_EQ(Queued(), (Names{"a.qcow2", "b.img"}));
  const ProcessResult one = Ctl({"cache", "--match", "a*"});
  EXPECT_EQ(one.code, 1);
  EXPECT_NE(one.err.find("only the 1 name that is known here was taken"), std::string::npos) << one.err;
  const ProcessResult none = Ctl({"cache", "--match", "*.iso"});
  EXPECT_EQ(none.code, 1) << "the source may have it";
  EXPECT_NE(none.err.find("no name that is known here matches"), std::string::npos) << none.err;
  service_.SetStatus({});
  const ProcessResult without = Ctl({"cache", "--all"});
  EXPECT_NE(without.err.find("If it has no listing, give whole names"), std::string::npos) << without.err;
}

TEST_F(GlintctlCacheTest, AMalformedGlobIsWrongUsage) {
  FillSource();
  for (const char* glob : {"[", "a[b", "[!]", "[a/b]", "a\\", ""}) {
    const ProcessResult result = Ctl({"cache", "--match", glob});
    EXPECT_EQ(result.code, 2) << glob;
    EXPECT_NE(result.err.find("glintctl: "), std::string::npos) << glob;
  }
  for (const char* glob : {"[ab]*", "[!c]*", "[]a]*", "\\a*"}) EXPECT_EQ(Ctl({"cache", "--match", glob}).code, 0) << glob;
}

TEST_F(GlintctlCacheTest, AGlobTakesOneWord) {
  FillSource();
  EXPECT_EQ(Ctl({"cache", "--match", "a*", "*.iso"}).code, 0);
  EXPECT_EQ(Queued(), (Names{"*.iso", "a.qcow2"})) << "the other is a name";
}

TEST_F(GlintctlCacheTest, WhatIsCachedAlreadyIsSaid) {
  Finish("whole.img");
  Finish("right.img", ImageState::kVerified);
  EXPECT_EQ(Ctl({"cache", "whole.img", "right.img", "new.img"}).out,
            "whole.img: is cached already\nright.img: is cached already, and verified\nnew.img: will be cached\n");
  {
    std::ofstream file(dir_ / "names");  // so many that they are not looked at one by one
    file << "whole.img\n";
    for (int i = 0; i < 20; ++i) file << "i" << i << '\n';
  }
  const ProcessResult many = Ctl({"cache", "-F", dir_ / "names"});
  EXPECT_TRUE(Contains(many.out, "whole.img: is cached already\ni0: will be cached\n")) << many.out;
}

TEST_F(GlintctlCacheTest, ANameThatIsTheBeginningOfOne) {
  FillSource();
  service_.FailNext("a", Errc::kNotFound);
  const ProcessResult result = Ctl({"cache", "a"});
  EXPECT_EQ(result.code, 4);
  EXPECT_NE(result.err.find("Did you mean a.qcow2"), std::string::npos) << result.err;
}

TEST_F(GlintctlCacheTest, ATimeoutGoesWithTheWaitingThatIsTheDefault) {
  Subprocess ctl(Command({"cache", "w.img", "--timeout", "100ms"}), OnScreen());
  const ProcessResult result = ctl.Wait();
  EXPECT_EQ(result.code, 6) << result.err;
  EXPECT_EQ(Ctl({"cache", "w.img", "--timeout", "1s"}).code, 2) << "it does not wait there";
}

TEST_F(GlintctlCacheTest, TheTotalOfSizesThatAreNotKnown) {
  const auto running = [&](const std::string& name, bool with_size) {
    QueueEntry entry;
    entry.name = name;
    entry.running = with_size;
    service_.RemoveQueued(name);
    if (with_size) service_.AddImage(MakeImage(name, 4 << 20, ImageState::kPartial, 1 << 20));
    service_.AddQueued(entry);
  };
  Subprocess ctl(Command({"cache", "--wait", "a.img", "w.img"}), OnTerminal());
  ASSERT_TRUE(WaitFor([&] { return service_.Queue().size() == 2; }));
  running("a.img", true);
  EXPECT_TRUE(WaitFor([&] { return Contains(ctl.ErrorSoFar(), "1.00 MiB of at least 4.00 MiB"); })) << ctl.ErrorSoFar();
  running("w.img", true);
  EXPECT_TRUE(WaitFor([&] { return Contains(ctl.ErrorSoFar(), "2.00 MiB of 8.00 MiB"); })) << ctl.ErrorSoFar();
}

TEST_F(GlintctlCacheTest, ASourceWithoutListing) {
  service_.FailNext("", Errc::kNotSupported);
  const ProcessResult result = Ctl({"cache", "--all"});
  EXPECT_EQ(result.code, 1);
  EXPECT_NE(result.err.find("Give whole names instead"), std::string::npos) << result.err;
}

TEST_F(GlintctlCacheTest, NamesFromAFileAndStandardInputEachOnce) {
  {
    std::ofstream file(dir_ / "names");
    file << "# what we need\n\na.img\nb b.img  \r\na.img\n";
  }
  EXPECT_EQ(Ctl({"cache", "--from-file", dir_ / "names", "c.img"}).code, 0);
  EXPECT_EQ(Queued(), (Names{"c.img", "a.img", "b b.img"}));
  service_.ClearQueue();
  EXPECT_EQ(Ctl({"cache", "-F", "-"}, "x.img\n#y\nz.img").code, 0);
  EXPECT_EQ(Queued(), (Names{"x.img", "z.img"}));
  const ProcessResult missing = Ctl({"cache", "--from-file", dir_ / "none"});
  EXPECT_EQ(missing.code, 2);
  EXPECT_NE(missing.err.find("No such file"), std::string::npos) << missing.err;
  const ProcessResult empty = Ctl({"cache", "-F", "-"}, "# nothing\n");
  EXPECT_EQ(empty.code, 2) << empty.err;
  EXPECT_NE(empty.err.find("no names came on standard input"), std::string::npos) << empty.err;
}

TEST_F(GlintctlCacheTest, NowKeepsTheOrder) {
  Ctl({"cache", "old.img"});
  EXPECT_EQ(Ctl({"cache", "--now", "a.img", "b.img"}).code, 0);
  EXPECT_EQ(Queued(), (Names{"a.img", "b.img", "old.img"}));
}

TEST_F(GlintctlCacheTest, OnATerminalItWaitsUnlessToldNotTo) {
  const ProcessResult background = Subprocess(Command({"cache", "--background", "w.img"}), OnScreen()).Wait();
  EXPECT_EQ(background.code, 0);
  EXPECT_NE(background.err.find("w.img: will be cached"), std::string::npos) << background.err;
  Subprocess waits(Command({"cache", "w.img"}), OnScreen());
  ASSERT_TRUE(WaitFor([&] { return Contains(waits.ErrorSoFar(), "]  queued"); })) << waits.ErrorSoFar();
  service_.ClearQueue();
  Finish("w.img");
  EXPECT_EQ(waits.Wait().code, 0);
}

TEST_F(GlintctlCacheTest, BarsForWhatRunsAndOneInTotal) {
  Subprocess ctl(Command({"cache", "--wait", "a.img", "w.img", "x.img", "y.img"}), OnTerminal());
  ASSERT_TRUE(WaitFor([&] { return service_.Queue().size() == 4; }));
  QueueRunning("w.img", 1 << 20);
  ASSERT_TRUE(WaitFor([&] { return Contains(ctl.ErrorSoFar(), "w.img  [=========="); })) << ctl.ErrorSoFar();
  EXPECT_TRUE(WaitFor([&] { return Contains(ctl.ErrorSoFar(), "0 of 4 images"); })) << ctl.ErrorSoFar();
  EXPECT_FALSE(Contains(ctl.ErrorSoFar(), "x.img  [")) << "it does not run";
  Finish("w.img");
  Finish("a.img");
  ASSERT_TRUE(WaitFor([&] { return Contains(ctl.ErrorSoFar(), "2 of 4 images"); })) << ctl.ErrorSoFar();
  service_.RemoveQueued("y.img");  // gone for good
  ASSERT_TRUE(WaitFor([&] { return Contains(ctl.ErrorSoFar(), "1 failed"); })) << ctl.ErrorSoFar();
  Finish("x.img");
  const ProcessResult result = ctl.Wait();
  EXPECT_EQ(result.code, 1);
  EXPECT_NE(result.err.find("4 images: 3 cached, 1 failed; "), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("glintctl: y.img: not cached: it left the queue"), std::string::npos) << result.err;
  EXPECT_EQ(result.out, "a.img: cached\nw.img: cached\nx.img: cached\n");
}

TEST_F(GlintctlCacheTest, BarsFitTheTerminal) {
  constexpr int kImages = 12, kRows = 6;
  std::vector<std::string> names;
  for (int i = 10; i < 10 + kImages; ++i) names.push_back("i" + std::to_string(i) + ".img");
  std::vector<std::string> arguments = {"cache", "--wait"};
  arguments.insert(arguments.end(), names.begin(), names.end());
  Subprocess ctl(Command(arguments), OnScreen(kRows, 80));
  ASSERT_TRUE(WaitFor([&] { return service_.Queue().size() == kImages; }));
  for (const std::string& name : names) QueueRunning(name, 1 << 20);
  ASSERT_TRUE(WaitFor([&] { return Contains(ctl.ErrorSoFar(), "i13.img  ["); })) << ctl.ErrorSoFar();
  EXPECT_FALSE(Contains(ctl.ErrorSoFar(), "i14.img  [")) << "one more than there is room for";
  ctl.Resize(12, 60);
  EXPECT_TRUE(WaitFor([&] { return Contains(ctl.ErrorSoFar(), "i19.img  "); })) << ctl.ErrorSoFar();
  ctl.Signal(SIGINT);
  const ProcessResult result = ctl.Wait();
  EXPECT_EQ(result.code, 6);
  EXPECT_NE(result.err.find("the daemon goes on caching it. How far it is: glintctl queue"), std::string::npos);
  EXPECT_EQ(service_.Queue().size(), static_cast<size_t>(kImages));
}

TEST_F(GlintctlCacheTest, TenThousandNamesAreFewRequests) {
  constexpr int kImages = 10'000;
  {
    std::ofstream file(dir_ / "names");
    for (int i = 0; i < kImages; ++i) file << "i" << i << '\n';
  }
  Subprocess ctl(Command({"cache", "--wait", "-F", dir_ / "names"}), {});
  ASSERT_TRUE(WaitFor([&] { return Contains(ctl.ErrorSoFar(), "0 of 10000 images"); })) << ctl.ErrorSoFar();
  const int before = service_.looks();
  ASSERT_TRUE(WaitFor([&] { return service_.looks() > before + 6; }));
  for (int i = 0; i < kImages; ++i) service_.AddImage(MakeImage("i" + std::to_string(i), 1000, ImageState::kComplete, 1000));
  service_.ClearQueue();
  const ProcessResult result = ctl.Wait();
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_NE(result.err.find("10000 images: 10000 cached; "), std::string::npos) << result.err;
  EXPECT_LT(service_.looks(), 1000);
}

TEST_F(GlintctlCacheTest, AnInterruptWhileAskingSaysSo) {
  service_.CloseGate();
  Subprocess ctl(Command({"cache", "--wait", "a.img", "b.img"}), {});
  ASSERT_TRUE(WaitFor([&] { return service_.waiting_at_gate() == 1; }));
  ctl.Signal(SIGINT);
  const ProcessResult result = ctl.Wait();
  EXPECT_EQ(result.code, 6);
  EXPECT_NE(result.err.find("interrupted while asking; what was asked for so far goes on"), std::string::npos) << result.err;
}

TEST_F(GlintctlCacheTest, WhatIsAskedForByAnotherNameIsFoundUnderItsOwn) {
  // The fake has no aliases: it answers for one with an image of another name, as the daemon does.
  ImageStatus image = MakeImage("own", 4 << 20, ImageState::kAbsent, 0);
  service_.AddAlias("by-name/x", image);
  Subprocess ctl(Command({"cache", "--wait", "by-name/x"}), {});
  ASSERT_TRUE(WaitFor([&] { return service_.Queue().size() == 1; }));
  QueueEntry entry;
  entry.name = "own";
  service_.AddQueued(entry);
  service_.RemoveQueued("by-name/x");
  const int looks = service_.looks();
  ASSERT_TRUE(WaitFor([&] { return service_.looks() > looks + 20; }));  // longer than what is gone is waited for
  EXPECT_FALSE(Contains(ctl.ErrorSoFar(), "not cached")) << ctl.ErrorSoFar();
  Finish("own");
  EXPECT_EQ(ctl.Wait().code, 0);
}

}  // namespace
}  // namespace glintfs::testing
