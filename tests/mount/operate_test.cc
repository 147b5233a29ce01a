// What operators do to a mount through its control API: scrubs of files with flipped bits, settings, events, metrics.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <thread>

#include "fs/base/unique_fd.h"
#include "tests/mount/harness.h"
#include "tests/support/nginx.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr size_t kChunk = 256 * 1024;

// Without zeros, so that every chunk is on disk.
std::string Dense(size_t size, unsigned seed) {
  std::string text(size, '\0');
  uint64_t state = seed * 2654435761u + 1;
  for (char& c : text) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    c = static_cast<char>(state >> 33 | 1);
  }
  return text;
}

class Operate : public MountTest {
 protected:
  // The body of the answer, and its status.
  static std::pair<int, json> Ask(const GlintfsMount& mount, const std::string& verb, const std::string& path,
                                  const std::string& body = "") {
    std::vector<std::string> command = {"curl", "-sS", "--unix-socket", mount.socket(), "-X", verb, "-w", "\n%{http_code}"};
    if (!body.empty()) command.insert(command.end(), {"-d", body});
    command.push_back("http://localhost" + path);
    const CommandResult result = RunCommand(command);
    if (!result.ok()) throw std::runtime_error(verb + " " + path + ": " + result.err);
    const size_t line = result.out.rfind('\n');
    return {std::stoi(result.out.substr(line + 1)), json::parse(result.out.substr(0, line), nullptr, false)};
  }
  static json ScrubOf(const GlintfsMount& mount, const std::string& name) { return mount.Get("/v1/images/" + name)["scrub"]; }
  static bool WaitForScrub(const GlintfsMount& mount, const std::string& name, const std::string& state) {
    return WaitFor([&] {
      const auto [status, image] = Ask(mount, "GET", "/v1/images/" + name);
      return status == 200 && image["scrub"]["state"] == state;
    }, std::chrono::seconds(60));
  }
  static std::string DataFile(const GlintfsMount& mount) {  // of the only image
    for (const auto& entry : std::filesystem::recursive_directory_iterator(mount.cache() + "/data"))
      if (entry.is_regular_file()) return entry.path();
    return "";
  }
  static void FlipByte(const GlintfsMount& mount, uint64_t offset) {
    const UniqueFd fd(::open(DataFile(mount).c_str(), O_RDWR | O_CLOEXEC));
    char byte = 0;
    ASSERT_EQ(::pread(fd.get(), &byte, 1, static_cast<off_t>(offset)), 1);
    byte = static_cast<char>(byte ^ 0x10);
    ASSERT_EQ(::pwrite(fd.get(), &byte, 1, static_cast<off_t>(offset)), 1);
  }
  static std::string OnDisk(const GlintfsMount& mount) { return ReadFile(DataFile(mount)); }
  static std::vector<std::string> Events(const GlintfsMount& mount) {  // "filled a.img"
    std::vector<std::string> events;
    const json page = mount.Get("/v1/events");
    for (const auto& event : page["events"])
      events.push_back(event["event"].get<std::string>() + " " + event["name"].get<std::string>());
    return events;
  }
  static bool WaitForEvent(const GlintfsMount& mount, const std::string& event) {
    return WaitFor([&] {
      const auto events = Events(mount);
      return std::find(events.begin(), events.end(), event) != events.end();
    });
  }
  static bool Sealed(const GlintfsMount& mount) {
    return WaitFor([&] { return mount.LogText().find(": complete (") != std::string::npos; });
  }
};

TEST_F(Operate, AScrubRepairsACompleteImageWhoeverHasItOpen) {
  const std::string content = Put("disk.raw", Dense(5'000'000, 1));
  GlintfsMount mount(source(), "passthrough=off");
  mount.Start();
  const UniqueFd open(::open((mount / "disk.raw").c_str(), O_RDONLY | O_CLOEXEC));
  ReadFile(mount / "disk.raw");
  ASSERT_TRUE(mount.WaitForState("disk.raw", "complete"));
  EXPECT_EQ(ScrubOf(mount, "disk.raw")["state"], "never");
  ASSERT_TRUE(Sealed(mount));
  FlipByte(mount, 3 * kChunk + 77);
  FlipByte(mount, 4'999'999);
  EXPECT_EQ(Ask(mount, "POST", "/v1/scrub/disk.raw").first, 202);
  ASSERT_TRUE(WaitForScrub(mount, "disk.raw", "repaired")) << ScrubOf(mount, "disk.raw");
  EXPECT_EQ(ScrubOf(mount, "disk.raw")["bad_chunks"], 2);
  EXPECT_EQ(ScrubOf(mount, "disk.raw")["checked_bytes"], 5'000'000);
  EXPECT_TRUE(OnDisk(mount) == content);
  EXPECT_TRUE(ReadAt(open.get(), 0, content.size()) == content);
  EXPECT_TRUE(WaitForEvent(mount, "repaired disk.raw"));
  EXPECT_EQ(Ask(mount, "POST", "/v1/scrub/none.raw").first, 404);
}

// What the kernel has in memory of a bad chunk goes, for who has it open and for who opens it then.
TEST_F(Operate, AScrubLeavesNoBadPagesInMemory) {
  const std::string content = Put("disk.raw", Dense(5'000'000, 1));
  GlintfsMount mount(source(), "passthrough=off");
  mount.Start();
  const UniqueFd open(::open((mount / "disk.raw").c_str(), O_RDONLY | O_CLOEXEC));
  ReadFile(mount / "disk.raw");
  ASSERT_TRUE(mount.WaitForState("disk.raw", "complete"));
  ASSERT_TRUE(Sealed(mount));
  FlipByte(mount, 3 * kChunk + 77);
  FlipByte(mount, 4'999'999);
  ASSERT_EQ(::posix_fadvise(open.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
  ASSERT_FALSE(ReadAt(open.get(), 0, content.size()) == content) << "bit rot shows, until somebody looks for it";
  EXPECT_EQ(Ask(mount, "POST", "/v1/scrub/disk.raw").first, 202);
  ASSERT_TRUE(WaitForScrub(mount, "disk.raw", "repaired")) << ScrubOf(mount, "disk.raw");
  EXPECT_TRUE(WaitFor([&] { return ReadAt(open.get(), 0, content.size()) == content; }));
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == content);
}

// What is good of it is served while the source is away.
TEST_F(Operate, AScrubOfWhatWasPassedThroughWaitsForTheSource) {
  const std::string content = Put("disk.raw", Dense(5'000'000, 1));
  auto nginx = Nginx::Start(source_.path());
  GlintfsMount mount(nginx->url(), "retries=0,connect_timeout=1s,ask_timeout=1s,fetch_timeout=2s");
  mount.Start();
  if (mount.Get("/v1/status")["passthrough"]["on"] != true) GTEST_SKIP() << "no passthrough here";
  ReadFile(mount / "disk.raw");
  ASSERT_TRUE(mount.WaitForState("disk.raw", "complete"));
  ASSERT_TRUE(WaitFor([&] {
    const UniqueFd open(::open((mount / "disk.raw").c_str(), O_RDONLY | O_CLOEXEC));
    const std::string page = RunCommand({"curl", "-sS", "--unix-socket", mount.socket(), "http://localhost/metrics"}).out;
    return page.find("\nglintfs_passthrough_open_handles 1\n") != std::string::npos;
  }));
  nginx->Stop();
  FlipByte(mount, kChunk + 1);
  ASSERT_EQ(Ask(mount, "POST", "/v1/scrub/disk.raw").first, 202);
  ASSERT_TRUE(WaitForScrub(mount, "disk.raw", "failed"));
  EXPECT_THAT(ScrubOf(mount, "disk.raw")["error"].get<std::string>(), HasSubstr("once the source can give them"));
  EXPECT_TRUE(ReadAt(mount / "disk.raw", 5 * kChunk, kChunk) == content.substr(5 * kChunk, kChunk));
  nginx->Restart();
  ASSERT_TRUE(WaitForScrub(mount, "disk.raw", "repaired"));
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == content);
}

// An image that may be read past the daemon is replaced, not written.
TEST_F(Operate, AScrubReplacesAnImageThatWasPassedThrough) {
  const std::string content = Put("disk.raw", Dense(5'000'000, 1));
  GlintfsMount mount(source());
  mount.Start();
  if (mount.Get("/v1/status")["passthrough"]["on"] != true) GTEST_SKIP() << "no passthrough here";
  ReadFile(mount / "disk.raw");
  ASSERT_TRUE(mount.WaitForState("disk.raw", "complete"));
  UniqueFd open;
  ASSERT_TRUE(WaitFor([&] {
    open.Reset(::open((mount / "disk.raw").c_str(), O_RDONLY | O_CLOEXEC));
    const std::string page = RunCommand({"curl", "-sS", "--unix-socket", mount.socket(), "http://localhost/metrics"}).out;
    return page.find("\nglintfs_passthrough_open_handles 1\n") != std::string::npos;
  }));
  FlipByte(mount, kChunk + 1);
  const std::string rotten = OnDisk(mount);
  ASSERT_EQ(Ask(mount, "POST", "/v1/scrub").first, 202);
  ASSERT_TRUE(WaitForScrub(mount, "disk.raw", "failed"));
  EXPECT_THAT(ScrubOf(mount, "disk.raw")["error"].get<std::string>(), HasSubstr("removed once nobody has"));
  EXPECT_TRUE(OnDisk(mount) == rotten) << "the file was written";
  EXPECT_TRUE(WaitFor([&] { return ReadFile(mount / "disk.raw") == content; })) << "who opens it now gets what the source has";
  open.Reset();
  ASSERT_TRUE(WaitForScrub(mount, "disk.raw", "repaired"));
  EXPECT_TRUE(mount.WaitForState("disk.raw", "complete"));
  EXPECT_TRUE(OnDisk(mount) == content);
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == content);
  EXPECT_TRUE(WaitForEvent(mount, "evicted disk.raw"));
}

TEST_F(Operate, AScrubOfAPartialImageRepairsWhatIsThere) {
  const std::string content = Put("disk.raw", Dense(20'000'000, 1));
  GlintfsMount mount(source(), "fill=demand");
  mount.Start();
  EXPECT_TRUE(ReadAt(mount / "disk.raw", 5 * kChunk, kChunk) == content.substr(5 * kChunk, kChunk));
  ASSERT_TRUE(mount.WaitForState("disk.raw", "partial"));
  const json before = mount.Get("/v1/images/disk.raw");
  ASSERT_TRUE(WaitFor([&] { return OnDisk(mount).substr(5 * kChunk, kChunk) == content.substr(5 * kChunk, kChunk); }));
  FlipByte(mount, 5 * kChunk + 9);
  EXPECT_EQ(Ask(mount, "POST", "/v1/scrub/disk.raw").first, 202);
  ASSERT_TRUE(WaitForScrub(mount, "disk.raw", "repaired")) << ScrubOf(mount, "disk.raw");
  EXPECT_TRUE(OnDisk(mount).substr(5 * kChunk, kChunk) == content.substr(5 * kChunk, kChunk));
  EXPECT_EQ(mount.Get("/v1/images/disk.raw")["chunks_present"], before["chunks_present"]);
}

TEST_F(Operate, AScrubWithoutTheSourceRepairsOnceItIsBack) {
  const std::string content = Put("disk.raw", Dense(5'000'000, 1));
  auto nginx = Nginx::Start(source_.path());
  GlintfsMount mount(nginx->url(), "passthrough=off,retries=0,connect_timeout=1s,ask_timeout=1s,fetch_timeout=2s,negative_ttl=0s");
  mount.Start();
  ReadFile(mount / "disk.raw");
  ASSERT_TRUE(mount.WaitForState("disk.raw", "complete"));
  ASSERT_TRUE(Sealed(mount));
  nginx->Stop();
  FlipByte(mount, 77);
  EXPECT_EQ(Ask(mount, "POST", "/v1/scrub/disk.raw").first, 202);
  ASSERT_TRUE(WaitForScrub(mount, "disk.raw", "failed"));
  EXPECT_THAT(ScrubOf(mount, "disk.raw")["error"].get<std::string>(), HasSubstr("not fetched again yet"));
  EXPECT_EQ(mount.Get("/v1/images/disk.raw")["state"], "partial");
  EXPECT_NE(::access((mount / "another.raw").c_str(), F_OK), 0);  // has the source asked
  EXPECT_TRUE(WaitForEvent(mount, "source-away "));
  nginx->Restart();
  ASSERT_TRUE(WaitForScrub(mount, "disk.raw", "repaired"));
  EXPECT_TRUE(OnDisk(mount) == content);
  EXPECT_TRUE(WaitForEvent(mount, "source-back "));
}

TEST_F(Operate, SettingsChangeUntilSighup) {
  GlintfsMount mount(source());
  WriteFile(mount.config(), "max_size = '1Gi'\n");
  mount.Start();
  const auto [status, answer] = Ask(mount, "PATCH", "/v1/settings", R"({"max_size": "2Gi", "log_level": "debug"})");
  EXPECT_EQ(status, 200);
  EXPECT_EQ(answer["changed"][0]["before"], "1Gi");
  EXPECT_EQ(mount.Get("/v1/status")["limits"]["max_size"], 2ull << 30);
  EXPECT_TRUE(WaitForEvent(mount, "settings "));
  const auto [refused, why] = Ask(mount, "PATCH", "/v1/settings", R"({"fill_rate": "1M", "max_size": 1})");
  EXPECT_EQ(refused, 400);
  EXPECT_THAT(why["error"]["message"].get<std::string>(), HasSubstr("less than 4 chunks"));
  EXPECT_EQ(mount.Get("/v1/status")["limits"]["fill_rate"], 0);
  mount.process().Signal(SIGHUP);
  EXPECT_TRUE(WaitFor([&] { return mount.Get("/v1/status")["limits"]["max_size"] == 1ull << 30; }));
  EXPECT_THAT(mount.LogText(), HasSubstr("SIGHUP: max_size 2Gi → 1Gi"));
}

TEST_F(Operate, ASmallerMaxSizeEvictsAtOnceWhatIsNotOpen) {
  for (const char* name : {"a", "b", "open"}) Put(name, Dense(3'000'000, 1));
  GlintfsMount mount(source());
  mount.Start();
  for (const char* name : {"a", "b", "open"}) {
    ReadFile(mount / name);
    ASSERT_TRUE(mount.WaitForState(name, "complete"));
  }
  UniqueFd open(::open((mount / "open").c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(Ask(mount, "PATCH", "/v1/settings", R"({"max_size": "1Mi"})").first, 200);
  EXPECT_TRUE(WaitFor([&] { return mount.State("a") == "absent" && mount.State("b") == "absent"; }));
  EXPECT_EQ(mount.State("open"), "complete");
  json now = mount.Get("/v1/status");
  EXPECT_EQ(now["health"], "degraded");
  EXPECT_THAT(now["problems"].dump(), HasSubstr("more than max_size"));
  open.Reset();
  EXPECT_TRUE(WaitFor([&] { return mount.Get("/v1/status")["health"] == "ok"; }));
  const std::string page = RunCommand({"curl", "-sS", "--unix-socket", mount.socket(), "http://localhost/metrics"}).out;
  EXPECT_THAT(page, HasSubstr("glintfs_evictions_total{reason=\"limit\"} 3\n"));
}

TEST_F(Operate, TheMetricsOfAMountAreWhatPrometheusWants) {
  Put("disk.raw", Dense(5'000'000, 1));
  GlintfsMount mount(source());
  mount.Start();
  ReadFile(mount / "disk.raw");
  ASSERT_TRUE(mount.WaitForState("disk.raw", "complete"));
  const CommandResult checked = RunCommand(
      {"sh", "-c", "curl -sSf --unix-socket " + mount.socket() + " http://localhost/metrics | promtool check metrics"});
  EXPECT_TRUE(checked.ok()) << checked.out << checked.err;
  EXPECT_EQ(checked.out + checked.err, "");
  const std::string page = RunCommand({"curl", "-sS", "--unix-socket", mount.socket(), "http://localhost/metrics"}).out;
  EXPECT_EQ(page.find("glintfs_read_duration_seconds_count{result=\"miss\"} 0\n"), std::string::npos);
  EXPECT_EQ(page.find("glintfs_read_bytes_total{origin=\"store\"} 0\n"), std::string::npos);
  EXPECT_EQ(page.find("disk.raw"), std::string::npos) << "no metric of a single image";
}

TEST_F(Operate, TheQueueAndTheSourceAnswer) {
  Put("dir/a.raw", Dense(1'000'000, 1));
  GlintfsMount mount(source());
  mount.Start();
  EXPECT_EQ(mount.Get("/v1/source")["entries"][0]["name"], "dir");
  EXPECT_EQ(mount.Get("/v1/source?directory=dir")["entries"][0]["name"], "dir/a.raw");
  EXPECT_EQ(Ask(mount, "GET", "/v1/source?directory=none").first, 404);
  EXPECT_EQ(Ask(mount, "PUT", "/v1/queue/dir%2Fa.raw?now=true").first, 202);
  EXPECT_TRUE(WaitForEvent(mount, "filled dir/a.raw"));
  EXPECT_EQ(Events(mount)[0], "queued dir/a.raw");
  EXPECT_EQ(Ask(mount, "DELETE", "/v1/queue/dir%2Fa.raw").first, 404) << "it is done";
  EXPECT_TRUE(mount.Get("/v1/activity")["fetches"].is_array());
}

}  // namespace
}  // namespace glintfs::testing
