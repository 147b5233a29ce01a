// Who may use the socket.
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/control/control_test.h"

namespace glintfs::testing {
namespace {

TEST(PeerAuthorizerTest, RootAndOwnUserMay) {
  const PeerAuthorizer authorizer(1000, 2000, false);
  EXPECT_TRUE(authorizer.Permits({0, 0, {}}));
  EXPECT_TRUE(authorizer.Permits({1000, 1, {}}));
  EXPECT_FALSE(authorizer.Permits({1001, 1000, {1000}}));
}

TEST(PeerAuthorizerTest, TheGroupMayWhenTheModeGrantsIt) {
  EXPECT_TRUE(PeerAuthorizer(1000, 2000, true).Permits({5, 2000, {}}));
  EXPECT_TRUE(PeerAuthorizer(1000, 2000, true).Permits({5, 6, {7, 2000}}));
  EXPECT_FALSE(PeerAuthorizer(1000, 2000, true).Permits({5, 6, {7}}));
  EXPECT_FALSE(PeerAuthorizer(1000, 2000, false).Permits({5, 2000, {2000}}));
}

class PeerTest : public ControlTest {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root, to connect as other users";
    auto started = ControlServer::Start({dir_ / "control.sock", gid_t{4242}, {}}, service_);
    ASSERT_TRUE(started) << started.error().message;
    server_ = std::move(started).value();
    ASSERT_EQ(::chmod(dir_.path().c_str(), 0755), 0);
  }

  // The status of PUT /v2/cache/a by a child with these credentials; 1: it could not connect. The child makes system
  // calls only, since other threads run.
  int StatusAs(uid_t uid, gid_t gid, const std::vector<gid_t>& groups) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::copy_n(path().c_str(), path().size() + 1, address.sun_path);
    const std::string request = RequestText("PUT", "/v2/cache/a");
    const pid_t child = ::fork();
    if (child == 0) {
      if (::setgroups(groups.size(), groups.data()) != 0 || ::setresgid(gid, gid, gid) != 0 ||
          ::setresuid(uid, uid, uid) != 0) {
        ::_exit(2);
      }
      const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
      if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) ::_exit(1);
      char answer[13] = "";
      if (::write(fd, request.data(), request.size()) < 0) ::_exit(3);
      for (size_t got = 0; got < 12;) {
        const ssize_t n = ::read(fd, answer + got, 12 - got);
        if (n <= 0) ::_exit(4);
        got += static_cast<size_t>(n);
      }
      ::_exit((answer[9] - '0') * 100 + (answer[10] - '0') * 10 + (answer[11] - '0') == 202 ? 202 : 143);  // 403 - 260
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    const int code = WEXITSTATUS(status);
    return code == 143 ? 403 : code;
  }
};

TEST_F(PeerTest, TheModeOfTheSocketKeepsOthersOut) {
  EXPECT_EQ(StatusAs(0, 0, {}), 202);
  EXPECT_EQ(StatusAs(1234, 4242, {}), 202);
  EXPECT_EQ(StatusAs(1234, 1234, {1, 4242}), 202);
  EXPECT_EQ(StatusAs(1234, 1234, {}), 1);
}

TEST_F(PeerTest, AWidenedModeDoesNotLetOthersIn) {
  ASSERT_EQ(::chmod(path().c_str(), 0666), 0);
  EXPECT_EQ(StatusAs(1234, 1234, {}), 403);
  EXPECT_EQ(StatusAs(1234, 1234, {7, 8, 9}), 403);
  EXPECT_EQ(StatusAs(1234, 1234, {4242}), 202);
  EXPECT_EQ(service_.calls(), std::vector<std::string>{"queue a"});
}

}  // namespace
}  // namespace glintfs::testing
