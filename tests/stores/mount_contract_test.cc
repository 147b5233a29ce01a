// The same, through the program: a mount of every store.
#include <gmock/gmock.h>
#include <sys/mount.h>

#include <filesystem>
#include <fstream>

#include "tests/backends/fetching.h"
#include "tests/mount/harness.h"
#include "tests/stores/store.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(MountContractTest);

void MountContractTest::SetUp() {
  if (::access("/dev/fuse", R_OK | W_OK) != 0 || ::geteuid() != 0) GTEST_SKIP() << "needs root and /dev/fuse";
  store_ = &SharedStore(GetParam());
}

namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint64_t kMi = 1 << 20;

bool IsComplete(const std::string& state) { return state == "complete" || state == "verified"; }

std::string Join(const std::vector<std::string>& options) {
  std::string text;
  for (const std::string& option : options) text += "," + option;
  return text;
}

std::string Fresh(const std::vector<std::string>& store_options) {
  return "attr_ttl=0s,negative_ttl=0s,retries=1" + Join(store_options);
}

// A server in Python takes its time on a loaded machine; the short limits are for tests in which it ends or hangs.
constexpr char kPatient[] = ",ask_timeout=60s", kGivingUpSoon[] = ",first_byte_timeout=6s,ask_timeout=12s,fetch_timeout=12s";

class StoreMount : public GlintfsMount {
 public:
  explicit StoreMount(const Store& store, const std::string& limits = kPatient)
      : GlintfsMount(store.source(), Fresh(store.mount_options()) + limits) {
    set_environment(store.environment());
    Start();
  }
};

TEST_P(MountContractTest, FilesAreTheImages) {
  const Content content = Content::Of(PatternBytes(9 * kMi + 77, 21));
  const std::string name = store().Put("mounted", content);
  StoreMount mount(store());
  EXPECT_TRUE(ReadFile(mount / name) == content.Bytes({0, content.size}));
  EXPECT_TRUE(WaitFor([&] { return IsComplete(mount.State(name)); })) << mount.State(name);
  EXPECT_EQ(ReadErrno(mount / "no-such-image", 0), ENOENT);
  EXPECT_EQ(RunCommand({"findmnt", "-no", "SOURCE", mount.mountpoint()}).out, store().source() + "\n") << "as it was given";
}

TEST_P(MountContractTest, WrongCredentialsRefuseTheMount) {
  const auto access = store().WrongCredentials();
  if (!access) GTEST_SKIP() << "the store knows no credentials";
  TempDir dir;
  std::filesystem::create_directory(dir / "mnt");
  const std::string options = "cache=" + (dir / "cache") + ",control=none,log=" + (dir / "log") + ",log_level=debug" +
                              Join(access->mount_options);
  const CommandResult result = RunCommand({GlintfsBinary(), store().source(), dir / "mnt", "-f", "-o", options},
                                          ProcessOptions{.environment = access->environment});
  EXPECT_EQ(result.status, 1) << result.err;
  EXPECT_THAT(result.err, HasSubstr("access denied"));
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_EQ(MountType(dir / "mnt"), "");
  if (!access->secret.empty()) {
    EXPECT_THAT(result.err, Not(HasSubstr(access->secret)));
    EXPECT_THAT(std::filesystem::exists(dir / "log") ? ReadFile(dir / "log") : "", Not(HasSubstr(access->secret)));
  }
}

TEST_P(MountContractTest, SecretsShowNowhere) {
  const Content content = Content::Of(PatternBytes(kMi, 22));
  const std::string name = store().Put("secret", content);
  StoreMount mount(store());
  EXPECT_TRUE(ReadFile(mount / name) == content.Bytes({0, content.size}));
  (void)ReadErrno(mount / "no-such-image", 0);
  std::ifstream file("/proc/" + std::to_string(mount.process().pid()) + "/cmdline", std::ios::binary);
  std::stringstream command;
  command << file.rdbuf();
  std::vector<std::string> dump = mount.CommandLine();
  dump.push_back("--dump-config");
  const CommandResult dumped = RunCommand(dump, ProcessOptions{.environment = store().environment()});
  EXPECT_TRUE(dumped.ok()) << dumped.err;
  const std::string metrics =
      RunCommand({"curl", "-sSf", "--unix-socket", mount.socket(), "http://localhost/metrics"}).out;
  for (const std::string& secret : store().secrets()) {
    for (const std::string& text : {command.str(), dumped.out, mount.LogText(), mount.Ctl({"status"}).out, metrics})
      EXPECT_THAT(text, Not(HasSubstr(secret)));
  }
}

TEST_P(MountContractTest, WhatIsCachedOutlivesTheServerAndTheDaemon) {
  if (!store().traits().breakable) GTEST_SKIP() << "there is no server";
  const Content cached = Content::Of(PatternBytes(5 * kMi, 23)), other = Content::Of(PatternBytes(kMi, 24));
  const std::string name = store().Put("kept", cached), second = store().Put("not-kept", other);
  StoreMount mount(store(), kGivingUpSoon);
  EXPECT_TRUE(ReadFile(mount / name) == cached.Bytes({0, cached.size}));
  ASSERT_TRUE(WaitFor([&] { return IsComplete(mount.State(name)); }));
  store().Stop();
  EXPECT_TRUE(ReadFile(mount / name) == cached.Bytes({0, cached.size}));
  EXPECT_EQ(mount.Stop(), 0);
  mount.Start();
  EXPECT_TRUE(ReadFile(mount / name) == cached.Bytes({0, cached.size})) << "after a restart";
  EXPECT_NE(ReadErrno(mount / second, 0), 0);
  store().Start();
  EXPECT_TRUE(WaitFor([&] { return ReadErrno(mount / second, 0) == 0; }, std::chrono::seconds(60))) << "back by itself";
  EXPECT_TRUE(ReadFile(mount / second) == other.Bytes({0, other.size}));
}

TEST_P(MountContractTest, AHungServerHoldsUpNothingThatIsCached) {
  if (!store().traits().breakable) GTEST_SKIP() << "there is no server";
  const Content cached = Content::Of(PatternBytes(3 * kMi, 25)), other = Content::Of(PatternBytes(3 * kMi, 26));
  const std::string name = store().Put("quick", cached), second = store().Put("stuck", other);
  StoreMount mount(store(), kGivingUpSoon);
  EXPECT_TRUE(ReadFile(mount / name) == cached.Bytes({0, cached.size}));
  ASSERT_TRUE(WaitFor([&] { return IsComplete(mount.State(name)); }));
  store().Freeze();
  EXPECT_TRUE(ReadFile(mount / name) == cached.Bytes({0, cached.size}));
  EXPECT_NE(ReadErrno(mount / second, 0), 0) << "an error after the deadline";
  EXPECT_TRUE(ReadFile(mount / name) == cached.Bytes({0, cached.size}));
  store().Thaw();
  EXPECT_TRUE(WaitFor([&] { return ReadErrno(mount / second, 0) == 0; }, std::chrono::seconds(60)));
  EXPECT_TRUE(ReadFile(mount / second) == other.Bytes({0, other.size}));
}

}  // namespace
}  // namespace glintfs::testing
