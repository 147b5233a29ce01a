// The login to an OpenStack cloud: what is read of files and variables, what is said to Keystone, and what its answers mean.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "backends/openstack/bounded_json.h"
#include "backends/openstack/cloud_config.h"
#include "backends/openstack/keystone.h"
#include "backends/openstack/token.h"
#include "tests/backends/fetching.h"
#include "tests/mount/harness.h"
#include "tests/stores/os_environment.h"
#include "tests/support/openstack.h"
#include "tests/support/origin.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

std::string CodeName(Errc code) { return std::string(ErrcName(code)); }

// ---- Pure parts.

TEST(OpenStackTest, TimesOfTokens) {
  const Nanos expected = std::chrono::seconds(1672628645);
  EXPECT_EQ(ParseIsoTime("2023-01-02T03:04:05.000000Z"), expected);
  EXPECT_EQ(ParseIsoTime("2023-01-02T03:04:05Z"), expected);
  EXPECT_EQ(ParseIsoTime("2023-01-02T03:04:05+00:00"), expected);
  EXPECT_EQ(ParseIsoTime("2023-01-02T03:04:05"), expected);
  for (const char* wrong : {"", "now", "2023-01-02", "2023-13-02T03:04:05Z", "2023-01-02T03:04:05+02:00", "9999-01-02T03:04:05Z",
                            "2023-01-02T03:04:05.Zebra", "99999999999999999999999999999999999999", "-001-01-02T03:04:05Z"})
    EXPECT_EQ(ParseIsoTime(wrong), std::nullopt) << wrong;
}

TEST(OpenStackTest, JsonIsBounded) {
  EXPECT_TRUE(ParseBoundedJson(R"({"a": [1, {"b": "]]]]"}]})").has_value());
  const std::string bomb = "{\"a\": " + std::string(500'000, '[') + std::string(500'000, ']') + "}";
  for (const std::string& wrong :
       {bomb, std::string(100'000, '['), std::string("[1]"), std::string("{\"a\": 1e999}"), std::string("{\"a\""),
        std::string("{\"a\": \"\xff\"}"), std::string(), std::string("null"), std::string(40, '\"')})
    EXPECT_EQ(CodeOf(ParseBoundedJson(wrong)), CodeName(Errc::kInvalid)) << wrong.substr(0, 40);
  const auto kept = ParseBoundedJson(R"({"keep": {"x": 1}, "drop": [[1, 2], {"keep": 3}]})",
                                     [](int depth, const std::string& key) { return depth > 1 || key == "keep"; });
  ASSERT_OK(kept);
  EXPECT_EQ(kept->dump(), R"({"keep":{"x":1}})");
}

CloudConfig ConfigOf(std::map<std::string, std::string> values) {
  values.emplace("auth_url", "http://keystone:5000");
  auto config = MakeCloudConfig({.values = std::move(values), .where = "the test"}, {});
  if (!config) throw std::runtime_error(config.error().ToString());
  return *config;
}

json RequestOf(std::map<std::string, std::string> values) {
  return json::parse(MakeTokenRequest(ConfigOf(std::move(values)))).at("auth");
}

TEST(OpenStackTest, RequestsForTokens) {
  EXPECT_EQ(RequestOf({{"username", "u"}, {"password", "p\"\xff"}, {"project_name", "x"}, {"user_domain_name", "D"}}),
            json::parse(R"({"identity": {"methods": ["password"], "password": {"user": {"name": "u", "domain": {"name": "D"},
                            "password": "p\"�"}}}, "scope": {"project": {"name": "x", "domain": {"id": "default"}}}})"));
  EXPECT_EQ(RequestOf({{"user_id", "1"}, {"password", "p"}, {"project_id", "2"}}),
            json::parse(R"({"identity": {"methods": ["password"], "password": {"user": {"id": "1", "password": "p"}}},
                            "scope": {"project": {"id": "2"}}})"));
  EXPECT_EQ(RequestOf({{"user_id", "1"}, {"password", "p"}, {"domain_name", "D"}}).at("scope"),
            json::parse(R"({"domain": {"name": "D"}})"));
  EXPECT_EQ(RequestOf({{"user_id", "1"}, {"password", "p"}, {"system_scope", "all"}}).at("scope"),
            json::parse(R"({"system": {"all": true}})"));
  EXPECT_EQ(RequestOf({{"auth_type", "v3applicationcredential"},
                       {"application_credential_id", "i"},
                       {"application_credential_secret", "s"},
                       {"project_name", "ignored"}}),
            json::parse(R"({"identity": {"methods": ["application_credential"],
                            "application_credential": {"id": "i", "secret": "s"}}})"));
  EXPECT_EQ(RequestOf({{"application_credential_name", "n"},
                       {"application_credential_secret", "s"},
                       {"username", "u"},
                       {"user_domain_id", "d"}}),
            json::parse(R"({"identity": {"methods": ["application_credential"], "application_credential":
                            {"name": "n", "secret": "s", "user": {"name": "u", "domain": {"id": "d"}}}}})"));
  EXPECT_EQ(RequestOf({{"auth_type", "v3token"}, {"token", "t"}, {"project_id", "2"}}),
            json::parse(R"({"identity": {"methods": ["token"], "token": {"id": "t"}}, "scope": {"project": {"id": "2"}}})"));
}

TEST(OpenStackTest, UrlsOfKeystoneWithAnyVersion) {
  for (const char* url : {"http://k:5000", "http://k:5000/", "http://k:5000/v3", "http://k:5000/v3/", "http://k:5000/v2.0"})
    EXPECT_EQ(ConfigOf({{"auth_url", url}, {"username", "u"}, {"password", "p"}}).auth_url.Text(), "http://k:5000/v3/") << url;
  EXPECT_EQ(ConfigOf({{"auth_url", "https://k/identity"}, {"username", "u"}, {"password", "p"}}).auth_url.Text(),
            "https://k/identity/v3/");
}

TEST(OpenStackTest, SettingsThatCannotBe) {
  const std::map<std::string, std::string> good = {{"auth_url", "http://k"}, {"username", "u"}, {"password", "hidden-thing"}};
  const std::pair<std::string, std::string> wrong[] = {{"auth_type", "v3oidcpassword"}, {"auth_url", "ftp://k"}, {"auth_url", ""},
                                                       {"username", ""},  {"password", ""},  {"system_scope", "some"},
                                                       {"interface", "outer"}, {"image_endpoint_override", "x y"},
                                                       {"cacert", "/does/not/exist"}, {"auth_type", "v3applicationcredential"},
                                                       {"auth_type", "v3token"}};
  for (const auto& [key, value] : wrong) {
    auto values = good;
    values[key] = value;
    const auto config = MakeCloudConfig({.values = values, .where = "here"}, {});
    ASSERT_EQ(CodeOf(config), CodeName(Errc::kInvalid)) << key << "=" << value;
    EXPECT_THAT(config.error().message, HasSubstr("here"));
    EXPECT_THAT(config.error().message, Not(HasSubstr("hidden-thing")));
  }
}

TEST(OpenStackTest, EndpointsOfTheCatalogue) {
  CloudConfig config = ConfigOf({{"username", "u"}, {"password", "p"}, {"interface", "internalURL"}, {"region_name", "Two"}});
  const std::vector<CatalogEntry> catalog = {{"image", "One", "internal", "http://one/"},
                                             {"image", "Two", "public", "http://outer/"},
                                             {"image", "Two", "internal", "http://two/image"}};
  EXPECT_EQ(FindEndpoint(catalog, "image", config)->Text(), "http://two/image/");
  config.region = "";
  EXPECT_EQ(FindEndpoint(catalog, "image", config)->Text(), "http://one/");
  config.region = "Three";
  const auto none = FindEndpoint(catalog, "image", config);
  EXPECT_EQ(CodeOf(none), CodeName(Errc::kInvalid));
  EXPECT_THAT(none.error().message, HasSubstr("image internal in 'Two'"));
  EXPECT_THAT(none.error().message, HasSubstr("Three"));
  EXPECT_EQ(CodeOf(FindEndpoint({{"image", "Three", "internal", "gopher://x"}}, "image", config)), CodeName(Errc::kInvalid));
}

TEST(OpenStackTest, AnswersThatAreNoTokens) {
  const char* good = R"({"token": {"expires_at": "2030-01-01T01:00:00Z", "issued_at": "2030-01-01T00:00:00Z", "catalog": [
      {"type": "image", "endpoints": [{"region": "R", "interface": "public", "url": "http://g"}, 7, {"url": null}]}, "x"]}})";
  const auto answer = ParseTokenAnswer(good, Nanos(0));
  ASSERT_OK(answer);
  EXPECT_EQ(answer->lifetime, std::chrono::hours(1));
  ASSERT_EQ(answer->catalog.size(), 2u);
  EXPECT_EQ(answer->catalog[0].url, "http://g");
  for (const char* wrong : {"", "{}", R"({"token": 1})", R"({"token": {}})", R"({"token": {"expires_at": 5}})",
                            R"({"token": {"expires_at": "2030-01-01T01:00:00Z", "issued_at": "2030-01-01T02:00:00Z"}})"})
    EXPECT_EQ(CodeOf(ParseTokenAnswer(wrong, Nanos(0))), CodeName(Errc::kInvalid)) << wrong;
}

// ---- Files and variables.

class OpenStackFiles : public ::testing::Test {
 protected:
  void Write(const std::string& name, const std::string& text) {
    WriteFile(dir_ / name, text);
    ::chmod((dir_ / name).c_str(), 0600);
  }
  Result<CloudSettings> Find(const std::string& cloud) {
    options_.openstack.cloud = cloud;
    GLINTFS_ASSIGN(auto settings, FindCloudSettings(options_));
    if (!settings) return Error{Errc::kNotFound, "none"};
    return *settings;
  }

  OsEnvironment environment_;
  TempDir dir_;
  BackendOptions options_;
};

TEST_F(OpenStackFiles, NothingSaysHowToLogIn) {
  environment_.Set("HOME", dir_.path());
  const auto auth = MakeOpenStackAuth(options_);
  ASSERT_OK(auth);
  EXPECT_EQ(*auth, nullptr);
  environment_.Set("OS_REGION_NAME", "R");  // selects, but does not log in
  EXPECT_EQ(*MakeOpenStackAuth(options_), nullptr);
}

TEST_F(OpenStackFiles, VariablesAlone) {
  environment_.Set("OS_AUTH_URL", "http://k:5000/v3");
  environment_.Set("OS_USERNAME", "u");
  environment_.Set("OS_PASSWORD", "p");
  environment_.Set("OS_PROJECT_NAME", "x");
  environment_.Set("OS_USER_DOMAIN_NAME", "D");
  environment_.Set("OS_REGION_NAME", "R");
  const auto auth = MakeOpenStackAuth(options_);
  ASSERT_OK(auth);
  ASSERT_NE(*auth, nullptr);
  const CloudIdentity identity = (*auth)->identity();
  EXPECT_EQ(identity.cloud, "k:5000/v3");
  EXPECT_EQ(identity.region, "R");
  EXPECT_EQ(identity.project, "default/x");
  EXPECT_THAT((*auth)->DescribeLogin(), HasSubstr("OS_*"));
}

TEST_F(OpenStackFiles, AnEntryWithItsSecretElsewhere) {
  Write("clouds.yaml",
        "clouds:\n  one:\n    profile: base\n    region-name: R1\n    regions:\n      - name: R2\n      - R3\n    auth:\n      "
        "username: u\n"
        "      project_name: 42\n    password: beside\n  two: {auth: {auth_url: 'http://two', password: ~}}\n");
  Write("secure.yaml", "clouds:\n  one:\n    auth:\n      password: s3cret\n");
  Write("clouds-public.yaml", "public-clouds:\n  base:\n    auth:\n      auth_url: http://base\n      username: nobody\n");
  options_.openstack.clouds_file = dir_ / "clouds.yaml";
  const auto settings = Find("one");
  ASSERT_OK(settings);
  EXPECT_EQ(settings->Get("auth_url"), "http://base");
  EXPECT_EQ(settings->Get("username"), "u");
  EXPECT_EQ(settings->Get("password"), "s3cret");
  EXPECT_EQ(settings->Get("project_name"), "42");
  EXPECT_THAT(settings->where, HasSubstr("cloud 'one' of " + (dir_ / "clouds.yaml")));
  EXPECT_EQ(Find("two")->Get("password"), "");
  EXPECT_THAT(Find("three").error().message, HasSubstr("no cloud 'three'"));
}

TEST_F(OpenStackFiles, FoundWhereTheToolsLook) {
  std::filesystem::create_directories(dir_ / ".config/openstack");
  Write(".config/openstack/clouds.yaml", "clouds: {here: {auth: {auth_url: http://home}}}");
  environment_.Set("HOME", dir_.path());
  environment_.Set("OS_CLOUD", "here");
  EXPECT_EQ(Find("")->Get("auth_url"), "http://home");
  Write("other.yaml", "clouds: {here: {auth: {auth_url: http://variable}}}");
  environment_.Set("OS_CLIENT_CONFIG_FILE", dir_ / "other.yaml");
  EXPECT_EQ(Find("")->Get("auth_url"), "http://variable");
  // A password of the environment does not go to a cloud of a file.
  environment_.Set("OS_PASSWORD", "elsewhere");
  EXPECT_EQ(Find("here")->Get("password"), "");
}

TEST_F(OpenStackFiles, ThatAreWrong) {
  environment_.Set("HOME", dir_.path());
  EXPECT_EQ(CodeOf(Find("x")), CodeName(Errc::kInvalid));
  options_.openstack.clouds_file = dir_ / "clouds.yaml";
  EXPECT_EQ(CodeOf(Find("x")), CodeName(Errc::kInvalid)) << "does not exist";
  for (const char* text :
       {"clouds:\n  x: [unclosed s3cret\n", "clouds: 5", "", "- a\n- b\n", "clouds: {x: 5}", "clouds: {y: {}}"}) {
    Write("clouds.yaml", text);
    const auto settings = Find("x");
    if (settings) {
      EXPECT_EQ(CodeOf(MakeCloudConfig(*settings, options_)), CodeName(Errc::kInvalid)) << text;
      continue;
    }
    EXPECT_EQ(CodeOf(settings), CodeName(Errc::kInvalid)) << text;
    EXPECT_THAT(settings.error().message, Not(HasSubstr("s3cret")));
  }
  EXPECT_THAT(Find("").error().message, HasSubstr("cloud="));
}

TEST_F(OpenStackFiles, ATokenAsItIs) {
  environment_.Set("OS_TOKEN", "given");
  environment_.Set("OS_ENDPOINT_OVERRIDE", "http://swift:8080/v1/AUTH_x");
  const auto auth = MakeOpenStackAuth(options_);
  ASSERT_OK(auth);
  const auto credentials = (*auth)->Current({});
  ASSERT_OK(credentials);
  EXPECT_EQ((*credentials)->headers, std::vector<std::string>{"X-Auth-Token: given"});
  EXPECT_EQ((*auth)->Endpoint("object-store", {})->Text(), "http://swift:8080/v1/AUTH_x/");
  EXPECT_FALSE((*auth)->Renew(401, *credentials));
}

}  // namespace
}  // namespace glintfs::testing
