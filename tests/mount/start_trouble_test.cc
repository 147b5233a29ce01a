// A start under bad conditions: what the daemon says of itself when the store is down at the mount, and what a refused start
// leaves behind.
#include <gmock/gmock.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/mount/harness.h"
#include "tests/support/nginx.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class StartTrouble : public MountTest {
 protected:
  std::string Metrics(const GlintfsMount& mount) {
    return RunCommand({"curl", "-sSf", "--unix-socket", mount.socket(), "http://localhost/metrics"}).out;
  }
  // From the first question on: nothing is waited for.
  void ExpectDegraded(const GlintfsMount& mount) {
    const nlohmann::json status = mount.Get("/v1/status");
    EXPECT_EQ(status["source_reachable"], false);
    EXPECT_EQ(status["health"], "degraded");
    ASSERT_EQ(status["problems"].size(), 1u) << status["problems"];
    EXPECT_THAT(status["problems"][0].get<std::string>(), AllOf(HasSubstr("source: "), HasSubstr(" (for ")));
    EXPECT_THAT(mount.Ctl({"status"}).out, AllOf(HasSubstr("(not reachable)"), HasSubstr("degraded")));
    EXPECT_THAT(Metrics(mount), HasSubstr("\nglintfs_source_up 0\n"));
  }
  void ExpectWellSoon(const GlintfsMount& mount) {
    EXPECT_TRUE(WaitFor([&] { return mount.Get("/v1/status")["health"] == "ok"; })) << "nobody looks anything up";
    EXPECT_EQ(mount.Get("/v1/status")["problems"].size(), 0u);
    EXPECT_THAT(Metrics(mount), HasSubstr("\nglintfs_source_up 1\n"));
    EXPECT_TRUE(WaitFor([&] { return mount.LogText().find("answers again") != std::string::npos; }));
  }
};

TEST_F(StartTrouble, AStoreThatRefusesIsToldAtOnceAndSoIsItsReturn) {
  const std::string content = Put("disk.raw", 100'000, 1);
  auto nginx = Nginx::Start(source_.path());
  nginx->Stop();
  GlintfsMount mount(nginx->url());
  mount.Start();
  ExpectDegraded(mount);
  nginx->Restart();
  ExpectWellSoon(mount);
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == content);
}

TEST_F(StartTrouble, AStoreThatHangsIsToldAtOnceAndSoIsItsReturn) {
  const std::string content = Put("disk.raw", 100'000, 1);
  auto nginx = Nginx::Start(source_.path());
  nginx->Freeze();
  GlintfsMount mount(nginx->url());
  mount.Start();
  ExpectDegraded(mount);
  EXPECT_TRUE(WaitFor([&] { return mount.LogText().find("serving what is cached") != std::string::npos; }));
  nginx->Thaw();
  ExpectWellSoon(mount);
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == content);
}

// ---- What a refused start leaves behind.

class RefusedStart : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    std::filesystem::create_directory(dir_ / "mnt");
  }
  void TearDown() override { ::umount2((dir_ / "mnt").c_str(), MNT_DETACH); }
  int Mount(const std::string& source, const std::string& cache, const std::string& log, bool foreground = false) {
    std::vector<std::string> argv = {GlintfsBinary(), source, dir_ / "mnt", "-o",
                                     "control=none,cache=" + cache + ",log=" + log};
    if (foreground) argv.push_back("-f");
    return RunCommand(argv).status;
  }

  TempDir dir_;
};

TEST_F(RefusedStart, LeavesNoCacheDirectoryThatItMade) {
  const std::string missing = "dir://" + dir_ / "none";
  EXPECT_NE(Mount(missing, dir_ / "a/b/cache", dir_ / "log"), 0);
  EXPECT_FALSE(std::filesystem::exists(dir_ / "a"));
  EXPECT_NE(Mount(missing, dir_ / "a/b/cache", dir_ / "log", true), 0);
  EXPECT_FALSE(std::filesystem::exists(dir_ / "a"));
  EXPECT_NE(Mount("gopher://host/", dir_ / "a/b/cache", dir_ / "log"), 0);
  EXPECT_FALSE(std::filesystem::exists(dir_ / "a"));
}

TEST_F(RefusedStart, LeavesWhatWasThereOrIsNotEmpty) {
  const std::string missing = "dir://" + dir_ / "none";
  std::filesystem::create_directory(dir_ / "a");
  EXPECT_NE(Mount(missing, dir_ / "a/cache", dir_ / "log"), 0);
  EXPECT_TRUE(std::filesystem::exists(dir_ / "a"));
  EXPECT_FALSE(std::filesystem::exists(dir_ / "a/cache"));
  std::filesystem::create_directory(dir_ / "a/cache");
  EXPECT_NE(Mount(missing, dir_ / "a/cache", dir_ / "log"), 0);
  EXPECT_TRUE(std::filesystem::exists(dir_ / "a/cache"));
  EXPECT_NE(Mount(missing, dir_ / "b", dir_ / "b/log"), 0);
  EXPECT_TRUE(std::filesystem::exists(dir_ / "b/log"));
}

TEST_F(RefusedStart, AndTheNextOneMountsWithAPrivateCacheDirectory) {
  const std::string content = Put("disk.raw", 100'000, 1);
  EXPECT_NE(Mount("dir://" + dir_ / "none", dir_ / "a/cache/", dir_ / "log"), 0);
  ASSERT_EQ(Mount(source(), dir_ / "a/cache/", dir_ / "log"), 0);
  EXPECT_TRUE(ReadFile(dir_ / "mnt/disk.raw") == content);
  struct stat info;
  ASSERT_EQ(::stat((dir_ / "a/cache").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700u);
  ASSERT_EQ(::stat((dir_ / "a").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0755u);
  EXPECT_TRUE(RunCommand({"umount", dir_ / "mnt"}).ok());
  EXPECT_TRUE(WaitFor([&] { return ProcessesWith(dir_.path()).empty(); }));
  EXPECT_TRUE(std::filesystem::exists(dir_ / "a/cache"));
}

}  // namespace
}  // namespace glintfs::testing
