// What the service manager hears of a daemon, and when: here it is the test that listens.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <filesystem>

#include "fs/base/unique_fd.h"
#include "tests/mount/harness.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// Listens at a path, as systemd does.
class Manager {
 public:
  Manager() : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path().copy(address.sun_path, sizeof address.sun_path - 1);
    if (::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("cannot listen at " + path());
  }

  std::string path() const { return dir_ / "notify"; }
  std::vector<std::string> environment() const { return {"NOTIFY_SOCKET=" + path()}; }

  const std::vector<std::string>& Heard() {
    char message[4096];
    for (ssize_t n; (n = ::recv(socket_.get(), message, sizeof message, 0)) >= 0;) heard_.emplace_back(message, n);
    return heard_;
  }
  size_t Count(const std::string& message) {
    return static_cast<size_t>(std::count(Heard().begin(), Heard().end(), message));
  }
  // Waits for a message that holds `part`.
  bool Hears(const std::string& part) {
    return WaitFor([&] {
      return std::any_of(Heard().begin(), Heard().end(), [&](auto& m) { return m.find(part) != std::string::npos; });
    });
  }
  void Forget() {
    Heard();
    heard_.clear();
  }

 private:
  TempDir dir_;
  UniqueFd socket_;
  std::vector<std::string> heard_;
};

class Notify : public MountTest {
 protected:
  Manager manager_;
};

TEST_F(Notify, ReadyOnceTheMountAnswers) {
  Put("disk.raw", "content");
  GlintfsMount mount(source());
  mount.set_environment(manager_.environment());
  mount.Start();
  ASSERT_TRUE(manager_.Hears("READY=1"));
  EXPECT_TRUE(mount.mounted());
  EXPECT_THAT(manager_.Heard().front(), StartsWith("STATUS=starting: dir://"));
  EXPECT_TRUE(manager_.Hears("STATUS=serving " + source()));
  EXPECT_EQ(manager_.Count("STOPPING=1"), 0u);
  EXPECT_EQ(manager_.Count("WATCHDOG=1"), 0u) << "nobody asked for it";
  ASSERT_EQ(mount.Stop(), 0);
  EXPECT_EQ(manager_.Count("STOPPING=1"), 1u);
  EXPECT_THAT(manager_.Heard().back(), StartsWith("STATUS=stopping: "));
}

TEST_F(Notify, NotReadyWithoutAMount) {
  GlintfsMount mount("dir:///no/such/source");
  mount.set_environment(manager_.environment());
  EXPECT_THROW(mount.Start(), std::runtime_error);
  EXPECT_EQ(manager_.Count("READY=1"), 0u);
  EXPECT_FALSE(manager_.Heard().empty());
}

TEST_F(Notify, AReloadIsAnnouncedAndEnds) {
  GlintfsMount mount(source());
  WriteFile(mount.config(), "max_size = '1Gi'\n");
  mount.set_environment(manager_.environment());
  mount.Start();
  ASSERT_TRUE(manager_.Hears("READY=1"));
  manager_.Forget();
  WriteFile(mount.config(), "max_size = '2Gi'\n");
  mount.process().Signal(SIGHUP);
  ASSERT_TRUE(manager_.Hears("READY=1"));
  EXPECT_THAT(manager_.Heard().front(), StartsWith("RELOADING=1\nMONOTONIC_USEC="));
  EXPECT_TRUE(manager_.Hears("of 2Gi"));

  manager_.Forget();
  WriteFile(mount.config(), "max_size = 'much'\n");
  mount.process().Signal(SIGHUP);
  ASSERT_TRUE(manager_.Hears("READY=1"));
  EXPECT_THAT(manager_.Heard(), Contains(HasSubstr("reload refused: " + mount.config() + ": line 1: option max_size")));
  EXPECT_THAT(manager_.Heard(), Contains(HasSubstr("of 2Gi")));
}

TEST_F(Notify, SignsOfLifeWhileItRuns) {
  GlintfsMount mount(source());
  std::vector<std::string> environment = manager_.environment();
  environment.push_back("WATCHDOG_USEC=300000");
  mount.set_environment(environment);
  mount.Start();
  ASSERT_TRUE(WaitFor([&] { return manager_.Count("WATCHDOG=1") >= 3; }));
  mount.process().Signal(SIGSTOP);
  ASSERT_TRUE(WaitFor([&] { return ReadFile("/proc/" + std::to_string(mount.process().pid()) + "/stat").find(") T ") != std::string::npos; }));
  manager_.Forget();
  EXPECT_THAT(manager_.Heard(), ::testing::IsEmpty());
  mount.process().Signal(SIGCONT);
  EXPECT_TRUE(manager_.Hears("WATCHDOG=1"));
}

TEST_F(Notify, AWatchdogOfAnotherProcessIsNotOurs) {
  GlintfsMount mount(source());
  std::vector<std::string> environment = manager_.environment();
  environment.push_back("WATCHDOG_USEC=1000");
  environment.push_back("WATCHDOG_PID=1");
  mount.set_environment(environment);
  mount.Start();
  ASSERT_TRUE(manager_.Hears("READY=1"));
  ASSERT_EQ(mount.Stop(), 0);
  EXPECT_EQ(manager_.Count("WATCHDOG=1"), 0u);
}

TEST_F(Notify, InTheBackgroundNobodyHearsOfIt) {
  GlintfsMount mount(source());
  ASSERT_TRUE(RunCommand(mount.CommandLine(), {.environment = manager_.environment()}).ok());
  EXPECT_TRUE(mount.mounted());
  EXPECT_TRUE(RunCommand({GlintfsBinary(), source(), mount.mountpoint(), "--unmount"}).ok());
  EXPECT_FALSE(mount.mounted());
  EXPECT_TRUE(WaitFor([&] { return ProcessesWith(mount.mountpoint()).empty(); })) << "the daemon outlives its mount";
  EXPECT_THAT(manager_.Heard(), ::testing::IsEmpty());
}

TEST_F(Notify, LinesOfTheJournalCarryTheirPriority) {
  TempDir dir;
  const std::string stream = dir / "stream";
  WriteFile(stream, "");
  struct stat st;
  ASSERT_EQ(::stat(stream.c_str(), &st), 0);
  const auto lines = [&](const std::string& journal) {
    WriteFile(stream, "");
    GlintfsMount mount(source(), "log=stderr");
    std::vector<std::string> argv = mount.CommandLine();
    argv.push_back("-f");
    Process process(argv, {.environment = {"JOURNAL_STREAM=" + journal}, .stderr_path = stream});
    EXPECT_TRUE(WaitFor([&] { return ReadFile(stream).find("passthrough ") != std::string::npos; }));
    process.Signal(SIGTERM);
    EXPECT_EQ(process.Wait(), 0);
    return ReadFile(stream);
  };
  EXPECT_THAT(lines(std::to_string(st.st_dev) + ":" + std::to_string(st.st_ino)), HasSubstr("<6>mounted "));
  EXPECT_THAT(lines("1:1"), Not(HasSubstr("<6>"))) << "standard error is something else than the journal";
}

class Unmount : public MountTest {};

TEST_F(Unmount, DetachesEvenWhenInUse) {
  const std::string content = Put("disk.raw", "content");
  GlintfsMount mount(source());
  mount.Start();
  UniqueFd open(::open((mount / "disk.raw").c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(open.valid());
  EXPECT_TRUE(RunCommand({GlintfsBinary(), source(), mount.mountpoint(), "--unmount"}).ok());
  EXPECT_FALSE(mount.mounted());
  EXPECT_EQ(ReadAt(open.get(), 0, content.size()), content) << "who has it open reads on until the daemon ends";
  EXPECT_EQ(mount.Stop(), 0);
}

TEST_F(Unmount, TakesADeadMountAwayAndLeavesOthersAlone) {
  GlintfsMount mount(source());
  const std::vector<std::string> unmount = {GlintfsBinary(), source(), mount.mountpoint(), "--unmount"};
  EXPECT_TRUE(RunCommand(unmount).ok()) << "nothing is mounted";
  mount.Start();
  mount.Kill();
  EXPECT_TRUE(mount.mounted());
  EXPECT_TRUE(RunCommand(unmount).ok());
  EXPECT_FALSE(mount.mounted());
  GlintfsMount other(source());
  other.Start();
  EXPECT_TRUE(RunCommand({GlintfsBinary(), "dir:///srv", other.mountpoint(), "--unmount"}).ok());
  EXPECT_TRUE(other.mounted()) << "the mount of another source";
  ASSERT_TRUE(RunCommand({"mount", "-t", "tmpfs", "tmpfs", mount.mountpoint()}).ok());
  EXPECT_TRUE(RunCommand(unmount).ok());
  EXPECT_EQ(MountType(mount.mountpoint()), "tmpfs");
  EXPECT_TRUE(RunCommand({"umount", mount.mountpoint()}).ok());
}

}  // namespace
}  // namespace glintfs::testing
