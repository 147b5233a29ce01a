// scripts/quickstart SOURCE MOUNTPOINT, against mount points in every state. It runs in a copy of its directory beside links to
// the binaries under test, with a ninja that has nothing to do.
#include <gmock/gmock.h>
#include <sys/mount.h>

#include <cstdlib>
#include <filesystem>

#include "tests/mount/harness.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class Quickstart : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    namespace fs = std::filesystem;
    for (const char* name : {"top/scripts", "top/build", "bin", "mnt", "cache"}) fs::create_directories(dir_ / name);
    for (const char* name : {"quickstart", "packages"})
      fs::copy_file(std::string(GLINTFS_SCRIPTS) + "/" + name, dir_ / (std::string("top/scripts/") + name));
    fs::create_symlink(GlintfsBinary(), dir_ / "top/build/glintfs");
    fs::create_symlink(GlintctlBinary(), dir_ / "top/build/glintctl");
    WriteFile(dir_ / "top/build/build.ninja", "");
    fs::create_symlink("/bin/true", dir_ / "bin/ninja");
  }
  void TearDown() override {
    while (!MountType(dir_ / "mnt").empty() && ::umount2((dir_ / "mnt").c_str(), MNT_DETACH) == 0) {
    }
    EXPECT_TRUE(WaitFor([&] { return ProcessesWith(dir_.path()).empty(); })) << "the daemon outlives its mount";
  }
  CommandResult Run(const std::string& source) {
    const char* path = std::getenv("PATH");
    return RunCommand({dir_ / "top/scripts/quickstart", source, dir_ / "mnt"},
                      {.environment = {"PATH=" + dir_ / "bin" + ":" + (path != nullptr ? path : "/usr/bin:/bin")}});
  }
  // Mounts another way than the script would, with a cache of the test's own.
  CommandResult MountGlintfs(const std::string& source) {
    return RunCommand({GlintfsBinary(), source, dir_ / "mnt", "-o",
                       "cache=" + dir_ / "cache" + ",control=none,log=" + dir_ / "log"});
  }

  TempDir dir_;
};

TEST_F(Quickstart, SaysWhatElseIsMountedThere) {
  ASSERT_EQ(::mount("somebodys", (dir_ / "mnt").c_str(), "tmpfs", 0, "size=1m"), 0);
  const CommandResult result = Run(source());
  EXPECT_NE(result.status, 0);
  EXPECT_THAT(result.err, AllOf(HasSubstr("quickstart: " + dir_ / "mnt" + " is taken: somebodys (tmpfs)"), HasSubstr("umount")));
  EXPECT_THAT(result.out, Not(HasSubstr("already mounted")));
  EXPECT_EQ(MountType(dir_ / "mnt"), "tmpfs");
}

TEST_F(Quickstart, SaysWhichOtherSourceIsMountedThere) {
  TempDir other;
  ASSERT_EQ(MountGlintfs("dir://" + other.path()).status, 0);
  const CommandResult result = Run(source());
  EXPECT_NE(result.status, 0);
  EXPECT_THAT(result.err, HasSubstr("is taken: dir://" + other.path()));
}

TEST_F(Quickstart, GoesOnWithItsOwnMount) {
  Put("disk.raw", 100'000, 1);
  ASSERT_EQ(MountGlintfs(source()).status, 0);
  for (const std::string& spelling : {source(), source() + "/"}) {
    const CommandResult result = Run(spelling);
    EXPECT_THAT(result.out, HasSubstr("already mounted")) << result.err;
    EXPECT_THAT(result.err, Not(HasSubstr("is taken")));
  }
}

}  // namespace
}  // namespace glintfs::testing
