// Tokens of Keystone: renewed, refused, waited for. A scripted one first, then a real one.
#include <gmock/gmock.h>

#include <atomic>
#include <thread>

#include "backends/openstack/keystone.h"
#include "tests/backends/fetching.h"
#include "tests/stores/os_environment.h"
#include "tests/support/openstack.h"
#include "tests/support/origin.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string CodeName(Errc code) { return std::string(ErrcName(code)); }

CloudConfig ConfigOf(std::map<std::string, std::string> values) {
  values.emplace("auth_url", "http://keystone:5000");
  auto config = MakeCloudConfig({.values = std::move(values), .where = "the test"}, {});
  if (!config) throw std::runtime_error(config.error().ToString());
  return *config;
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
  // Made by the first call, which is not for a thread of its own.
  KeystoneAuth& auth() {
    if (!auth_)
      auth_ = std::make_unique<KeystoneAuth>(
          ConfigOf({{"auth_url", origin_.url()}, {"username", "u"}, {"password", "hidden-thing"}}), HttpSettings{}, clock_);
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
  auth();  // made before they ask
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
  auth();  // made before they ask
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
  auth();  // made before they ask
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
