// Starting: daemonising, every refusal with its exit code and its one line, fstab's way, an ordinary user.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/mount/harness.h"
#include "tests/support/nginx.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

using ::testing::HasSubstr;

class Startup : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    std::filesystem::create_directory(dir_ / "mnt");
  }
  // Runs glintfs in the background, as a script would, with -o `options` added.
  CommandResult Mount(const std::string& source, const std::string& options = "", std::string mountpoint = "") {
    if (mountpoint.empty()) mountpoint = dir_ / "mnt";
    return RunCommand({GlintfsBinary(), source, mountpoint, "-o",
                       "cache=" + dir_ / "cache" + ",control=" + dir_ / "s.sock" + ",log=" + dir_ / "log" +
                           (options.empty() ? "" : "," + options)});
  }
  // Exit code `status` and exactly one line, which has `words`.
  void ExpectRefused(const CommandResult& result, int status, const std::string& words) {
    EXPECT_EQ(result.status, status);
    EXPECT_THAT(result.err, ::testing::StartsWith("glintfs: "));
    EXPECT_THAT(result.err, HasSubstr(words));
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_EQ(MountType(dir_ / "mnt"), "");
    EXPECT_TRUE(ProcessesWith(dir_.path()).empty()) << "a daemon stays behind";
  }
  void TearDown() override {
    ::umount2((dir_ / "mnt").c_str(), MNT_DETACH);
    EXPECT_TRUE(WaitFor([&] { return ProcessesWith(dir_.path()).empty(); })) << "the daemon outlives its mount";
  }

  TempDir dir_;
};

TEST_F(Startup, DaemonisesOnlyAfterTheMountAnswers) {
  const std::string content = Put("disk.raw", 100'000, 1);
  const CommandResult result = Mount(source());
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err, "");
  EXPECT_TRUE(ReadFile(dir_ / "mnt/disk.raw") == content);
  EXPECT_THAT(MountType(dir_ / "mnt"), ::testing::StartsWith("fuse"));
  const auto daemons = ProcessesWith(dir_.path());
  ASSERT_EQ(daemons.size(), 1u);
  EXPECT_EQ(::getsid(daemons[0]), daemons[0]) << "a session of its own, without a terminal";
  ASSERT_EQ(::umount2((dir_ / "mnt").c_str(), 0), 0);
}

TEST_F(Startup, CacheDirectoryIsMadePrivate) {
  ASSERT_EQ(Mount(source()).status, 0);
  struct stat info;
  ASSERT_EQ(::stat((dir_ / "cache").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700u);
}

TEST_F(Startup, RefusesUnknownScheme) {
  const CommandResult result = Mount("gopher://host/");
  ExpectRefused(result, 2, "gopher");
  EXPECT_THAT(result.err, HasSubstr("dir"));
  EXPECT_THAT(result.err, HasSubstr("http"));
}

TEST_F(Startup, RefusesUnknownOption) { ExpectRefused(Mount(source(), "max_sice=1G"), 2, "did you mean max_size?"); }

TEST_F(Startup, RefusesBadSize) { ExpectRefused(Mount(source(), "max_size=10Q"), 2, "max_size: '10Q' is not a size"); }

TEST_F(Startup, RefusesCredentialsInTheSource) {
  const CommandResult result = Mount("http://user:hunter2@127.0.0.1:1/");
  ExpectRefused(result, 2, "user_file");
  EXPECT_THAT(result.err, ::testing::Not(HasSubstr("hunter2")));
}

TEST_F(Startup, RefusesMissingMountPoint) {
  ExpectRefused(Mount(source(), "", dir_ / "none"), 1, "mount point " + dir_ / "none" + " does not exist");
}

TEST_F(Startup, RefusesMountPointThatIsNoDirectory) {
  WriteFile(dir_ / "file", "x");
  ExpectRefused(Mount(source(), "", dir_ / "file"), 1, "is no directory");
}

TEST_F(Startup, RefusesNonEmptyMountPointUnlessTold) {
  WriteFile(dir_ / "mnt/file", "x");
  ExpectRefused(Mount(source()), 1, "or -o nonempty");
  EXPECT_EQ(Mount(source(), "nonempty").status, 0);
}

TEST_F(Startup, RefusesCacheDirectoryOfAnotherDaemon) {
  GlintfsMount other(source());
  other.Start();
  ExpectRefused(Mount(source(), "cache=" + other.cache()), 1, other.cache());
}

TEST_F(Startup, RefusesCacheInsideTheMount) {
  ExpectRefused(Mount(source(), "cache=" + dir_ / "mnt/cache"), 1, "is inside the mount point");
}

TEST_F(Startup, RefusesCacheInsideTheSource) {
  ExpectRefused(Mount(source(), "cache=" + source_ / "cache"), 1, "is inside the source");
}

TEST_F(Startup, RefusesCacheDirectoryThatCannotBeWritten) {
  // Root writes everywhere but on a read-only file system.
  std::filesystem::create_directory(dir_ / "ro");
  ASSERT_EQ(::mount("tmpfs", (dir_ / "ro").c_str(), "tmpfs", MS_RDONLY, nullptr), 0);
  ExpectRefused(Mount(source(), "cache=" + dir_ / "ro"), 1, "cache directory " + dir_ / "ro" + " is not writable");
  ::umount((dir_ / "ro").c_str());
}

TEST_F(Startup, RefusesASourceThatAnswersNoSuchThing) {
  ExpectRefused(Mount("dir://" + dir_ / "none"), 1, "no such thing");
  auto nginx = Nginx::Start(source_.path());
  ExpectRefused(Mount(nginx->url() + "none/"), 1, "no such thing");
}

TEST_F(Startup, MountsASourceThatIsGoneWhenImagesOfItAreCached) {
  const std::string content = Put("disk.raw", 100'000, 1);
  ASSERT_EQ(Mount(source()).status, 0);
  EXPECT_TRUE(ReadFile(dir_ / "mnt/disk.raw") == content);
  ASSERT_EQ(::umount2((dir_ / "mnt").c_str(), 0), 0);
  ASSERT_TRUE(WaitFor([&] { return ProcessesWith(dir_.path()).empty(); }));
  ExpectRefused(Mount("dir://" + dir_ / "none"), 1, "no such thing");  // this cache has none of its images

  std::filesystem::rename(source_.path(), source_.path() + ".away");
  const CommandResult result = Mount(source());
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("serving what is cached"));
  EXPECT_EQ(Names(dir_ / "mnt"), (std::vector<std::string>{"disk.raw"}));
  EXPECT_TRUE(ReadFile(dir_ / "mnt/disk.raw") == content);
  std::filesystem::rename(source_.path() + ".away", source_.path());
}

TEST_F(Startup, MountsAnUnreachableSourceAndSaysSo) {
  auto nginx = Nginx::Start(source_.path());
  nginx->Stop();
  const CommandResult result = Mount(nginx->url());
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("serving what is cached"));
  EXPECT_THAT(MountType(dir_ / "mnt"), ::testing::StartsWith("fuse"));
}

TEST_F(Startup, RefusesAMountPointThatIsAGlintfsAlready) {
  GlintfsMount other(source());
  other.Start();
  ExpectRefused(Mount(source(), "nonempty", other.mountpoint()), 1, "already has a glintfs mounted");
}

TEST_F(Startup, TextsNeedNoMount) {
  EXPECT_THAT(RunCommand({GlintfsBinary(), "--help"}).out, HasSubstr("max_size="));
  EXPECT_THAT(RunCommand({GlintfsBinary(), "--version"}).out, ::testing::StartsWith("glintfs "));
  EXPECT_THAT(RunCommand({GlintfsBinary(), "--man"}).out, ::testing::StartsWith(".TH GLINTFS 8"));
  const CommandResult dump = RunCommand({GlintfsBinary(), source(), "/mnt", "-o", "max_size=1Gi", "--dump-config"});
  EXPECT_THAT(dump.out, HasSubstr("max_size = \"1Gi\""));
}

TEST_F(Startup, AsFstabMounts) {
  const std::string content = Put("disk.raw", 100'000, 2);
  // "-t fuse PROGRAM#SOURCE" is "-t fuse.glintfs SOURCE" for a program that is not installed in mount.fuse3's PATH.
  const CommandResult result = RunCommand(
      {"mount", "-t", "fuse", GlintfsBinary() + "#" + source(), dir_ / "mnt", "-o",
       "ro,_netdev,noatime,cache=" + dir_ / "cache" + ",control=none,log=" + dir_ / "log" + ",max_size=1Gi"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(ReadFile(dir_ / "mnt/disk.raw") == content);
  EXPECT_TRUE(RunCommand({"umount", dir_ / "mnt"}).ok());
}

// An ordinary user with a home directory.
class StartupAsUser : public Startup {
 protected:
  void SetUp() override {
    Startup::SetUp();
    if (IsSkipped()) return;
    Put("disk.raw", "content");
    std::filesystem::permissions(source_.path(), std::filesystem::perms(0755));
    for (const char* name : {"mnt", "cache"}) {
      std::filesystem::create_directory(home_ / name);
      ASSERT_EQ(::chown((home_ / name).c_str(), kNobody, kNobody), 0);
    }
    ASSERT_EQ(::chown(home_.path().c_str(), kNobody, kNobody), 0);
    ASSERT_EQ(::stat("/dev/fuse", &fuse_), 0);
    if ((fuse_.st_mode & 0006) != 0006) {  // udev makes it so everywhere
      ASSERT_EQ(::chmod("/dev/fuse", 0666), 0);
    }
  }
  void TearDown() override {
    if (!IsSkipped()) {
      EXPECT_TRUE(RunCommand({"fusermount3", "-u", home_ / "mnt"}, User()).ok());
      EXPECT_TRUE(WaitFor([&] { return ProcessesWith(home_.path()).empty(); })) << "the daemon outlives its mount";
      ::umount2((home_ / "mnt").c_str(), MNT_DETACH);
      if ((fuse_.st_mode & 0006) != 0006) ::chmod("/dev/fuse", fuse_.st_mode & 07777);
    }
    Startup::TearDown();
  }
  ProcessOptions User() const {
    return {.environment = {"HOME=" + home_.path(), "XDG_CACHE_HOME=", "XDG_RUNTIME_DIR=" + runtime_,
                            "GLINTFS_RUNTIME_DIR=" + home_ / "none"},
            .user = kNobody};
  }
  CommandResult MountAsUser() {
    return RunCommand({GlintfsBinary(), source(), home_ / "mnt", "-o", "cache=" + home_ / "cache,log=" + home_ / "log"}, User());
  }

  static constexpr uid_t kNobody = 65534;
  TempDir home_;
  std::string runtime_ = home_.path();
  struct stat fuse_ {};
};

TEST_F(StartupAsUser, AnOrdinaryUserMountsAndUnmounts) {
  const CommandResult mounted = MountAsUser();
  EXPECT_EQ(mounted.status, 0) << mounted.err;
  EXPECT_EQ(RunCommand({"cat", home_ / "mnt/disk.raw"}, User()).out, "content");
  EXPECT_THAT(ReadFile(home_ / "log"), ::testing::HasSubstr("passthrough off"));
  EXPECT_FALSE(RunCommand({"cat", home_ / "mnt/disk.raw"}).ok()) << "root is another user, and allow_other is off";
}

TEST_F(StartupAsUser, WithoutARuntimeDirectoryTheControlSocketIsInTheHomeDirectory) {
  runtime_.clear();
  const CommandResult mounted = MountAsUser();
  EXPECT_EQ(mounted.status, 0);
  EXPECT_EQ(mounted.err, "");
  const CommandResult status = RunCommand({GlintctlBinary(), "status"}, User());
  EXPECT_TRUE(status.ok()) << status.err;
  EXPECT_THAT(status.out, HasSubstr(home_ / "mnt"));
  struct stat info;
  ASSERT_EQ(::stat((home_ / ".cache/glintfs/control").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700u) << "the group of the user may be that of all users";
}

TEST_F(StartupAsUser, WithoutAControlSocketItMountsAndSaysSo) {
  runtime_.clear();
  WriteFile(home_ / ".cache", "no directory");
  const CommandResult mounted = MountAsUser();
  EXPECT_EQ(mounted.status, 0);
  for (const std::string& text : {mounted.err, ReadFile(home_ / "log")}) {
    EXPECT_THAT(text, HasSubstr("no control socket"));
    EXPECT_THAT(text, HasSubstr("-o control=PATH"));
  }
  EXPECT_EQ(std::count(mounted.err.begin(), mounted.err.end(), '\n'), 1) << mounted.err;
  EXPECT_EQ(RunCommand({"cat", home_ / "mnt/disk.raw"}, User()).out, "content");
}

TEST_F(Startup, WarningsShowAtTheTerminalToo) {
  WriteFile(dir_ / "token", "0123456789abcdef0123456789abcdef\n");
  std::filesystem::permissions(dir_ / "token", std::filesystem::perms(0644));
  Put("disk.raw", "content");
  auto nginx = Nginx::Start(source_.path());
  const CommandResult result = Mount(nginx->url(), "token_file=" + dir_ / "token");
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.err, "glintfs: token_file=" + dir_ / "token" + " can be read by every user of this machine: chmod 600 it\n");
  EXPECT_THAT(ReadFile(dir_ / "log"), HasSubstr("can be read by every user"));
}

}  // namespace
}  // namespace glintfs::testing
