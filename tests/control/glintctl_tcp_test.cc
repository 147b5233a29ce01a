// glintctl over TCP.
#include "tests/control/subprocess.h"
#include "tests/control/tcp_fixture.h"

namespace glintfs::testing {
namespace {

class GlintctlTcpTest : public TcpTest {
 protected:
  void SetUp() override { StartTcp(Tcp()); }
  std::string url() const { return "http://" + server_->tcp_address(); }
};

TEST_F(GlintctlTcpTest, SendsTheTokenOfItsFile) {
  const ProcessResult done = Execute({GLINTCTL, "--url", url(), "--token-file", dir_ / "token", "cache", "dir/a b.img"});
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(service_.calls(), std::vector<std::string>{"queue dir/a b.img"});
  EXPECT_EQ(Execute({GLINTCTL, "status"}, {{"GLINTFS_URL", url() + "/"}, {"GLINTFS_TOKEN_FILE", dir_ / "token"}}).code, 0);
}

TEST_F(GlintctlTcpTest, WhatTheCommandLineSaysGoesFirst) {
  const std::map<std::string, std::string> elsewhere = {{"GLINTFS_URL", "http://127.0.0.1:1"}, {"GLINTFS_TOKEN_FILE", dir_ / "token"},
                                                        {"GLINTFS_CONTROL", dir_ / "nothing.sock"}};
  EXPECT_EQ(Execute({GLINTCTL, "--url", url(), "status"}, elsewhere).code, 0);
  EXPECT_EQ(Execute({GLINTCTL, "-s", path(), "status"}, elsewhere).code, 0);
}

TEST_F(GlintctlTcpTest, AWrongTokenIsPermissionDenied) {
  WriteToken("wrong-token-of-some-length\n");
  const ProcessResult refused = Execute({GLINTCTL, "--url", url(), "--token-file", dir_ / "token", "status"});
  EXPECT_EQ(refused.code, 7) << refused.err;
  EXPECT_NE(refused.err.find("wrong token"), std::string::npos) << refused.err;
  EXPECT_EQ(refused.err.find("wrong-token-of"), std::string::npos);
}

TEST_F(GlintctlTcpTest, SaysWhatIsMissing) {
  const ProcessResult no_token = Execute({GLINTCTL, "--url", url(), "status"});
  EXPECT_EQ(no_token.code, 2);
  EXPECT_NE(no_token.err.find("--token-file"), std::string::npos);
  EXPECT_EQ(Execute({GLINTCTL, "--url", "host:9393", "--token-file", dir_ / "token", "status"}).code, 2);
  EXPECT_EQ(Execute({GLINTCTL, "--url", url(), "--token-file", dir_ / "missing", "status"}).code, 2);
  EXPECT_EQ(Execute({GLINTCTL, "--url", "http://127.0.0.1:1", "--token-file", dir_ / "token", "status"}).code, 3);
}

}  // namespace
}  // namespace glintfs::testing
