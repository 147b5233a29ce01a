// Who may by a token of Keystone, against a checker that the test steers. The real one: tests/clients.
#include "control/keystone_authorizer.h"

#include <map>
#include <thread>

#include "backends/openstack/token_check.h"
#include "tests/control/tcp_fixture.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

class FakeChecker final : public TokenChecker {
 public:
  void Set(const std::string& token, Result<TokenOwner> answer) {
    MutexLock lock(mu_);
    answers_.insert_or_assign(token, std::move(answer));
  }
  void Hang(bool hang) {
    MutexLock lock(mu_);
    hang_ = hang;
    changed_.NotifyAll();
  }
  int asked() {
    MutexLock lock(mu_);
    return asked_;
  }

  Result<TokenOwner> Check(const std::string& token, std::stop_token stop) override {
    MutexLock lock(mu_);
    ++asked_;
    while (hang_ && !stop.stop_requested()) changed_.WaitFor(mu_, std::chrono::milliseconds(5));
    if (stop.stop_requested()) return Error{Errc::kCancelled, "given up"};
    const auto it = answers_.find(token);
    if (it == answers_.end()) return Error{Errc::kAccessDenied, "unknown"};
    return it->second;
  }
  const std::string& keystone() const override { return url_; }

 private:
  const std::string url_ = "http://keystone:5000/v3";
  Mutex mu_;
  CondVar changed_;
  bool hang_ GUARDED_BY(mu_) = false;
  int asked_ GUARDED_BY(mu_) = 0;
  std::map<std::string, Result<TokenOwner>> answers_ GUARDED_BY(mu_);
};

TokenOwner Owner(std::vector<std::string> roles, Nanos expires_at = std::chrono::hours(24 * 365 * 100)) {
  return {.user = "Default/demo", .scope = "project Default/p", .roles = std::move(roles), .expires_at = expires_at};
}

class KeystoneAuthorizerTest : public ::testing::Test {
 protected:
  // The status that refuses, 0 when it passes.
  int Status(const std::string& token) {
    HttpRequest request;
    request.method = "GET";
    request.path = "/";
    request.headers.emplace_back("X-Auth-Token", token);
    const Caller caller{"127.0.0.1:1", true};
    auto at_once = authorizer_.CheckAtOnce(caller, request);
    last_ = at_once ? std::move(*at_once) : authorizer_.Check(caller, request, {});
    return last_.refusal ? last_.refusal->status : 0;
  }

  FakeClock clock_;
  std::shared_ptr<FakeChecker> checker_ = std::make_shared<FakeChecker>();
  KeystoneAuthorizer authorizer_{checker_, {"admin", "operator"}, clock_};
  Admission last_;
};

TEST_F(KeystoneAuthorizerTest, OneOfTheRolesIsEnough) {
  checker_->Set("admin", Owner({"member", "admin"}));
  checker_->Set("operator", Owner({"operator"}));
  checker_->Set("member", Owner({"member", "administrator", ""}));
  checker_->Set("none", Owner({}));
  checker_->Set("upper", Owner({"Admin"}));
  EXPECT_EQ(Status("upper"), 0);
  EXPECT_EQ(Status("admin"), 0);
  EXPECT_EQ(last_.caller, "Default/demo of project Default/p at 127.0.0.1:1");
  EXPECT_EQ(Status("operator"), 0);
  EXPECT_EQ(Status("member"), 403);
  EXPECT_NE(last_.refusal->body.find("admin, operator"), std::string::npos);
  EXPECT_EQ(Status("none"), 403);
}

TEST_F(KeystoneAuthorizerTest, UnscopedAndUnknownTokensAreRefused) {
  TokenOwner unscoped = Owner({"admin"});
  unscoped.scope.clear();
  checker_->Set("unscoped", unscoped);
  EXPECT_EQ(Status("unscoped"), 403);
  EXPECT_EQ(Status("unknown"), 401);
  ASSERT_EQ(last_.refusal->headers.size(), 1u);
  EXPECT_EQ(last_.refusal->headers[0].second, "Keystone uri=\"http://keystone:5000/v3\"");
}

TEST_F(KeystoneAuthorizerTest, GoodAnswersAreKeptForFiveMinutesAtMost) {
  checker_->Set("t", Owner({"admin"}));
  EXPECT_EQ(Status("t"), 0);
  checker_->Set("t", Error{Errc::kAccessDenied, "revoked"});
  clock_.Advance(std::chrono::seconds(299));
  EXPECT_EQ(Status("t"), 0);
  EXPECT_EQ(checker_->asked(), 1);
  clock_.Advance(std::chrono::seconds(1));
  EXPECT_EQ(Status("t"), 401);
  EXPECT_EQ(checker_->asked(), 2);
}

TEST_F(KeystoneAuthorizerTest, NeverBeyondTheExpiry) {
  checker_->Set("t", Owner({"admin"}, clock_.WallNow() + std::chrono::seconds(10)));
  EXPECT_EQ(Status("t"), 0);
  clock_.Advance(std::chrono::seconds(9));
  EXPECT_EQ(Status("t"), 0);
  EXPECT_EQ(checker_->asked(), 1);
  clock_.Advance(std::chrono::seconds(1));
  checker_->Set("t", Error{Errc::kAccessDenied, "expired"});
  EXPECT_EQ(Status("t"), 401);
  // By a clock of ours that is ahead it has expired: Keystone's word counts, and is not kept.
  checker_->Set("u", Owner({"admin"}, clock_.WallNow() - std::chrono::seconds(10)));
  EXPECT_EQ(Status("u"), 0);
  EXPECT_EQ(Status("u"), 0);
  EXPECT_EQ(checker_->asked(), 4);
}

TEST_F(KeystoneAuthorizerTest, RefusalsAreKeptBriefly) {
  EXPECT_EQ(Status("t"), 401);
  checker_->Set("t", Owner({"admin"}));
  EXPECT_EQ(Status("t"), 401);
  EXPECT_EQ(checker_->asked(), 1);
  clock_.Advance(std::chrono::seconds(5));
  EXPECT_EQ(Status("t"), 0);
}

TEST_F(KeystoneAuthorizerTest, AKeystoneThatCannotBeAskedIs503AndNotAskedAgainAtOnce) {
  checker_->Set("known", Owner({"admin"}));
  EXPECT_EQ(Status("known"), 0);
  for (const Errc code : {Errc::kUnavailable, Errc::kTimedOut, Errc::kInvalid}) {
    checker_->Set("new", Error{code, "connection refused"});
    const int before = checker_->asked();
    EXPECT_EQ(Status("new"), 503);
    EXPECT_NE(last_.refusal->body.find("connection refused"), std::string::npos);
    EXPECT_EQ(Status("other"), 503);
    EXPECT_EQ(Status("known"), 0);
    EXPECT_EQ(checker_->asked(), before + 1);
    clock_.Advance(std::chrono::seconds(2));
  }
  checker_->Set("new", Owner({"admin"}));
  EXPECT_EQ(Status("new"), 0);
}

TEST(TokenCacheTest, GuessesDoNotPushOutTheGoodOnes) {
  TokenCache cache(4);
  const Nanos now(0), later = std::chrono::seconds(5);
  cache.Put(HashOf("good"), {0, "who"}, now, later);
  for (int i = 0; i < 100; ++i) cache.Put(HashOf(std::to_string(i)), {401, "no"}, now, later);
  ASSERT_TRUE(cache.Find(HashOf("good"), now));
  EXPECT_EQ(cache.Find(HashOf("good"), now)->text, "who");
  int kept = 0;
  for (int i = 0; i < 100; ++i) kept += cache.Find(HashOf(std::to_string(i)), now) ? 1 : 0;
  EXPECT_EQ(kept, 4);
  EXPECT_FALSE(cache.Find(HashOf("good"), later));
  cache.Put(HashOf("good"), {401, "revoked"}, now, later);
  EXPECT_EQ(cache.Find(HashOf("good"), now)->status, 401);
}

TEST(TokenOwnerTest, IsReadFromKeystonesAnswer) {
  const auto owner = ParseTokenOwner(R"({"token": {"expires_at": "2026-01-02T03:04:05.000000Z", "roles": [{"name": "admin"}, {"name": "member"}, 7, {}],
    "user": {"name": "de\nmo", "domain": {"name": "Default"}}, "project": {"name": "p", "domain": {"name": "D"}}}})");
  ASSERT_TRUE(owner) << owner.error().message;
  EXPECT_EQ(owner->user, "Default/de?mo");
  EXPECT_EQ(owner->scope, "project D/p");
  EXPECT_EQ(owner->roles, (std::vector<std::string>{"admin", "member"}));
  EXPECT_EQ(ParseTokenOwner(R"({"token": {"expires_at": "2026-01-02T03:04:05Z", "system": {"all": true}}})")->scope, "the system");
  EXPECT_EQ(ParseTokenOwner(R"({"token": {"expires_at": "2026-01-02T03:04:05Z"}})")->scope, "");
  for (const char* wrong : {"", "[]", "{}", R"({"token": 1})", R"({"token": {}})", R"({"token": {"expires_at": "soon"}})"})
    EXPECT_FALSE(ParseTokenOwner(wrong)) << wrong;
}

// Through the server: who waits for Keystone, and who does not.
class KeystoneServerTest : public TcpTest {
 protected:
  void SetUp() override {
    TcpControlOptions tcp = Tcp();
    tcp.token_file.clear();
    tcp.keystone = checker_;
    tcp.roles = {"admin"};
    checker_->Set("known", Owner({"admin"}));
    checker_->Set("new", Owner({"admin"}));
    checker_->Set("member", Owner({"member"}));
    StartTcp(tcp);
  }
  void TearDown() override { checker_->Hang(false); }

  const std::shared_ptr<FakeChecker> checker_ = std::make_shared<FakeChecker>();
};

TEST_F(KeystoneServerTest, TokensAreAskedAboutOnce) {
  for (int i = 0; i < 3; ++i) EXPECT_EQ(AskTcp("GET", "/v1/status", TokenHeader("known")).status, 200);
  EXPECT_EQ(checker_->asked(), 1);
  EXPECT_EQ(AskTcp("GET", "/v1/status", TokenHeader("member")).status, 403);
  EXPECT_EQ(AskTcp("GET", "/v1/status", TokenHeader("other")).status, 401);
  EXPECT_EQ(AskTcp("GET", "/v1/status", "").status, 401);
  EXPECT_EQ(checker_->asked(), 3);
}

TEST_F(KeystoneServerTest, AKeystoneThatHangsDelaysOnlyTokensThatAreNotKnown) {
  ASSERT_EQ(AskTcp("GET", "/v1/status", TokenHeader("known")).status, 200);
  checker_->Hang(true);
  std::vector<RawClient> waiting;
  for (int i = 0; i < 20; ++i) {
    waiting.push_back(Connect());
    waiting.back().Send(RequestText(i % 2 ? "GET" : "PUT", "/v2/cache/a", TokenHeader("new")));
  }
  ASSERT_TRUE(WaitFor([&] { return checker_->asked() >= 5; }));
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(AskTcp("GET", "/v1/status", TokenHeader("known")).status, 200);
    EXPECT_EQ(AskTcp("PUT", "/v2/cache/b", TokenHeader("known")).status, 202);
    EXPECT_EQ(AskTcp("GET", "/v1/status", "").status, 401);
    EXPECT_EQ(Ask("GET", "/v1/status").status, 200);
  }
  checker_->Hang(false);
  for (size_t i = 0; i < waiting.size(); ++i)
    EXPECT_EQ(waiting[i].Receive().value_or(RawReply{}).status, i % 2 ? 405 : 202);
}

TEST_F(KeystoneServerTest, StopDoesNotWaitForKeystone) {
  checker_->Hang(true);
  std::vector<RawClient> waiting;
  for (int i = 0; i < 10; ++i) {
    waiting.push_back(Connect());
    waiting.back().Send(RequestText("GET", "/v1/status", TokenHeader("new")));
  }
  ASSERT_TRUE(WaitFor([&] { return checker_->asked() >= 4; }));
  server_->Stop();
  for (RawClient& client : waiting) EXPECT_TRUE(client.WaitForEnd());
}

TEST_F(KeystoneServerTest, AClientThatGoesWhileItsTokenIsCheckedHurtsNobody) {
  checker_->Hang(true);
  for (int i = 0; i < 8; ++i) {
    RawClient client = Connect();
    client.Send(RequestText("PUT", "/v2/cache/a", TokenHeader("new")));
  }
  ASSERT_TRUE(WaitFor([&] { return checker_->asked() >= 4; }));
  checker_->Hang(false);
  EXPECT_EQ(AskTcp("GET", "/v1/status", TokenHeader("new")).status, 200);
}

}  // namespace
}  // namespace glintfs::testing
