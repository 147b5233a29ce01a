// The store is down, or hangs: what is cached is served, and nothing that needs no store waits for it.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/stat.h>

#include <filesystem>
#include <thread>

#include "fs/base/unique_fd.h"
#include "tests/mount/harness.h"
#include "tests/support/nginx.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

using ::testing::Contains;

class Outage : public MountTest {};

TEST_F(Outage, CachedImagesAreServedAcrossARestart) {
  const std::string content = Put("a/disk.raw", 3'000'000, 1);
  Put("other.raw", 1'000'000, 2);
  auto nginx = Nginx::Start(source_.path());
  GlintfsMount mount(nginx->url(), "attr_ttl=1s,connect_timeout=1s,ask_timeout=1s,fetch_timeout=2s,retries=0");
  mount.Start();
  EXPECT_TRUE(ReadFile(mount / "a/disk.raw") == content);
  ASSERT_TRUE(mount.WaitForState("a/disk.raw", "complete"));
  ASSERT_EQ(mount.Stop(), 0);
  nginx->Stop();

  mount.Start();
  EXPECT_TRUE(WaitFor([&] { return mount.LogText().find("serving what is cached") != std::string::npos; }));
  EXPECT_THAT(Names(mount.mountpoint()), Contains("a"));
  EXPECT_THAT(Names(mount / "a"), Contains("disk.raw"));
  EXPECT_TRUE(ReadFile(mount / "a/disk.raw") == content);
  EXPECT_EQ(mount.Get("/v1/status")["source_reachable"], false);

  nginx->Restart();
  struct stat info;
  EXPECT_TRUE(WaitFor([&] { return ::stat((mount / "other.raw").c_str(), &info) == 0; })) << "back by itself";
  EXPECT_TRUE(ReadFile(mount / "other.raw") == Pattern(1'000'000, 2));
}

// The kernel does not come back from calls on a network mount whose server hangs; a mount of ours that is stopped is such a one.
TEST_F(Outage, ADirectoryOnAHungNetworkMountHoldsUpNothing) {
  const std::string cached = Put("cached.raw", 2'000'000, 3), other = Put("other.raw", 2'000'000, 4);
  GlintfsMount network(source(), "attr_ttl=0s");
  network.Start();
  // checksums=no: nothing is asked any more once the image is complete. Who waits for an answer to a question that the server has read
  // already cannot be killed, unlike on a network file system.
  GlintfsMount mount("dir://" + network.mountpoint(), "attr_ttl=0s,ask_timeout=1s,fetch_timeout=1s,retries=0,checksums=no");
  mount.set_environment({"ASAN_OPTIONS=detect_leaks=0"});  // at the end it would stop all threads, and wait for the kernel's
  mount.Start();
  EXPECT_TRUE(ReadFile(mount / "cached.raw") == cached);
  ASSERT_TRUE(mount.WaitForState("cached.raw", "complete"));
  network.process().Signal(SIGSTOP);
  EXPECT_TRUE(ReadFile(mount / "cached.raw") == cached);
  EXPECT_NE(ReadErrno(mount / "other.raw", 0), 0) << "ends with an error, not never";
  EXPECT_EQ(mount.Stop(), 0) << "nor is the end held up";
  mount.Start();
  EXPECT_TRUE(ReadFile(mount / "cached.raw") == cached);
  network.process().Signal(SIGCONT);
  EXPECT_TRUE(WaitFor([&] { return ReadErrno(mount / "other.raw", 0) == 0; }));
  EXPECT_TRUE(ReadFile(mount / "other.raw") == other);
}

// An `rsync --delete` of the mount would take an empty listing at its word.
TEST_F(Outage, ADirectoryThatIsGoneIsNoEmptyDirectory) {
  const std::string content = Put("disk.raw", 2'000'000, 1);
  Put("other.raw", 1000, 2);
  GlintfsMount mount(source(), "attr_ttl=0s");
  mount.Start();
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == content);
  ASSERT_TRUE(mount.WaitForState("disk.raw", "complete"));
  const auto names = Names(mount.mountpoint());
  ASSERT_EQ(names, (std::vector<std::string>{"disk.raw", "other.raw"}));
  std::filesystem::rename(source_.path(), source_.path() + ".away");
  EXPECT_EQ(Names(mount.mountpoint()), names);
  EXPECT_TRUE(WaitFor([&] { return mount.Get("/v1/status")["health"] == "degraded"; }));
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == content);
  EXPECT_EQ(mount.State("disk.raw"), "complete");
  std::filesystem::rename(source_.path() + ".away", source_.path());
  EXPECT_TRUE(WaitFor([&] { return mount.Get("/v1/status")["health"] == "ok"; })) << "back by itself";
}

TEST_F(Outage, CannotAskIsNotDeleted) {
  const std::string content = Put("disk.raw", 2'000'000, 1);
  auto nginx = Nginx::Start(source_.path());
  GlintfsMount mount(nginx->url(), "attr_ttl=1s,connect_timeout=1s,ask_timeout=1s,retries=0,clean_interval=1s");
  mount.Start();
  ReadFile(mount / "disk.raw");
  ASSERT_TRUE(mount.WaitForState("disk.raw", "complete"));
  nginx->Stop();
  ASSERT_TRUE(WaitFor([&] {
    ReadErrno(mount / "disk.raw", 0);
    return mount.Get("/v1/status")["source_reachable"] == false;
  }));
  DropPageCache(mount / "disk.raw");
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == content);
  EXPECT_EQ(mount.State("disk.raw"), "complete");
}

TEST_F(Outage, AMissingByteIsAnErrorAndComesOnceTheStoreIsBack) {
  const std::string content = Put("disk.raw", 30'000'000, 1);
  auto nginx = Nginx::Start(source_.path());
  GlintfsMount mount(nginx->url(), "fill=demand,connect_timeout=1s,fetch_timeout=1s,retries=1");
  mount.Start();
  EXPECT_EQ(ReadAt(mount / "disk.raw", 0, 1000), content.substr(0, 1000));
  nginx->Stop();
  const int error = ReadErrno(mount / "disk.raw", 29'000'000);
  EXPECT_TRUE(error == EHOSTDOWN || error == ETIMEDOUT) << std::strerror(error);
  EXPECT_EQ(ReadAt(mount / "disk.raw", 0, 1000), content.substr(0, 1000));
  nginx->Restart();
  EXPECT_TRUE(WaitFor([&] { return ReadErrno(mount / "disk.raw", 29'000'000) == 0; }));
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == content);
}

TEST_F(Outage, LsStatAndCachedReadsAnswerWhileEveryFetchHangs) {
  const std::string content = Put("cached.raw", 3'000'000, 1);
  Put("cold0", 30'000'000, 9);
  for (int i = 1; i < 40; ++i)
    std::filesystem::create_hard_link(source_ / "cold0", source_ / ("cold" + std::to_string(i)));
  auto nginx = Nginx::Start(source_.path());
  GlintfsMount mount(nginx->url(), "attr_ttl=1s,fetch_timeout=60s,threads=4,fill=demand");
  mount.Start();
  ReadFile(mount / "cached.raw");
  ASSERT_TRUE(mount.WaitForState("cached.raw", "complete"));
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(std::filesystem::exists(mount / ("cold" + std::to_string(i))));
  const std::vector<std::string> names = Names(mount.mountpoint());
  nginx->Freeze();
  // More hanging readers than there are fetch workers, FUSE workers or background requests of the kernel.
  std::vector<std::unique_ptr<Process>> readers;
  for (int i = 0; i < 40; ++i)
    readers.push_back(std::make_unique<Process>(
        std::vector<std::string>{"dd", "if=" + mount / ("cold" + std::to_string(i)), "of=/dev/null", "bs=1M"},
        ProcessOptions{.stderr_path = "/dev/null"}));
  ASSERT_TRUE(WaitFor([&] { return mount.Get("/v1/status")["in_flight"]["reads_parked"] >= 40; }));
  // These come from the kernel's and the daemon's memory once the time-to-live has passed, so ask for a while.
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
  do {
    const CommandResult looked = RunCommand({"ls", "-l", mount.mountpoint()}, {}, std::chrono::seconds(30));
    EXPECT_EQ(looked.status, 0) << looked.err;
    EXPECT_EQ(Names(mount.mountpoint()), names);
    DropPageCache(mount / "cached.raw");
    const CommandResult read = RunCommand({"cat", mount / "cached.raw"}, {}, std::chrono::seconds(30));
    ASSERT_EQ(read.status, 0);
    EXPECT_TRUE(read.out == content);
    EXPECT_TRUE(mount.Ctl({"status"}).ok());
  } while (std::chrono::steady_clock::now() < end);
  for (auto& reader : readers) EXPECT_TRUE(reader->Running());
  for (auto& reader : readers) reader->Signal(SIGKILL);  // a parked read can be interrupted
  for (auto& reader : readers) EXPECT_TRUE(reader->Wait(std::chrono::seconds(30)).has_value());
}

}  // namespace
}  // namespace glintfs::testing
