// A cloud as it is: Glance is the source, Keystone says who may, and the clients go by clouds.yaml.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <regex>

#include "tests/mount/harness.h"
#include "tests/support/openstack.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

using ::testing::HasSubstr;
using nlohmann::json;

class SourceClientTest : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped()) return;
    keystone_ = Keystone::Start();
    glance_ = Glance::Start({.keystone = keystone_.get(), .catalog = keystone_.get()});
    const std::string token = keystone_->Token("admin");
    for (const char* id : {"debian", "twice-1", "twice-2"})
      glance_->Upload({.id = UuidFor(id), .name = std::string(id).substr(0, std::string(id).find('-')), .visibility = "public"},
                      Pattern(300'000, 1), token);
    keystone_->WriteClouds(dir_ / "clouds.yaml");
  }
  // The clouds.yaml of somebody who looks at the cache: the image service is there.
  CommandResult Openstack(const std::string& url, std::vector<std::string> arguments) {
    WriteFile(dir_ / "cache.yaml",
              "clouds:\n  cache:\n    region_name: RegionOne\n    image_endpoint_override: " + url + "\n    auth:\n      auth_url: " + keystone_->url() +
                  "\n      username: admin\n      password: " + Keystone::admin_password() +
                  "\n      project_name: admin\n      user_domain_name: Default\n      project_domain_name: Default\n");
    arguments.insert(arguments.begin(), {"openstack", "--os-cloud", "cache"});
    return Run(std::move(arguments), {"OS_CLIENT_CONFIG_FILE=" + (dir_ / "cache.yaml")});
  }
  CommandResult Run(std::vector<std::string> argv, std::vector<std::string> environment = {}) {
    environment.insert(environment.end(), {"HOME=" + dir_.path(), "PYTHONWARNINGS=ignore"});
    return RunCommand(argv, {.environment = std::move(environment)});
  }

  TempDir dir_;
  std::unique_ptr<Keystone> keystone_;
  std::unique_ptr<Glance> glance_;
};

TEST_F(SourceClientTest, ImagesAreFoundByNameAndCachedById) {
  GlintfsMount mount("glance://127.0.0.1:" + std::to_string(glance_->port()),
                     "names=yes,cloud=test,clouds_file=" + (dir_ / "clouds.yaml") + ",control_tcp=127.0.0.1:0,control_auth=keystone");
  mount.Start();
  std::smatch found;
  const std::string log = mount.LogText();
  ASSERT_TRUE(std::regex_search(log, found, std::regex("listening on (http://[^,]+), for roles admin"))) << log;
  const std::string url = found[1], id = UuidFor("debian");

  const auto listed = json::parse(Ask({.method = "GET",
                                       .url = url + "/v2/images?name=twice",
                                       .headers = {"X-Auth-Token: " + keystone_->Token("admin")},
                                       .body = {},
                                       .file = {}})
                                      .body);
  EXPECT_EQ(listed["images"].size(), 2u) << listed;
  const CommandResult by_name = Openstack(url, {"image", "show", "-f", "json", "debian"});
  ASSERT_EQ(by_name.status, 0) << by_name.err;
  EXPECT_EQ(json::parse(by_name.out)["id"], id);
  EXPECT_EQ(json::parse(by_name.out)["name"], "debian");
  EXPECT_EQ(Openstack(url, {"image", "show", id}).status, 0);
  EXPECT_THAT(Openstack(url, {"image", "show", "twice"}).err, HasSubstr("More than one"));
  EXPECT_NE(Openstack(url, {"image", "show", "none"}).status, 0);

  const std::vector<std::string> glance = {"glance", "--os-image-url", url, "--os-auth-token", keystone_->Token("admin")};
  const auto with = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), glance.begin(), glance.end());
    return arguments;
  };
  EXPECT_EQ(Run(with({"cache-queue", id})).err, "");
  ASSERT_TRUE(mount.WaitForState(id, "verified"));
  EXPECT_THAT(Run(with({"cache-list"})).out, HasSubstr(id));
  EXPECT_EQ(ReadFile(mount / ("by-name/debian")), Pattern(300'000, 1));
  EXPECT_TRUE(WaitFor([&] { return Run(with({"cache-delete", id})).err.empty(); }));
  EXPECT_EQ(mount.State(id), "absent");
  EXPECT_EQ(mount.LogText().find(glance.back()), std::string::npos);
}

}  // namespace
}  // namespace glintfs::testing
