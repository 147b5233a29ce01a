// The parts of glintctl that are text in, text out.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "control/ctl/exit_code.h"
#include "control/ctl/find_socket.h"
#include "control/ctl/progress.h"
#include "control/ctl/render.h"
#include "control/ctl/table.h"
#include "control/ctl/wait.h"
#include "control/unix_listener.h"
#include "tests/support/temp_dir.h"

namespace glintfs::testing {
namespace {

using namespace glintfs::ctl;
using nlohmann::json;
using std::chrono::seconds;

TEST(TableTest, AlignsByCodePoints) {
  Table table({{"NAME"}, {"SIZE", Table::Align::kRight}, {""}});
  table.Add({"\xc3\xa9", "1", "x"});
  table.Add({"longer", "12345", ""});
  EXPECT_EQ(table.Render(),
            "NAME     SIZE\n"
            "\xc3\xa9           1  x\n"
            "longer  12345\n");
}

TEST(TableTest, ShortensNamesToFit) {
  EXPECT_EQ(ShortenedInTheMiddle("short", 10), "short");
  EXPECT_EQ(ShortenedInTheMiddle("abcdefghijklmnopqrstuvwxyz", 12), "abc...uvwxyz");
  EXPECT_EQ(ShortenedInTheMiddle("\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9", 6), "\xc3\xa9...\xc3\xa9\xc3\xa9");
  Table table({{"NAME"}, {"SIZE", Table::Align::kRight}});
  table.Add({"abcdefghijklmnopqrstuvwxyz", "12345"});
  table.FitInto(25);
  EXPECT_EQ(table.Render(),
            "NAME                 SIZE\n"
            "abcde...qrstuvwxyz  12345\n");
  table.FitInto(5);
  EXPECT_NE(table.Render().find("..."), std::string::npos) << "something is left of it";
}

TEST(RenderTest, OfOneThereIsOne) {
  const std::string text = StatusText(json::parse(R"({"uptime_seconds": 0.1, "in_flight": {"fetches_running": 1, "reads_parked": 1},
      "counters": {"read_hits": 1, "read_misses": 1, "fetch_errors": 1, "bad_chunks": 1}, "source_requests": {"retries": 1}})"));
  for (const char* wrong : {"1 fetches", "1 reads", "1 hits", "1 misses", "1 errors", "1 bad chunks", "1 retries", "0ms"})
    EXPECT_EQ(text.find(wrong), std::string::npos) << wrong << "\n" << text;
  EXPECT_NE(text.find("up <1s"), std::string::npos) << text;
  const json queue = json::parse(R"({"queue": [{"name": "a", "added": 99.5, "next_try": 100.5, "attempts": 1, "error": "down"}]})");
  const std::string queued = QueueText(queue, seconds(100));
  EXPECT_NE(queued.find("again in <1s"), std::string::npos) << queued;
  EXPECT_EQ(queued.find("0ms"), std::string::npos) << queued;
}

TEST(TableTest, NamesDoNotSteerTheTerminal) {
  EXPECT_EQ(Printable("a\033[2Jb\n\x7f\xc2\x9b\xc3\xa9"), "a?[2Jb???\xc3\xa9");
}

TEST(RateMeterTest, LooksAtTheLastSeconds) {
  RateMeter meter;
  EXPECT_EQ(meter.BytesPerSecond(), 0);
  meter.Add(seconds(0), 0);
  EXPECT_EQ(meter.BytesPerSecond(), 0);
  meter.Add(seconds(1), 100);
  EXPECT_EQ(meter.BytesPerSecond(), 100);
  for (int i = 2; i <= 20; ++i) meter.Add(seconds(i), 100 + 10u * static_cast<unsigned>(i - 1));
  EXPECT_EQ(meter.BytesPerSecond(), 10);  // the fast start is forgotten
}

TEST(RateMeterTest, StartsOverWhenTheImageWasEvicted) {
  RateMeter meter;
  meter.Add(seconds(0), 1000);
  meter.Add(seconds(1), 2000);
  meter.Add(seconds(2), 0);
  EXPECT_EQ(meter.BytesPerSecond(), 0);
  meter.Add(seconds(3), 50);
  EXPECT_EQ(meter.BytesPerSecond(), 50);
}

TEST(ProgressTest, Text) {
  EXPECT_EQ(ProgressText({"a", "", 512 << 20, 1 << 30, 64 << 20}), " 50%  512 MiB of 1.00 GiB  64.0 MiB/s  9s left");
  EXPECT_EQ(ProgressText({"a", "queued", 0, 0, 0}), "queued");
  EXPECT_EQ(ProgressText({"a", "", 0, 0, 0}), "starting");
  EXPECT_EQ(ProgressText({"a", "", 1024, 1024, 5}), "100%  1.00 KiB of 1.00 KiB");
  EXPECT_EQ(ProgressText({"a", "queued", 512, 1024, 5}), " 50%  512 B of 1.00 KiB  queued");
}

TEST(ProgressTest, OfSizesThatAreNotKnownYet) {
  EXPECT_EQ(ProgressText({"a", "", 512 << 20, 1 << 30, 64 << 20, "", true}), "512 MiB of at least 1.00 GiB  64.0 MiB/s  9s left or more");
  EXPECT_EQ(ProgressText({"a", "", 1 << 30, 1 << 30, 64 << 20, "", true}), "1.00 GiB of at least 1.00 GiB  64.0 MiB/s  1s left or more");
}

TEST(ProgressTest, TheBarFitsEveryWidth) {
  const Progress progress{"a/quite/long/path/to/an/image-with-a-long-name.qcow2", "", 300 << 20, 1 << 30, 64 << 20};
  for (size_t width = 1; width < 200; ++width) EXPECT_LE(DisplayWidth(ProgressBar(progress, width)), width) << width;
  EXPECT_NE(ProgressBar(progress, 100).find("[==="), std::string::npos);
  EXPECT_NE(ProgressBar(progress, 100).find("...h/to/an/"), 0u);
  EXPECT_EQ(ProgressBar({"a", "", 0, 1024, 0}, 60).find("a  [>"), 0u);
}

TEST(JudgeWaitTest, States) {
  const json queued = {{"name", "a"}};
  auto image = [](const char* state, bool filling) { return json{{"state", state}, {"filling", filling}}; };
  EXPECT_EQ(JudgeWait(queued, nullptr), WaitState::kGoesOn);
  EXPECT_EQ(JudgeWait(queued, image("partial", false)), WaitState::kGoesOn);
  EXPECT_EQ(JudgeWait(queued, image("complete", true)), WaitState::kCached);
  EXPECT_EQ(JudgeWait(nullptr, image("verified", false)), WaitState::kCached);
  EXPECT_EQ(JudgeWait(nullptr, image("partial", true)), WaitState::kGoesOn);
  EXPECT_EQ(JudgeWait(nullptr, image("partial", false)), WaitState::kGone);
  EXPECT_EQ(JudgeWait(queued, image("invalid", false)), WaitState::kInvalid);
  EXPECT_EQ(JudgeWait(nullptr, nullptr), WaitState::kGone);
  json checked = image("complete", false);
  checked["checksum"] = nullptr;
  checked["checksum_asked"] = false;
  EXPECT_EQ(JudgeWait(nullptr, checked), WaitState::kVerifying);
  checked["checksum_asked"] = true;
  EXPECT_EQ(JudgeWait(nullptr, checked), WaitState::kCached) << "it has none, or it cannot be asked for";
  checked["checksum"] = {{"algorithm", "sha256"}, {"value", "abcd"}};
  EXPECT_EQ(JudgeWait(queued, checked), WaitState::kVerifying);
  json superseded = image("invalid", false);
  superseded["error"] = "superseded: the source has another version, or none";
  EXPECT_EQ(JudgeWait(queued, superseded), WaitState::kGoesOn);
  EXPECT_EQ(JudgeWait(nullptr, superseded), WaitState::kGone);
}

TEST(ExitCodeTest, EveryCodeIsDocumentedInOrder) {
  int next = 0;
  for (const ExitCodeText& exit : ExitCodes()) {
    EXPECT_EQ(exit.code, next++);
    EXPECT_FALSE(exit.meaning.empty());
  }
  EXPECT_EQ(ExitCodeFor(202), kExitOk);
  EXPECT_EQ(ExitCodeFor(404), kExitNotFound);
  EXPECT_EQ(ExitCodeFor(409), kExitBusy);
  EXPECT_EQ(ExitCodeFor(403), kExitDenied);
  EXPECT_EQ(ExitCodeFor(500), kExitFailed);
}

// An older or newer daemon may leave out or change anything.
TEST(RenderTest, SurvivesWhateverTheDaemonSays) {
  for (const json& odd : {json::object(), json::parse(R"({"images": [{}], "queue": [{}], "use": 5, "limits": null})"),
                          json::parse(R"({"images": [{"name": 1, "size": "x", "last_access": "y", "checksum": 3}]})"),
                          json::parse(R"({"images": 3, "queue": "x", "problems": [1]})")}) {
    EXPECT_FALSE(StatusText(odd).empty());
    EXPECT_FALSE(ImagesText(odd, seconds(0)).empty());
    EXPECT_FALSE(ImageText(odd, seconds(0)).empty());
    EXPECT_FALSE(QueueText(odd, seconds(0)).empty());
    EXPECT_FALSE(RemovedText(odd, false).empty());
  }
}

TEST(RenderTest, ImagesAsATable) {
  const json images = json::parse(R"({"images": [
    {"name": "a.img", "state": "partial", "size": 1048576, "cached_bytes": 524288, "disk_bytes": 4096, "hits": 3,
     "last_access": 940, "pinned": true, "open_count": 1, "filling": true, "fill_rate": 2097152.0},
    {"name": "b.img", "state": "verified", "size": 0, "cached_bytes": 0, "disk_bytes": 0, "hits": 0, "last_access": null}]})");
  EXPECT_EQ(ImagesText(images, seconds(1000)),
            "NAME   STATE         SIZE  CACHED   ON DISK  HITS  LAST READ\n"
            "a.img  partial   1.00 MiB     50%  4.00 KiB     3     1m ago  pinned,open,filling at 2.00 MiB/s\n"
            "b.img  verified       0 B    100%       0 B     0      never\n");
}

TEST(FindSocketTest, NoneOneSeveral) {
  TempDir dir;
  const std::vector<std::string> directories = {dir / "system", dir / "user"};
  EXPECT_EQ(FindSocket(directories).error().code, Errc::kUnavailable);
  EXPECT_NE(FindSocket(directories).error().message.find(dir / "system"), std::string::npos);

  auto one = UnixListener::Listen(dir / "user/one.sock", std::nullopt);
  auto other_suffix = UnixListener::Listen(dir / "user/other.socket", std::nullopt);
  std::ofstream(dir / "user/file.sock") << "";
  ASSERT_TRUE(one);
  ASSERT_TRUE(FindSocket(directories));
  EXPECT_EQ(*FindSocket(directories), dir / "user/one.sock");

  auto two = UnixListener::Listen(dir / "system/two.sock", std::nullopt);
  ASSERT_TRUE(two);
  const auto several = FindSocket(directories);
  ASSERT_FALSE(several);
  EXPECT_EQ(several.error().code, Errc::kInvalid);
  EXPECT_NE(several.error().message.find(dir / "user/one.sock"), std::string::npos);
  EXPECT_NE(several.error().message.find(dir / "system/two.sock"), std::string::npos);

  one->TakeDescriptor();  // it dies and leaves its socket
  ASSERT_TRUE(FindSocket(directories));
  EXPECT_EQ(*FindSocket(directories), dir / "system/two.sock");
}

}  // namespace
}  // namespace glintfs::testing
