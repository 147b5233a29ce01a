// How a mount ends, and what SIGHUP changes.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/mount.h>

#include <filesystem>
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
