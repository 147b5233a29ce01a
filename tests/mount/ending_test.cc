// How a mount ends, and what SIGHUP changes.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <thread>

#include "fs/base/unique_fd.h"
#include "tests/mount/harness.h"
#include "tests/support/nginx.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

using ::testing::HasSubstr;

class Ending : public MountTest {
 protected:
  // After a clean end: no mount, nothing in the cache to repair, a cached image still whole without the source.
  void ExpectEndedCleanly(GlintfsMount& mount) {
    EXPECT_EQ(MountType(mount.mountpoint()), "");
    EXPECT_FALSE(std::filesystem::exists(mount.socket()));
    EXPECT_THAT(mount.LogText(), HasSubstr("ended"));
  }
};

class EndingBySignal : public Ending, public ::testing::WithParamInterface<int> {};

TEST_P(EndingBySignal, IsClean) {
  const std::string content = Put("disk.raw", 3'000'000, 1);
  GlintfsMount mount(source());
  mount.Start();
  ReadFile(mount / "disk.raw");
  EXPECT_EQ(mount.Stop(GetParam()), 0);
  ExpectEndedCleanly(mount);
  mount.Start();
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == content);
}
INSTANTIATE_TEST_SUITE_P(Signals, EndingBySignal, ::testing::Values(SIGTERM, SIGINT));

TEST_F(Ending, ByUmount) {
  Put("disk.raw", 3'000'000, 1);
  GlintfsMount mount(source());
  mount.Start();
  ReadFile(mount / "disk.raw");
  ASSERT_EQ(::umount2(mount.mountpoint().c_str(), 0), 0);
  EXPECT_EQ(mount.process().Wait(), 0);
  ExpectEndedCleanly(mount);
}

TEST_F(Ending, WithAFileOpenEndsToo) {
  Put("disk.raw", 3'000'000, 1);
  GlintfsMount mount(source());
  mount.Start();
  UniqueFd fd(::open((mount / "disk.raw").c_str(), O_RDONLY));
  ReadAt(fd.get(), 0, 1000);
  EXPECT_EQ(mount.Stop(SIGTERM), 0);
  EXPECT_EQ(MountType(mount.mountpoint()), "");
}

TEST_F(Ending, SigtermEndsWithADeadStore) {
  Put("disk.raw", 30'000'000, 1);
  auto nginx = Nginx::Start(source_.path());
  GlintfsMount mount(nginx->url());
  mount.Start();
  nginx->Freeze();
  std::thread reader([&] { ReadErrno(mount / "disk.raw", 20'000'000); });  // waits for a store that never answers
  ASSERT_TRUE(WaitFor([&] { return !ProcessesWith(mount.mountpoint()).empty(); }));
  EXPECT_EQ(mount.Stop(SIGTERM), 0);
  reader.join();
  EXPECT_EQ(MountType(mount.mountpoint()), "");
}

TEST_F(Ending, ASecondSigtermEndsAtOnce) {
  Put("disk.raw", 30'000'000, 1);
  auto nginx = Nginx::Start(source_.path());
  GlintfsMount mount(nginx->url());
  mount.Start();
  ReadAt(mount / "disk.raw", 0, 1000);
  nginx->Freeze();
  std::thread reader([&] { ReadErrno(mount / "disk.raw", 20'000'000); });
  mount.process().Signal(SIGTERM);
  mount.process().Signal(SIGTERM);
  const auto status = mount.process().Wait();
  EXPECT_TRUE(status == 0 || status == 3) << status.value_or(-1);
  reader.join();
  EXPECT_EQ(MountType(mount.mountpoint()), "");
}

// Another daemon comes to the path of one that lives on, since a container has a copy of its mount.
class EndingBeside : public Ending, public ::testing::WithParamInterface<bool> {
 protected:
  bool as_user() const { return GetParam(); }
  ProcessOptions Who() const { return as_user() ? ProcessOptions{.user = 65534} : ProcessOptions{}; }

  void SetUp() override {
    Ending::SetUp();
    if (IsSkipped()) return;
    for (const char* name : {"mnt", "other", "a", "b"}) std::filesystem::create_directory(dir_ / name);
    if (!as_user()) return;
    struct stat fuse;
    ASSERT_EQ(::stat("/dev/fuse", &fuse), 0);
    if ((fuse.st_mode & 0006) != 0006) GTEST_SKIP() << "/dev/fuse is not for users here";
    std::filesystem::permissions(source_.path(), std::filesystem::perms(0755));
    for (const char* name : {"", "mnt", "other", "a", "b"}) ASSERT_EQ(::chown((dir_ / name).c_str(), 65534, 65534), 0);
  }
  void TearDown() override {
    for (const char* place : {"mnt", "other"})
      while (!MountType(dir_ / place).empty() && ::umount2((dir_ / place).c_str(), MNT_DETACH) == 0) {
      }
  }
  // A daemon with its cache, socket and log in directory `name`.
  std::unique_ptr<Process> Start(const std::string& name, const std::string& mountpoint, const std::string& image) {
    std::filesystem::create_directory(source_ / name);
    Put(name + "/" + image, image);
    const std::string own = dir_ / name;
    const std::vector<std::string> argv = {GlintfsBinary(), source() + "/" + name, mountpoint, "-f", "-o",
                                           "cache=" + own + "/cache,control=" + own + "/s.sock,log=" + own + "/log,allow_other=no"};
    auto daemon = std::make_unique<Process>(argv, Who());
    EXPECT_TRUE(WaitFor([&] { return !daemon->Running() || Cat(mountpoint + "/" + image) == image; })) << ReadFile(own + "/log");
    return daemon;
  }
  std::string Cat(const std::string& path) const { return RunCommand({"cat", path}, Who()).out; }
  CommandResult Ctl(const std::string& name, const std::string& command) const {
    return RunCommand({GlintctlBinary(), "-s", dir_ / name + "/s.sock", command}, Who());
  }
  // A process with a copy of all mounts.
  std::unique_ptr<Process> Hold() {
    auto holder = std::make_unique<Process>(
        std::vector<std::string>{"unshare", "-m", "--propagation", "private", "sh", "-c", "touch " + dir_ / "held" + "; exec sleep 1000"});
    EXPECT_TRUE(WaitFor([&] { return std::filesystem::exists(dir_ / "held"); }));
    return holder;
  }
  void Umount() {
    const CommandResult result = as_user() ? RunCommand({"fusermount3", "-u", dir_ / "mnt"}, Who()) : RunCommand({"umount", dir_ / "mnt"});
    EXPECT_TRUE(result.ok()) << result.err;
  }

  TempDir dir_;
};

TEST_P(EndingBeside, LeavesTheMountOfAnotherDaemonAlone) {
  auto first = Start("a", dir_ / "mnt", "first");
  auto holder = Hold();
  Umount();
  EXPECT_THAT(Ctl("a", "status").out, HasSubstr("no longer mounted at " + dir_ / "mnt"));
  auto second = Start("b", dir_ / "mnt", "second");
  ASSERT_TRUE(first->Running());
  EXPECT_THAT(Ctl("a", "status").out, HasSubstr("something else is mounted at " + dir_ / "mnt"));
  const CommandResult doctor = Ctl("a", "doctor");
  EXPECT_THAT(doctor.out, HasSubstr("the mount is no longer at " + dir_ / "mnt"));
  if (!as_user()) {  // who may not look into the holder is told what root can do
    EXPECT_THAT(doctor.out, HasSubstr("process " + std::to_string(holder->pid())));
  }
  EXPECT_THAT(Ctl("b", "doctor").out, ::testing::Not(HasSubstr("no longer")));

  first->Signal(SIGTERM);
  EXPECT_EQ(first->Wait(), 0);
  EXPECT_EQ(Cat(dir_ / "mnt/second"), "second");
  EXPECT_THAT(ReadFile(dir_ / "a/log"), HasSubstr("something else is mounted at " + dir_ / "mnt"));
  second->Signal(SIGTERM);
  EXPECT_EQ(second->Wait(), 0);
  EXPECT_EQ(MountType(dir_ / "mnt"), "");
}

TEST_P(EndingBeside, ASecondSignalLeavesItAloneToo) {
  auto first = Start("a", dir_ / "mnt", "first");
  auto holder = Hold();
  Umount();
  auto second = Start("b", dir_ / "mnt", "second");
  for (int i = 0; i < 2; ++i) first->Signal(SIGTERM);
  EXPECT_TRUE(first->Wait().has_value());
  EXPECT_EQ(Cat(dir_ / "mnt/second"), "second");
  second->Signal(SIGTERM);
  EXPECT_EQ(second->Wait(), 0);
}

TEST_P(EndingBeside, LeavesTheMountThatLiesOverItsOwnAlone) {
  auto first = Start("a", dir_ / "mnt", "first");
  auto second = Start("b", dir_ / "other", "second");
  ASSERT_EQ(::mount((dir_ / "other").c_str(), (dir_ / "mnt").c_str(), nullptr, MS_BIND, nullptr), 0);
  first->Signal(SIGTERM);
  EXPECT_EQ(first->Wait(), 0);
  EXPECT_EQ(Cat(dir_ / "mnt/second"), "second");
  second->Signal(SIGKILL);
  second->Wait();
  // Both are dead now, one over the other. Who starts next takes them away.
  if (as_user()) {
    ASSERT_EQ(::umount2((dir_ / "mnt").c_str(), MNT_DETACH), 0) << "a bind mount is root's";
  }
  auto third = Start("a", dir_ / "mnt", "third");
  third->Signal(SIGTERM);
  EXPECT_EQ(third->Wait(), 0);
  EXPECT_EQ(MountType(dir_ / "mnt"), "");
}
INSTANTIATE_TEST_SUITE_P(Users, EndingBeside, ::testing::Bool(), [](const auto& user) { return user.param ? "Ordinary" : "Root"; });

TEST_F(Ending, SighupOpensTheLogAgain) {
  GlintfsMount mount(source());
  mount.Start();
  std::filesystem::rename(mount.log(), mount.log() + ".1");
  mount.process().Signal(SIGHUP);
  EXPECT_TRUE(WaitFor([&] { return mount.LogText().find("SIGHUP") != std::string::npos; }));
}

TEST_F(Ending, SighupRereadsWhatCanChange) {
  GlintfsMount mount(source(), "");
  WriteFile(mount.config(), "max_size = '1Gi'\nfill_rate = '1M'\nfill = 'full'\nnegative_ttl = '7s'\n");
  mount.Start();
  EXPECT_EQ(mount.Get("/v1/status")["limits"]["max_size"], 1ull << 30);
  WriteFile(mount.config(), "max_size = '2Gi'\nfill_rate = '5M'\nfill = 'demand'\nnegative_ttl = '7s'\n");
  mount.process().Signal(SIGHUP);
  EXPECT_TRUE(WaitFor([&] { return mount.Get("/v1/status")["limits"]["max_size"] == 2ull << 30; }));
  EXPECT_TRUE(WaitFor([&] { return mount.LogText().find("SIGHUP: fill_rate 1M → 5M") != std::string::npos; }));
  EXPECT_TRUE(WaitFor([&] { return mount.LogText().find("SIGHUP: max_size 1Gi → 2Gi") != std::string::npos; }));
  EXPECT_TRUE(WaitFor([&] { return mount.LogText().find("fill is now demand in the settings, but changes with the next mount only") != std::string::npos; }));
  EXPECT_EQ(mount.Get("/v1/status")["fill"], "full");
}

TEST_F(Ending, SighupWithABadFileChangesNothing) {
  GlintfsMount mount(source());
  WriteFile(mount.config(), "max_size = '1Gi'\n");
  mount.Start();
  WriteFile(mount.config(), "max_size = '2Q'\n");
  mount.process().Signal(SIGHUP);
  EXPECT_TRUE(WaitFor([&] { return mount.LogText().find("SIGHUP: nothing changed: ") != std::string::npos; }));
  EXPECT_EQ(mount.Get("/v1/status")["limits"]["max_size"], 1ull << 30);
}

}  // namespace
}  // namespace glintfs::testing
