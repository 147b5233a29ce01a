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
    WriteFile(dir_ / "bin/ninja", "#!/bin/sh\necho \"$@\" > " + dir_ / "ninja" + "\n");
    fs::permissions(dir_ / "bin/ninja", fs::perms(0755));
  }
  void TearDown() override {
    while (!MountType(dir_ / "mnt").empty() && ::umount2((dir_ / "mnt").c_str(), MNT_DETACH) == 0) {
    }
    EXPECT_TRUE(WaitFor([&] { return ProcessesWith(dir_.path()).empty(); })) << "the daemon outlives its mount";
  }
  CommandResult Run(const std::string& source) { return RunCommand({script(), source, dir_ / "mnt"}, Environment()); }
  std::string script() const { return dir_ / "top/scripts/quickstart"; }
  ProcessOptions Environment() const {
    const char* path = std::getenv("PATH");
    return {.environment = {"PATH=" + dir_ / "bin" + ":" + (path != nullptr ? path : "/usr/bin:/bin")}};
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

TEST_F(Quickstart, WrongArgumentsGetTheUsage) {
  const std::string usage = "scripts/quickstart SOURCE MOUNTPOINT";
  for (const char* help : {"-h", "--help"}) {
    const CommandResult result = RunCommand({script(), help}, Environment());
    EXPECT_EQ(result.status, 0);
    EXPECT_THAT(result.out, HasSubstr(usage));
    EXPECT_EQ(result.err, "");
  }
  for (const std::vector<std::string>& args : std::vector<std::vector<std::string>>{{"one"}, {"1", "2", "3"}, {"--none"}, {"--build-only", "x"}}) {
    std::vector<std::string> argv = {script()};
    argv.insert(argv.end(), args.begin(), args.end());
    const CommandResult result = RunCommand(argv, Environment());
    EXPECT_EQ(result.status, 2) << args[0];
    EXPECT_THAT(result.err, HasSubstr(usage));
    EXPECT_EQ(result.out, "");
  }
}

TEST_F(Quickstart, ATerminalSeesHowFarTheBuildIs) {
  ASSERT_TRUE(RunCommand({script(), "--build-only"}, Environment()).ok());
  EXPECT_THAT(ReadFile(dir_ / "ninja"), HasSubstr("--quiet"));
  const CommandResult result = RunCommand({"script", "-qec", script() + " --build-only", "/dev/null"}, Environment());
  ASSERT_TRUE(result.ok()) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("minutes"));
  EXPECT_THAT(ReadFile(dir_ / "ninja"), Not(HasSubstr("--quiet")));
}

TEST_F(Quickstart, ReadsNoMoreThanTheBeginningOfSomebodysImage) {
  Put("disk.raw", 3'000'000, 1);
  ASSERT_EQ(MountGlintfs(source()).status, 0);
  std::filesystem::remove(dir_ / "top/build/glintctl");  // the mount has no control socket
  std::filesystem::create_symlink("/bin/true", dir_ / "top/build/glintctl");
  const CommandResult result = Run(source());
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("\n1048576 bytes"));
}

}  // namespace
}  // namespace glintfs::testing
