// A mount whose cache is driven by Glance's client over TCP.
#include <gmock/gmock.h>

#include <fmt/format.h>
#include <sys/stat.h>

#include <regex>

#include "tests/mount/harness.h"
#include "tests/support/http_ask.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

constexpr char kGivenToken[] = "0123456789abcdef-sesame";

class MountClientTest : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    WriteToken(kGivenToken);
  }
  void WriteToken(const std::string& token) {
    WriteFile(home_ / "token", token + "\n");
    ::chmod((home_ / "token").c_str(), 0600);
  }
  std::string Options() const { return "control_tcp=127.0.0.1:0,control_token_file=" + (home_ / "token"); }
  static std::string Url(const GlintfsMount& mount) {
    std::smatch found;
    const std::string log = mount.LogText();
    return std::regex_search(log, found, std::regex("listening on (https?://[^,]+),")) ? found[1].str() : "";
  }
  CommandResult Glance(const GlintfsMount& mount, std::vector<std::string> arguments, const std::string& token = kGivenToken) {
    arguments.insert(arguments.begin(), {"glance", "--os-image-url", Url(mount), "--os-auth-token", token});
    return RunCommand(arguments, {.environment = {"HOME=" + home_.path(), "PYTHONWARNINGS=ignore"}});
  }
  static long Status(const std::string& url, const std::string& token) {
    return Ask({.method = "GET", .url = url + "/v1/status", .headers = {"X-Auth-Token: " + token}, .body = {}, .file = {}}).status;
  }
  // A start that is refused: the exit code and what it says.
  CommandResult Refused(const std::string& options, const std::vector<std::string>& environment = {}) {
    GlintfsMount mount(source(), options);
    return RunCommand(mount.CommandLine(), {.environment = environment});
  }

  TempDir home_;
};

TEST_F(MountClientTest, GlanceQueuesListsAndDeletes) {
  const std::string content = Put("dir/a.img", 600'000, 1);
  GlintfsMount mount(source(), Options());
  mount.Start();
  EXPECT_EQ(Glance(mount, {"cache-queue", "dir/a.img"}).err, "");
  ASSERT_TRUE(mount.WaitForState("dir/a.img", "complete"));
  EXPECT_THAT(Glance(mount, {"cache-list"}).out, ContainsRegex("\\| +dir/a\\.img +\\| +cached .* 600000 "));
  EXPECT_EQ(ReadFile(mount / "dir/a.img"), content);
  EXPECT_THAT(Glance(mount, {"cache-queue", "none.img"}).err, HasSubstr("Unable to queue image 'none.img'"));
  EXPECT_TRUE(WaitFor([&] { return Glance(mount, {"cache-delete", "dir/a.img"}).err.empty(); }));
  EXPECT_EQ(mount.State("dir/a.img"), "absent");
  EXPECT_EQ(Glance(mount, {"cache-clear"}).status, 0);
  EXPECT_THAT(Glance(mount, {"image-show", "dir/a.img"}).out, ContainsRegex("\\| size +\\| 600000 "));
}

TEST_F(MountClientTest, TheSocketMayBeLeftOut) {
  Put("a.img", 1000, 1);
  GlintfsMount mount(source(), Options() + ",control=none");
  mount.Start();
  EXPECT_EQ(Status(Url(mount), kGivenToken), 200);
  EXPECT_EQ(Status(Url(mount), "wrong"), 401);
}

TEST_F(MountClientTest, SighupReadsTheTokenAgain) {
  Put("a.img", 1000, 1);
  GlintfsMount mount(source(), Options());
  mount.Start();
  const std::string url = Url(mount), other = "another-token-of-some-length";
  WriteToken(other);
  EXPECT_EQ(Status(url, kGivenToken), 200);
  mount.process().Signal(SIGHUP);
  EXPECT_TRUE(WaitFor([&] { return Status(url, other) == 200; }));
  EXPECT_EQ(Status(url, kGivenToken), 401);
  EXPECT_EQ(mount.LogText().find(other), std::string::npos);
  EXPECT_EQ(mount.LogText().find(kGivenToken), std::string::npos);
}

TEST_F(MountClientTest, AnAddressThatOthersReachIsWarnedOf) {
  Put("a.img", 1000, 1);
  GlintfsMount mount(source(), "control_tcp=0.0.0.0:0,control_token_file=" + (home_ / "token"));
  mount.Start();
  EXPECT_THAT(mount.LogText(), HasSubstr("can be reached from other machines without TLS"));
  GlintfsMount loopback(source(), Options());
  loopback.Start();
  EXPECT_EQ(loopback.LogText().find("without TLS"), std::string::npos);
}

TEST_F(MountClientTest, SettingsThatDoNotGoTogetherAreRefused) {
  Put("a.img", 1000, 1);
  WriteFile(home_ / "empty", "");
  ::chmod((home_ / "empty").c_str(), 0600);
  const std::string tcp = "control_tcp=127.0.0.1:0", token = ",control_token_file=" + (home_ / "token");
  const std::pair<std::string, const char*> cases[] = {
      {tcp, "needs control_token_file= (a file with a token), or control_auth=keystone"},
      {"control_tcp=localhost:9393" + token, "option control_tcp: 'localhost:9393' is no address and port"},
      {tcp + ",control_token_file=/nonexistent", "control_token_file=/nonexistent: No such file or directory"},
      {tcp + ",control_token_file=" + (home_ / "empty"), "first line is empty"},
      {tcp + token + ",control_tls_cert=/x", "option control_tls_cert: needs control_tls_key too"},
      {tcp + token + ",control_tls_key=/x", "option control_tls_key: needs control_tls_cert too"},
      {tcp + token + ",control_tls_cert=/x,control_tls_key=/y", "control_tls_cert=/x: No such file or directory"},
      {tcp + token + ",control_auth=keystone", "option control_token_file: is for control_auth=token"},
      {tcp + token + ",control_keystone=http://127.0.0.1:1/v3", "option control_keystone: is for control_auth=keystone"},
      {tcp + ",control_auth=keystone", "say where Keystone is"},
      {tcp + ",control_auth=keystone,control_keystone=nonsense", "control_keystone"},
      {tcp + ",control_auth=keystone,control_keystone=http://127.0.0.1:1/v3,control_roles=", "control_roles"},
      {"control_auth=keystone", "option control_auth: means nothing without control_tcp="},
      {token.substr(1), "option control_token_file: means nothing without control_tcp="},
      {"control_roles=a", "option control_roles: means nothing without control_tcp="},
      {"control_tls_cert=/x", "option control_tls_cert: means nothing without control_tcp="}};
  for (const auto& [options, message] : cases) {
    const CommandResult refused = Refused(options);
    EXPECT_EQ(refused.status, 2) << options << ": " << refused.err;
    EXPECT_THAT(refused.err, HasSubstr(message));
    EXPECT_EQ(std::count(refused.err.begin(), refused.err.end(), '\n'), 1) << refused.err;
  }
}

TEST_F(MountClientTest, KeystoneIsFoundWhereTheCloudIs) {
  Put("a.img", 1000, 1);
  GlintfsMount mount(source(), "control_tcp=127.0.0.1:0,control_auth=keystone,control_roles=admin");
  mount.set_environment({"OS_AUTH_URL=http://127.0.0.1:1/"});
  mount.Start();
  const HttpAnswer answer = Ask({.method = "GET", .url = Url(mount) + "/v1/status", .headers = {}, .body = {}, .file = {}});
  EXPECT_EQ(answer.status, 401);
  EXPECT_EQ(answer.headers.at("www-authenticate"), "Keystone uri=\"http://127.0.0.1:1/v3\"");
  EXPECT_EQ(Status(Url(mount), "some-token"), 503);
}

TEST_F(MountClientTest, APortThatIsTakenIsSaidAndNothingIsMounted) {
  Put("a.img", 1000, 1);
  GlintfsMount mount(source(), Options());
  mount.Start();
  const std::string address = Url(mount).substr(7);
  const CommandResult refused = Refused("control_tcp=" + address + ",control_token_file=" + (home_ / "token"));
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.err, HasSubstr("control_tcp=" + address + ": another program listens there"));
}

}  // namespace
}  // namespace glintfs::testing
