// The parts of glintctl that choose names and shape what top shows: values in, values out.
#include <gtest/gtest.h>

#include "control/ctl/names.h"
#include "control/ctl/terminal.h"
#include "control/ctl/top_text.h"

namespace glintfs::testing {
namespace {

using namespace glintfs::ctl;
using nlohmann::json;
using Names = std::vector<std::string>;

TEST(GlobTest, StarsStayWithinAPart) {
  EXPECT_TRUE(Glob("*.img").Matches("a.img"));
  EXPECT_FALSE(Glob("*.img").Matches("dir/a.img"));
  EXPECT_TRUE(Glob("*/a?.img").Matches("dir/ab.img"));
  EXPECT_TRUE(Glob("dir/[ab].img").Matches("dir/b.img"));
  EXPECT_TRUE(Glob("*").Matches(".hidden"));
  EXPECT_FALSE(Glob("").Matches("a"));
}

TEST(GlobTest, TwoStarsAreAnyNumberOfParts) {
  for (const char* name : {"a.img", "x/a.img", "x/y/z/a.img"}) EXPECT_TRUE(Glob("**/a.img").Matches(name)) << name;
  EXPECT_TRUE(Glob("dir/**").Matches("dir/x/y"));
  EXPECT_FALSE(Glob("dir/**").Matches("dir"));
  EXPECT_FALSE(Glob("dir/**").Matches("other/dir/x"));
  EXPECT_TRUE(Glob("a/**/z").Matches("a/z"));
  EXPECT_TRUE(Glob("**").Matches("x/y"));
}

TEST(GlobTest, ManyStarsCostNothing) {
  std::string pattern = "x", name = "y";
  for (int i = 0; i < 200; ++i) pattern += "/**/a", name += "/a";
  EXPECT_FALSE(Glob(pattern).Matches(name));
}

TEST(GlobTest, KnowsWhereToLook) {
  EXPECT_FALSE(Glob("*.img").CanMatchBelow("dir"));
  EXPECT_TRUE(Glob("*.img").CanMatchBelow(""));
  EXPECT_TRUE(Glob("dir/*/x").CanMatchBelow("dir"));
  EXPECT_TRUE(Glob("dir/*/x").CanMatchBelow("dir/y"));
  EXPECT_FALSE(Glob("dir/*/x").CanMatchBelow("other"));
  EXPECT_FALSE(Glob("dir/*/x").CanMatchBelow("dir/y/z"));
  EXPECT_TRUE(Glob("**/x").CanMatchBelow("a/b/c"));
}

TEST(NamesTest, OfAFile) {
  EXPECT_EQ(ParseNames("a\n\n# no\n b \r\nc"), (Names{"a", " b", "c"}));
  EXPECT_EQ(ParseNames(""), Names{});
}

TEST(NamesTest, Nearest) {
  const Names known = {"debian-12.qcow2", "debian-11.qcow2", "dir/ubuntu.img", "z"};
  EXPECT_EQ(NearestNames("debian-12.qcow", known, 1), Names{"debian-12.qcow2"});
  EXPECT_EQ(NearestNames("ubuntu.img", known, 3), Names{"dir/ubuntu.img"});
  EXPECT_EQ(NearestNames("entirely-else", known, 3), Names{});
  EXPECT_EQ(NearestNames("stauts", Names{"status", "queue"}, 1), Names{"status"});
}

TEST(NamesTest, ThatShareTheirLastPart) {
  const Names known = {"one/deb", "two/deb", "by-name/deb~1234", "two/debian", "deb"};
  EXPECT_EQ(NamesEndingIn("deb", known), (Names{"one/deb", "two/deb", "by-name/deb~1234"}));
}

TEST(TerminalTest, CutsByColumnsAndKeepsColours) {
  EXPECT_EQ(CutToWidth("\xc3\xa9\xc3\xa9\xc3\xa9", 2), "\xc3\xa9\xc3\xa9");
  EXPECT_EQ(CutToWidth("\033[31mabc\033[0m", 2), "\033[31mab\033[0m");
  EXPECT_EQ(CutToWidth("\033", 2), "\033");
  EXPECT_EQ(Colored("x", Color::kRed, false), "x");
}

Sample MakeSample(int seconds, double hits, double misses, double bytes) {
  Sample sample;
  sample.time = std::chrono::seconds(seconds);
  sample.status = {{"counters", {{"read_hits", hits}, {"read_misses", misses}, {"bytes_read", bytes}, {"bytes_fetched", {{"demand", bytes / 2}}}}},
                   {"source_requests", {{"requests", hits}, {"operations", {{"fetch", {{"requests", 10 * seconds}, {"seconds", 1.0 * seconds}}}}}}}};
  return sample;
}

TEST(TopTest, RatesAreOfTheInterval) {
  const Sample before = MakeSample(10, 100, 100, 1000), now = MakeSample(12, 190, 110, 5000);
  const TopRates rates = RatesBetween(&before, now);
  EXPECT_DOUBLE_EQ(rates.read, 2000);
  EXPECT_DOUBLE_EQ(rates.fetched, 1000);
  EXPECT_DOUBLE_EQ(*rates.hit_ratio, 0.9);
  EXPECT_DOUBLE_EQ(*rates.hit_ratio_overall, 190.0 / 300);
  EXPECT_DOUBLE_EQ(*rates.first_byte_seconds, 0.1);
}

TEST(TopTest, ARestartedDaemonCountsFromZero) {
  const Sample before = MakeSample(10, 100, 100, 1000), now = MakeSample(11, 5, 5, 500);
  EXPECT_DOUBLE_EQ(RatesBetween(&before, now).read, 500);
  EXPECT_FALSE(RatesBetween(nullptr, MakeSample(1, 0, 0, 0)).hit_ratio_overall);
}

TEST(TopTest, NamesDoNotSteerTheTerminal) {
  Sample now = MakeSample(1, 0, 0, 0);
  now.activity = {{"fills", {{{"name", "a\033[2J"}, {"size", 10}, {"cached_bytes", 5}}}}};
  now.queue = {{"queue", {{{"name", "q\nx"}, {"running", true}}}}};
  const std::string text = TopText(now, {}, 0, false);
  EXPECT_EQ(text.find('\033'), std::string::npos) << text;
  EXPECT_NE(text.find("now q?x\n"), std::string::npos) << text;
}

}  // namespace
}  // namespace glintfs::testing
