// The control API for those whom a real Keystone knows.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "backends/openstack/token_check.h"
#include "tests/clients/client_fixture.h"
#include "tests/support/openstack.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

using ::testing::HasSubstr;
using nlohmann::json;

class KeystoneClientTest : public ClientTest {
 protected:
  static void SetUpTestSuite() { keystone_ = Keystone::Start(); }
  static void TearDownTestSuite() { keystone_.reset(); }

  void SetUp() override {
    ClientTest::SetUp();
    StartFor("admin");
  }
  void StartFor(const std::string& role) {
    server_.reset();
    TcpControlOptions tcp = Tcp();
    tcp.token_file.clear();
    tcp.keystone = MakeTokenChecker(keystone_->url(), {}).value();
    tcp.roles = {role};
    StartTcp(tcp);
  }
  int Status(const std::string& token) { return AskTcp("GET", "/v1/status", TokenHeader(token)).status; }
  HttpAnswer AskKeystone(const std::string& method, const std::vector<std::string>& headers, const std::string& body = "") {
    return testing::Ask({.method = method, .url = keystone_->url() + "/auth/tokens", .headers = headers, .body = body, .file = {}});
  }
  static std::vector<std::string> Login(const std::string& user) {
    const std::string& password = user == "admin" ? Keystone::admin_password() : Keystone::demo_password();
    return {"OS_AUTH_URL=" + keystone_->url(),    "OS_USERNAME=" + user,           "OS_PASSWORD=" + password,
            "OS_PROJECT_NAME=" + user,            "OS_USER_DOMAIN_NAME=Default",   "OS_PROJECT_DOMAIN_NAME=Default",
            "OS_IDENTITY_API_VERSION=3"};
  }

  static std::unique_ptr<Keystone> keystone_;
};
std::unique_ptr<Keystone> KeystoneClientTest::keystone_;

TEST_F(KeystoneClientTest, TheRoleDecides) {
  const std::string admin = keystone_->Token("admin"), demo = keystone_->Token("demo");
  EXPECT_EQ(Status(admin), 200);
  const RawReply refused = AskTcp("PUT", "/v2/cache/a.img", TokenHeader(demo));
  EXPECT_EQ(refused.status, 403);
  EXPECT_THAT(refused.body, HasSubstr("Default/demo has none of the roles admin in project Default/demo"));
  EXPECT_TRUE(service_.calls().empty());
  StartFor("member");
  EXPECT_EQ(Status(demo), 200);
  const auto credential = keystone_->AddApplicationCredential("reader", "member");
  const HttpAnswer login = AskKeystone(
      "POST", {"Content-Type: application/json"},
      json{{"auth", {{"identity", {{"methods", {"application_credential"}},
                                   {"application_credential", {{"id", credential.id}, {"secret", credential.secret}}}}}}}}
          .dump());
  ASSERT_EQ(login.status, 201) << login.body;
  EXPECT_EQ(Status(login.headers.at("x-subject-token")), 200);
}

TEST_F(KeystoneClientTest, UnknownRevokedAndExpiredTokensAre401) {
  const RawReply unknown = AskTcp("GET", "/v1/status", TokenHeader("guessed-in-vain"));
  EXPECT_EQ(unknown.status, 401);
  EXPECT_EQ(unknown.headers.at("www-authenticate"), "Keystone uri=\"" + keystone_->url() + "\"");
  const std::string revoked = keystone_->Token("admin");
  ASSERT_EQ(AskKeystone("DELETE", {"X-Auth-Token: " + revoked, "X-Subject-Token: " + revoked}).status, 204);
  EXPECT_EQ(Status(revoked), 401);
  const std::string expired = keystone_->Token("admin");
  keystone_->ExpireTokens();
  EXPECT_EQ(Status(expired), 401);
  EXPECT_EQ(Status(keystone_->Token("admin")), 200);
}

TEST_F(KeystoneClientTest, AnUnscopedTokenIs403) {
  const json user = {{"name", "admin"}, {"domain", {{"id", "default"}}}, {"password", Keystone::admin_password()}};
  const json body = {{"auth", {{"identity", {{"methods", {"password"}}, {"password", {{"user", user}}}}}, {"scope", "unscoped"}}}};
  const HttpAnswer login = AskKeystone("POST", {"Content-Type: application/json"}, body.dump());
  ASSERT_EQ(login.status, 201) << login.body;
  const RawReply refused = AskTcp("GET", "/v1/status", TokenHeader(login.headers.at("x-subject-token")));
  EXPECT_EQ(refused.status, 403);
  EXPECT_THAT(refused.body, HasSubstr("has no scope"));
}

TEST_F(KeystoneClientTest, WhileItIsAwayKnownTokensGoOn) {
  const std::string known = keystone_->Token("admin"), other = keystone_->Token("admin");
  ASSERT_EQ(Status(known), 200);
  keystone_->Stop();
  const RawReply refused = AskTcp("GET", "/v1/status", TokenHeader(other));
  EXPECT_EQ(refused.status, 503);
  EXPECT_THAT(refused.body, HasSubstr(keystone_->url()));
  EXPECT_TRUE(refused.headers.contains("retry-after"));
  EXPECT_EQ(Status(known), 200);
  keystone_->Restart();
  EXPECT_TRUE(WaitFor([&] { return Status(other) == 200; }));
}

TEST_F(KeystoneClientTest, SomethingElseThanAKeystoneIs503) {
  server_.reset();
  TcpControlOptions tcp = Tcp();
  tcp.token_file.clear();
  tcp.keystone = MakeTokenChecker(keystone_->url() + "/nothing", {}).value();
  tcp.roles = {"admin"};
  StartTcp(tcp);
  const int status = Status(keystone_->Token("admin"));
  EXPECT_TRUE(status == 503 || status == 401) << status;
}

TEST_F(KeystoneClientTest, GlanceLogsInAndDrivesTheCache) {
  const CommandResult queued = Run({"glance", "--os-image-url", url(), "cache-queue", "a.img"}, Login("admin"));
  EXPECT_EQ(queued.status, 0) << queued.err;
  EXPECT_EQ(queued.err, "");
  EXPECT_EQ(service_.calls(), std::vector<std::string>{"queue a.img"});
  const CommandResult listed = Run({"glance", "--os-image-url", url(), "cache-list"}, Login("admin"));
  EXPECT_THAT(listed.out, HasSubstr("dir/b c.img"));
  const CommandResult refused = Run({"glance", "--os-image-url", url(), "cache-list"}, Login("demo"));
  EXPECT_NE(refused.status, 0);
  EXPECT_THAT(refused.err, HasSubstr("none of the roles"));
}

// openstack goes by clouds.yaml: the login from there, and where the image service is. Its commands for the cache came after Debian 12:
// here what they ask before, and themselves where they are.
class KeystoneOpenstackTest : public KeystoneClientTest {
 protected:
  CommandResult Openstack(std::vector<std::string> arguments, const std::string& user = "admin") {
    const std::string& password = user == "admin" ? Keystone::admin_password() : Keystone::demo_password();
    std::ofstream(dir_ / "clouds.yaml", std::ios::trunc)
        << "clouds:\n  test:\n    region_name: RegionOne\n    image_endpoint_override: " << url() << "\n    auth:\n      auth_url: "
        << keystone_->url() << "\n      username: " << user << "\n      password: " << password << "\n      project_name: " << user
        << "\n      user_domain_name: Default\n      project_domain_name: Default\n";
    arguments.insert(arguments.begin(), {"openstack", "--os-cloud", "test"});
    return Run(arguments, {"OS_CLIENT_CONFIG_FILE=" + (dir_ / "clouds.yaml")});
  }
};

TEST_F(KeystoneOpenstackTest, FindsImagesByIdAndName) {
  service_.AddNamed("debian", MakeImage("dir/b c.img", 2000, ImageState::kAbsent, 0).info);
  const CommandResult by_id = Openstack({"image", "show", "-f", "json", "a.img"});
  ASSERT_EQ(by_id.status, 0) << by_id.err;
  EXPECT_EQ(json::parse(by_id.out)["size"], 1000);
  const CommandResult by_name = Openstack({"image", "show", "-f", "json", "debian"});
  ASSERT_EQ(by_name.status, 0) << by_name.err;
  EXPECT_EQ(json::parse(by_name.out)["id"], "dir/b c.img");
  EXPECT_THAT(Openstack({"image", "list", "-f", "value", "-c", "ID"}).out, HasSubstr("partial.img"));
  EXPECT_NE(Openstack({"image", "show", "none.img"}).status, 0);
  EXPECT_NE(Openstack({"image", "show", "a.img"}, "demo").status, 0);
}

TEST_F(KeystoneOpenstackTest, DrivesTheCache) {
  if (Openstack({"help", "cached", "image", "list"}).status != 0)
    GTEST_SKIP() << "this python-openstackclient has no `cached image` commands";
  const CommandResult queued = Openstack({"cached", "image", "queue", "a.img"});
  EXPECT_EQ(queued.status, 0) << queued.err;
  EXPECT_THAT(Openstack({"cached", "image", "list"}).out, HasSubstr("a.img"));
  EXPECT_EQ(Openstack({"cached", "image", "delete", "a.img"}).status, 0);
  EXPECT_EQ(Openstack({"cached", "image", "clear"}).status, 0);
  EXPECT_EQ(service_.calls(), (std::vector<std::string>{"queue a.img", "evict a.img", "clear queue", "clear cache"}));
}

}  // namespace
}  // namespace glintfs::testing
