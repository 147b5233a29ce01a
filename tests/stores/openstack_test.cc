// The login to an OpenStack cloud: what is read, what is asked of Keystone, and what comes of its answers. Against a scripted Keystone
// first, then against a real one.
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
  for (const std::string& wrong : {bomb, std::string(100'000, '['), std::string("[1]"), std::string("{\"a\": 1e999}"), std::string("{\"a\""),
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
        "clouds:\n  one:\n    profile: base\n    region-name: R1\n    regions:\n      - name: R2\n      - R3\n    auth:\n      username: u\n"
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
  for (const char* text : {"clouds:\n  x: [unclosed s3cret\n", "clouds: 5", "", "- a\n- b\n", "clouds: {x: 5}", "clouds: {y: {}}"}) {
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

// ---- A scripted Keystone.

class OpenStackScripted : public ::testing::Test {
 protected:
  OpenStackScripted() { Give("first"); }

  void Give(const std::string& token, const std::string& lifetime = "01:00:00") {
    OriginFile file;
    file.headers = {"X-Subject-Token: " + token};
    file.content = R"({"token": {"expires_at": "2030-01-01T)" + lifetime + R"(Z", "issued_at": "2030-01-01T00:00:00Z", "catalog": [
        {"type": "image", "endpoints": [{"region_id": "R", "interface": "public", "url": "http://glance"}]}]}})";
    origin_.Set(kPath, file);
  }
  void Refuse(int status) {
    origin_.Update(kPath, [&](OriginFile& file) { file.status = status; });
  }
  KeystoneAuth& auth() {
    if (!auth_)
      auth_ = std::make_unique<KeystoneAuth>(ConfigOf({{"auth_url", origin_.url()}, {"username", "u"}, {"password", "hidden-thing"}}),
                                             HttpSettings{}, clock_);
    return *auth_;
  }
  std::string Token() {
    const auto credentials = auth().Current({});
    return credentials ? (*credentials)->headers.at(0) : CodeOf(credentials);
  }
  size_t Logins() { return origin_.Requests(kPath, "POST").size(); }

  static constexpr char kPath[] = "/v3/auth/tokens";
  Origin origin_;
  FakeClock clock_;
  std::unique_ptr<KeystoneAuth> auth_;
};

TEST_F(OpenStackScripted, OneLoginServesUntilShortlyBeforeItExpires) {
  EXPECT_EQ(Token(), "X-Auth-Token: first");
  EXPECT_EQ(auth().Endpoint("image", {})->Text(), "http://glance/");
  Give("second");
  clock_.Advance(std::chrono::minutes(54));
  EXPECT_EQ(Token(), "X-Auth-Token: first");
  EXPECT_EQ(Logins(), 1u);
  EXPECT_THAT(origin_.Requests(kPath)[0].body, HasSubstr("hidden-thing"));
  clock_.Advance(std::chrono::minutes(2));
  EXPECT_EQ(Token(), "X-Auth-Token: second");
  EXPECT_EQ(Logins(), 2u);
}

TEST_F(OpenStackScripted, ATokenThatIsDueServesWhileKeystoneIsAway) {
  EXPECT_EQ(Token(), "X-Auth-Token: first");
  clock_.Advance(std::chrono::minutes(56));
  Refuse(503);
  EXPECT_EQ(Token(), "X-Auth-Token: first");
  EXPECT_EQ(Token(), "X-Auth-Token: first");
  EXPECT_EQ(Logins(), 2u) << "not asked again at once";
  clock_.Advance(std::chrono::minutes(5));
  EXPECT_EQ(Token(), CodeName(Errc::kUnavailable));
  Give("second");
  EXPECT_EQ(Token(), "X-Auth-Token: second");
}

TEST_F(OpenStackScripted, ARefusedTokenIsRenewedButNotWithoutEnd) {
  const auto first = auth().Current({});
  ASSERT_OK(first);
  EXPECT_FALSE(auth().Renew(403, *first));
  EXPECT_FALSE(auth().Renew(400, *first));
  Give("second");
  EXPECT_TRUE(auth().Renew(401, *first));
  EXPECT_EQ(Token(), "X-Auth-Token: second");
  EXPECT_TRUE(auth().Renew(401, *first)) << "there is a newer one";
  EXPECT_EQ(Token(), "X-Auth-Token: second");
  EXPECT_EQ(Logins(), 2u);
  int renewed = 0;
  while (renewed < 10 && auth().Renew(401, *auth().Current({}))) ++renewed;
  EXPECT_EQ(renewed, 2) << "a service that refuses every token";
  clock_.Advance(std::chrono::minutes(1));
  EXPECT_TRUE(auth().Renew(401, *auth().Current({})));
}

TEST_F(OpenStackScripted, ARefusedLoginIsNotRepeatedAtOnce) {
  Refuse(401);
  const auto refused = auth().Current({});
  EXPECT_EQ(CodeOf(refused), CodeName(Errc::kAccessDenied));
  EXPECT_THAT(refused.error().message, HasSubstr("user default/u"));
  EXPECT_THAT(refused.error().message, Not(HasSubstr("hidden-thing")));
  EXPECT_EQ(Token(), CodeName(Errc::kAccessDenied));
  EXPECT_EQ(Logins(), 1u) << "accounts get locked";
  Give("second");
  clock_.Advance(std::chrono::seconds(11));
  EXPECT_EQ(Token(), "X-Auth-Token: second");
}

TEST_F(OpenStackScripted, ManyWaitForOneLogin) {
  origin_.Update(kPath, [](OriginFile& file) {
    file.trouble = Trouble::kHangBeforeHeaders;
    file.trouble_on_head = true;
  });
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) threads.emplace_back([&] { good += Token() == "X-Auth-Token: first"; });
  EXPECT_TRUE(WaitFor([&] { return origin_.hanging() == 1; }));
  origin_.Release();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 6);
  EXPECT_EQ(Logins(), 1u);
}

TEST_F(OpenStackScripted, ACancelledLoginIsTakenOver) {
  origin_.Update(kPath, [](OriginFile& file) {
    file.trouble = Trouble::kHangBeforeHeaders;
    file.trouble_on_head = true;
    file.trouble_times = 1;
  });
  std::stop_source stop;
  std::string first, second;
  std::thread owner([&] { first = CodeOf(auth().Current(stop.get_token())); });
  EXPECT_TRUE(WaitFor([&] { return origin_.hanging() == 1; }));
  std::thread waiter([&] { second = Token(); });
  stop.request_stop();
  owner.join();
  waiter.join();
  EXPECT_EQ(first, CodeName(Errc::kCancelled));
  EXPECT_EQ(second, "X-Auth-Token: first");
}

TEST_F(OpenStackScripted, AWaitingCallEndsWhenToldTo) {
  origin_.Update(kPath, [](OriginFile& file) {
    file.trouble = Trouble::kHangBeforeHeaders;
    file.trouble_on_head = true;
  });
  std::thread owner([&] { EXPECT_EQ(Token(), "X-Auth-Token: first"); });
  EXPECT_TRUE(WaitFor([&] { return origin_.hanging() == 1; }));
  std::stop_source stop;
  std::string waited;
  std::thread waiter([&] { waited = CodeOf(auth().Current(stop.get_token())); });
  stop.request_stop();
  waiter.join();
  EXPECT_EQ(waited, CodeName(Errc::kCancelled));
  EXPECT_EQ(origin_.hanging(), 1);
  origin_.Release();
  owner.join();
}

TEST_F(OpenStackScripted, AnswersThatMakeNoSense) {
  const auto fresh = [&] {
    auth_.reset();
    return Token();
  };
  Give("");
  EXPECT_EQ(fresh(), CodeName(Errc::kInvalid));
  Give("with space");
  EXPECT_EQ(fresh(), CodeName(Errc::kInvalid));
  Give("x", "00:00:00");
  EXPECT_EQ(fresh(), CodeName(Errc::kInvalid));
  for (const std::string& content : {std::string(2 << 20, ' '), std::string(900'000, '['), std::string("<html>")}) {
    Give("x");
    origin_.Update(kPath, [&](OriginFile& file) { file.content = content; });
    EXPECT_EQ(fresh(), CodeName(Errc::kInvalid));
  }
  for (const auto& [status, code] : {std::pair(400, Errc::kInvalid), {403, Errc::kAccessDenied}, {404, Errc::kInvalid},
                                     {429, Errc::kUnavailable}, {500, Errc::kUnavailable}, {300, Errc::kInvalid}}) {
    Refuse(status);
    EXPECT_EQ(fresh(), CodeName(code)) << status;
  }
}

TEST_F(OpenStackScripted, APasswordIsNotRedirectedToAnotherHost) {
  Origin other;
  other.Set(kPath, OriginFile{});
  OriginFile file;
  file.status = 307;
  file.headers = {"Location: " + other.url() + "v3/auth/tokens"};
  origin_.Set(kPath, file);
  EXPECT_EQ(Token(), CodeName(Errc::kInvalid));
  EXPECT_TRUE(other.Requests().empty());
}

// ---- A real one.

class OpenStackReal : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    keystone_ = Keystone::Start().release();
    keystone_->AddService("image", "http://127.0.0.1:9292");
    keystone_->AddEndpoint("image", "RegionTwo", "internal", "http://127.0.0.2:9292/v2");
  }
  static void TearDownTestSuite() {
    delete keystone_;
    keystone_ = nullptr;
  }
  void SetUp() override {
    environment_.Set("OS_AUTH_URL", keystone_->url());
    environment_.Set("OS_PROJECT_DOMAIN_NAME", "Default");
  }
  std::shared_ptr<OpenStackAuth> Auth() {
    auto auth = MakeOpenStackAuth(options_);
    if (!auth) throw std::runtime_error(auth.error().ToString());
    return *auth;
  }
  void AsDemo() {
    environment_.Set("OS_USERNAME", "demo");
    environment_.Set("OS_PASSWORD", Keystone::demo_password());
    environment_.Set("OS_USER_DOMAIN_NAME", "Default");
    environment_.Set("OS_PROJECT_NAME", "demo");
  }

  static Keystone* keystone_;
  OsEnvironment environment_;
  BackendOptions options_;
};
Keystone* OpenStackReal::keystone_ = nullptr;

TEST_F(OpenStackReal, Password) {
  AsDemo();
  const auto auth = Auth();
  ASSERT_OK(auth->Current({}));
  EXPECT_EQ(auth->Endpoint("image", {})->Text(), "http://127.0.0.1:9292/");
  options_.region = "RegionTwo";
  options_.openstack.interface = "internal";
  EXPECT_EQ(Auth()->Endpoint("image", {})->Text(), "http://127.0.0.2:9292/v2/");
  EXPECT_THAT(Auth()->Endpoint("object-store", {}).error().message, HasSubstr("image internal in 'RegionTwo'"));
}

TEST_F(OpenStackReal, WrongPassword) {
  AsDemo();
  environment_.Set("OS_PASSWORD", "hidden-thing");
  const auto refused = Auth()->Current({});
  EXPECT_EQ(CodeOf(refused), CodeName(Errc::kAccessDenied));
  EXPECT_THAT(refused.error().message, HasSubstr("Default/demo"));
  EXPECT_THAT(refused.error().message, HasSubstr(keystone_->url()));
  EXPECT_THAT(refused.error().message, Not(HasSubstr("hidden-thing")));
}

TEST_F(OpenStackReal, ApplicationCredentials) {
  const Keystone::Credential credential = keystone_->AddApplicationCredential("for-glintfs");
  environment_.Set("OS_AUTH_TYPE", "v3applicationcredential");
  environment_.Set("OS_APPLICATION_CREDENTIAL_ID", credential.id);
  environment_.Set("OS_APPLICATION_CREDENTIAL_SECRET", credential.secret);
  ASSERT_OK(Auth()->Endpoint("image", {}));
  environment_.Unset("OS_APPLICATION_CREDENTIAL_ID");
  environment_.Set("OS_APPLICATION_CREDENTIAL_NAME", "for-glintfs");
  environment_.Set("OS_USERNAME", "demo");
  environment_.Set("OS_USER_DOMAIN_NAME", "Default");
  ASSERT_OK(Auth()->Endpoint("image", {}));
  environment_.Set("OS_APPLICATION_CREDENTIAL_SECRET", "hidden-thing");
  const auto refused = Auth()->Current({});
  EXPECT_EQ(CodeOf(refused), CodeName(Errc::kAccessDenied));
  EXPECT_THAT(refused.error().message, Not(HasSubstr("hidden-thing")));
}

TEST_F(OpenStackReal, ATokenIsExchanged) {
  const std::string token = keystone_->Token("demo");
  environment_.Set("OS_AUTH_TYPE", "v3token");
  environment_.Set("OS_TOKEN", token);
  environment_.Set("OS_PROJECT_NAME", "demo");
  const auto auth = Auth();
  const auto credentials = auth->Current({});
  ASSERT_OK(credentials);
  EXPECT_NE((*credentials)->headers.at(0), "X-Auth-Token: " + token);
  ASSERT_OK(auth->Endpoint("image", {}));
  environment_.Set("OS_TOKEN", "nonsense-token");
  const auto refused = Auth()->Current({});
  EXPECT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().message, Not(HasSubstr("nonsense-token")));
}

TEST_F(OpenStackReal, WithoutAProjectThereIsNoCatalogue) {
  environment_.Set("OS_USERNAME", "admin");
  environment_.Set("OS_PASSWORD", Keystone::admin_password());
  const auto auth = Auth();
  ASSERT_OK(auth->Current({}));
  EXPECT_THAT(auth->Endpoint("image", {}).error().message, HasSubstr("OS_PROJECT_NAME"));
}

TEST_F(OpenStackReal, ANewPasswordIsNeededAfterAChange) {
  AsDemo();
  const auto auth = Auth();
  const auto credentials = auth->Current({});
  ASSERT_OK(credentials);
  keystone_->SetPassword("demo", "another");
  EXPECT_TRUE(auth->Renew(401, *credentials));
  EXPECT_EQ(CodeOf(auth->Current({})), CodeName(Errc::kAccessDenied));
  keystone_->SetPassword("demo", Keystone::demo_password());
  ASSERT_OK(Auth()->Current({}));
}

}  // namespace
}  // namespace glintfs::testing
