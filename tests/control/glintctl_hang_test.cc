// glintctl and a daemon that does not answer: a process that listens and was stopped, and one whose source hangs.
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "control/ctl/client.h"
#include "tests/control/ctl_test.h"

namespace glintfs::testing {
namespace {

// Listens at `path` and stops itself, as kill -STOP does. SIGKILL ends a stopped process, too.
class StoppedDaemon {
 public:
  explicit StoppedDaemon(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    pid_ = ::fork();
    if (pid_ == 0) {
      const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
      if (::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(fd, 64) != 0) ::_exit(1);
      ::raise(SIGSTOP);
      ::_exit(0);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(pid_, &status, WUNTRACED), pid_);
    EXPECT_TRUE(WIFSTOPPED(status));
  }
  ~StoppedDaemon() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
};

class GlintctlHangTest : public GlintctlTest {
 protected:
  std::string stopped() const { return dir_ / "stopped.sock"; }
  std::vector<std::string> AskStopped(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {GLINTCTL, "-s", stopped()});
    return arguments;
  }
};

TEST_F(GlintctlHangTest, TheTimeCoversAllThatIsAsked) {
  const StoppedDaemon daemon(stopped());
  for (const std::vector<std::string>& command : std::vector<std::vector<std::string>>{
           {"cache", "--wait", "--timeout", "50ms", "a.img"}, {"cache", "--wait", "--timeout", "50ms", "--match", "b/*"},
           {"verify", "--timeout", "50ms", "b.img"}, {"verify", "--timeout", "50ms", "--all"}}) {
    const ProcessResult result = Execute(AskStopped(command));
    EXPECT_EQ(result.code, 6) << result.err;
    EXPECT_TRUE(Contains(result.err, "within --timeout. Process " + std::to_string(daemon.pid()) + " is stopped")) << result.err;
  }
}

TEST_F(GlintctlHangTest, TheTimeCoversASourceThatHangs) {
  service_.CloseGate();
  EXPECT_EQ(Ctl({"cache", "--wait", "--timeout", "50ms", "--match", "b/*"}).code, 6);
  const ProcessResult result = Ctl({"cache", "--wait", "--timeout", "50ms", "x.img", "y.img"});
  EXPECT_EQ(result.code, 6);
  EXPECT_TRUE(Contains(result.err, "y.img: --timeout passed before it was asked for")) << result.err;
}

TEST_F(GlintctlHangTest, PatienceEndsAndTellsWhichProcess) {
  const StoppedDaemon daemon(stopped());
  ctl::Client client(stopped());
  client.SetPatience(std::chrono::milliseconds(20));
  for (const char* target : {"/v1/images", "/v1/doctor"}) {  // the second may take long, of a daemon that is there
    const auto reply = client.Send("GET", target);
    ASSERT_FALSE(reply) << target;
    EXPECT_EQ(reply.error().code, Errc::kTimedOut) << target;
  }
  const ProcessResult result = Execute(AskStopped({"list"}));
  EXPECT_EQ(result.code, 6);
  EXPECT_TRUE(Contains(result.err, "does not answer. Process " + std::to_string(daemon.pid()) + " is stopped")) << result.err;
}

TEST_F(GlintctlHangTest, WhatWaitsForTheSourceIsWaitedFor) {
  ctl::Client client(path());
  client.SetPatience(std::chrono::milliseconds(500));
  service_.CloseGate();
  bool asked = false;
  client.SetAbort([&] { return asked = service_.waiting_at_gate() == 1; });
  const auto reply = client.Send("GET", "/v1/doctor");
  EXPECT_TRUE(asked);
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Errc::kCancelled);
}

TEST_F(GlintctlHangTest, CtrlCEndsItWithWordsAndCode) {
  const StoppedDaemon daemon(stopped());
  struct Row {
    std::vector<std::string> command;
    int code;
    std::string words;
  };
  for (const Row& row : std::vector<Row>{{{"cache", "--wait", "a.img"}, 6, "interrupted while asking"},
                                         {{"cache", "--background", "a.img"}, 6, "interrupted while asking"},
                                         {{"verify", "a.img"}, 6, "interrupted while asking"},
                                         {{"list"}, 6, "interrupted before the daemon answered"},
                                         {{"events"}, 0, ""}}) {
    Subprocess ctl(AskStopped(row.command), {});
    ASSERT_TRUE(WaitFor([&] { return ctl.Catches(SIGINT); }));
    ctl.Signal(SIGINT);
    const ProcessResult result = ctl.Wait();
    EXPECT_EQ(result.code, row.code) << row.command[0];
    EXPECT_TRUE(Contains(result.err, row.words)) << row.command[0] << result.err;
  }
}

TEST_F(GlintctlHangTest, TopSaysSoAndHearsTheKeys) {
  const StoppedDaemon daemon(stopped());
  for (const bool key : {true, false}) {
    Subprocess ctl(AskStopped({"top"}), OnScreen());
    ASSERT_TRUE(WaitFor([&] { return Contains(ctl.ErrorSoFar(), "The daemon does not answer"); })) << ctl.ErrorSoFar();
    if (key) ctl.Type("q"); else ctl.Signal(SIGINT);
    EXPECT_EQ(ctl.Wait().code, 0);
    EXPECT_TRUE(ctl.IsPlainTerminal());
  }
}

}  // namespace
}  // namespace glintfs::testing
