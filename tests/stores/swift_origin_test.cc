// The swift backend against a scripted server: logins that fail, answers that make no sense, and where secrets go.
#include <atomic>
#include <thread>

#include "backends/swift/swift_backend.h"
#include "tests/backends/fetching.h"
#include "tests/stores/swift_environment.h"
#include "tests/support/origin.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

constexpr char kKey[] = "key-4b1d";
constexpr char kToken[] = "token-8e22";

class SwiftOriginTest : public ::testing::Test {
 protected:
  SwiftOriginTest() {
    SetLogin({});
    OriginFile container;
    container.type = "application/json";
    container.content = R"([{"name": "a", "bytes": 11}, {"name": "b", "bytes": 1}])";
    storage_.Set("/v1/A/images", container);
    OriginFile end = container;
    end.content = "[]";
    storage_.Set("/v1/A/images?format=json&delimiter=%2F&marker=b&limit=2000", end);
    SetObject("a", "hello world");
  }

  // An answer of the login; `storage` empty: the right one.
  void SetLogin(std::vector<std::string> headers, const std::string& storage = "", const std::string& token = kToken) {
    OriginFile login;
    login.headers = std::move(headers);
    if (!token.empty()) login.headers.push_back("X-Auth-Token: " + token);
    if (storage != "-") login.headers.push_back("X-Storage-Url: " + (storage.empty() ? storage_.url() + "v1/A" : storage));
    auth_.Set("/auth", login);
  }
  void SetObject(const std::string& name, const std::string& content, const std::vector<std::string>& headers = {}) {
    OriginFile object;
    object.content = content;
    object.etag = "\"5eb63bbbe01eeed093cb22bb8f5acdc3\"";
    object.headers = headers;
    storage_.Set("/v1/A/images/" + name, object);
  }
  void UpdateObject(const std::function<void(OriginFile&)>& change) { storage_.Update("/v1/A/images/a", change); }
  void SetPage(const std::string& content) {
    storage_.Update("/v1/A/images", [&](OriginFile& file) { file.content = content; });
  }

  // Of the first attempt; `options_` as they are now.
  Backend& backend() {
    if (!backend_) backend_ = Make("swift://images", options_);
    return *backend_;
  }
  // No secret is in what it says.
  template <typename T>
  std::string Code(const Result<T>& result) {
    if (!result) {
      const std::string text = result.error().ToString();
      EXPECT_EQ(text.find(kKey), std::string::npos) << text;
      EXPECT_EQ(text.find(kToken), std::string::npos) << text;
      EXPECT_EQ(text.find('\n'), std::string::npos) << text;
      last_error_ = result.error().message;
    }
    return CodeOf(result);
  }
  std::string FetchCode(const std::function<void(OriginFile&)>& change, Extent extent = {1, 5}) {
    SetObject("a", "hello world");
    const auto info = backend().Stat("a", {});
    if (!info) return "stat: " + info.error().ToString();
    const auto reader = backend().Open(info->image, {});
    UpdateObject(change);
    StringSink sink;
    auto result = (*reader)->Fetch(extent, sink, {});
    EXPECT_EQ(sink.text, std::string("hello world").substr(extent.offset, sink.text.size())) << "never a wrong byte";
    return Code(result);
  }

  Origin auth_, storage_;
  SwiftEnvironment environment_{{{"ST_AUTH", auth_.url() + "auth"}, {"ST_USER", "acme:joe"}, {"ST_KEY", kKey}}};
  BackendOptions options_ = QuickOptions();
  std::unique_ptr<Backend> backend_;
  std::string last_error_;
};

// ---- Logins.

TEST_F(SwiftOriginTest, EachSecretGoesToItsOwnServerOnly) {
  ASSERT_OK(backend().Stat("", {}));
  ASSERT_OK(backend().Stat("a", {}));
  ASSERT_EQ(auth_.Requests("/auth").size(), 1u) << "one login for all requests";
  EXPECT_EQ(auth_.Requests("/auth")[0].Header("x-auth-user"), "acme:joe");
  EXPECT_EQ(auth_.Requests("/auth")[0].Header("x-auth-key"), kKey);
  ASSERT_FALSE(storage_.Requests().empty());
  for (const auto& request : storage_.Requests()) {
    EXPECT_EQ(request.Header("x-auth-token"), kToken);
    EXPECT_EQ(request.Header("x-auth-key"), "");
  }
}

TEST_F(SwiftOriginTest, SecretsDoNotFollowRedirects) {
  Origin elsewhere;
  OriginFile away;
  away.status = 302;
  away.headers = {"Location: " + elsewhere.url() + "x"};
  storage_.Set("/v1/A/images/a", away);
  OriginFile refuses;
  refuses.status = 401;
  elsewhere.Set("/x", refuses);
  EXPECT_EQ(Code(backend().Stat("a", {})), "access denied");
  backend_.reset();
  auth_.Set("/auth", away);
  EXPECT_EQ(Code(backend().Stat("a", {})), "access denied");
  ASSERT_EQ(elsewhere.Requests("/x").size(), 2u);
  for (const auto& request : elsewhere.Requests("/x")) {
    EXPECT_EQ(request.Header("x-auth-token"), "");
    EXPECT_EQ(request.Header("x-auth-key"), "");
    EXPECT_EQ(request.Header("x-auth-user"), "");
  }
}

TEST_F(SwiftOriginTest, ARefusedLoginNamesUserAndPlaceButNoKey) {
  for (const int status : {401, 403}) {
    backend_.reset();
    auth_.Update("/auth", [&](OriginFile& file) { file.status = status; });
    EXPECT_EQ(Code(backend().Stat("", {})), "access denied");
    for (const std::string& word : {std::string("acme:joe"), auth_.url() + "auth", std::string("ST_KEY")})
      EXPECT_NE(last_error_.find(word), std::string::npos) << last_error_;
  }
  EXPECT_TRUE(storage_.Requests().empty());
}

TEST_F(SwiftOriginTest, LoginsThatMakeNoSense) {
  for (const char* storage : {"-", "ftp://127.0.0.1/", "/v1/A", "http://joe:x@127.0.0.1/", "http://127.0.0.1/v1?x=1"}) {
    SetLogin({}, storage);
    backend_.reset();
    EXPECT_EQ(Code(backend().Stat("", {})), "invalid") << storage;
  }
  SetLogin({}, "", "");
  backend_.reset();
  EXPECT_EQ(Code(backend().Stat("", {})), "invalid") << "no token";
  SetLogin({}, "", std::string(100'000, 't'));
  backend_.reset();
  EXPECT_EQ(Code(backend().Stat("", {})), "invalid") << "a token of 100 kB";
  auth_.Update("/auth", [](OriginFile& file) { file.status = 503; });
  backend_.reset();
  EXPECT_EQ(Code(backend().Stat("", {})), "unavailable");
  auth_.Remove("/auth");
  backend_.reset();
  EXPECT_EQ(Code(backend().Stat("", {})), "not found") << "the mount is refused, and the line names the auth URL";
  EXPECT_NE(last_error_.find(auth_.url()), std::string::npos) << last_error_;
}

TEST_F(SwiftOriginTest, ATokenIsRenewedBeforeItExpires) {
  SetLogin({"X-Auth-Token-Expires: 86400"});
  ASSERT_OK(backend().Stat("a", {}));
  ASSERT_OK(backend().Stat("a", {}));
  EXPECT_EQ(auth_.Requests("/auth").size(), 1u);
  backend_.reset();
  SetLogin({"X-Auth-Token-Expires: 0"});
  ASSERT_OK(backend().Stat("a", {}));
  const size_t before = auth_.Requests("/auth").size();
  ASSERT_OK(backend().Stat("a", {}));
  EXPECT_GT(auth_.Requests("/auth").size(), before);
}

TEST_F(SwiftOriginTest, ARefusedTokenIsRenewedOnce) {
  ASSERT_OK(backend().Stat("a", {}));
  SetLogin({}, "", "token-new");
  UpdateObject([](OriginFile& file) {
    file.status = 401;
    file.status_times = 1;
  });
  ASSERT_OK(backend().Stat("a", {}));
  EXPECT_EQ(auth_.Requests("/auth").size(), 2u);
  EXPECT_EQ(storage_.Requests("/v1/A/images/a").back().Header("x-auth-token"), "token-new");
  UpdateObject([](OriginFile& file) {
    file.status = 401;
    file.status_times = -1;
  });
  EXPECT_EQ(Code(backend().Stat("a", {})), "access denied");
  EXPECT_EQ(auth_.Requests("/auth").size(), 3u) << "not for ever";
  EXPECT_NE(last_error_.find("acme:joe"), std::string::npos) << last_error_;
  UpdateObject([](OriginFile& file) { file.status = 403; });
  EXPECT_EQ(Code(backend().Stat("a", {})), "access denied");
  EXPECT_EQ(auth_.Requests("/auth").size(), 3u) << "403 is no reason for another token";
}

TEST_F(SwiftOriginTest, OneLoginForAllWhoWait) {
  auth_.Update("/auth", [](OriginFile& file) {
    file.trouble = Trouble::kHangBeforeHeaders;
    file.trouble_times = 1;
  });
  Backend& backend = this->backend();
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] { good += backend.Stat("a", {}).has_value(); });
  EXPECT_TRUE(WaitFor([&] { return auth_.hanging() == 1; }));
  std::stop_source stop;
  std::thread impatient([&] { EXPECT_EQ(CodeOf(backend.Stat("b", stop.get_token())), "cancelled"); });
  stop.request_stop();
  impatient.join();
  auth_.Release();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 8);
  EXPECT_EQ(auth_.Requests("/auth").size(), 1u);
}

TEST_F(SwiftOriginTest, ALoginThatIsCalledOffDoesNotSpoilTheOthers) {
  auth_.Update("/auth", [](OriginFile& file) {
    file.trouble = Trouble::kHangBeforeHeaders;
    file.trouble_times = 1;
  });
  Backend& backend = this->backend();
  std::stop_source stop;
  std::thread first([&] { EXPECT_EQ(CodeOf(backend.Stat("a", stop.get_token())), "cancelled"); });
  EXPECT_TRUE(WaitFor([&] { return auth_.hanging() == 1; }));
  std::string second;
  std::thread waits([&] { second = CodeOf(backend.Stat("a", {})); });
  stop.request_stop();
  first.join();
  waits.join();
  EXPECT_EQ(second, "ok");
}

TEST_F(SwiftOriginTest, AStorageUrlIsEnough) {
  const SwiftEnvironment anonymous({{"OS_STORAGE_URL", storage_.url() + "v1/A/"}});
  ASSERT_OK(backend().Stat("a", {}));
  EXPECT_EQ(storage_.Requests().back().Header("x-auth-token"), "");
  backend_.reset();
  const SwiftEnvironment token({{"OS_STORAGE_URL", storage_.url() + "v1/A"}, {"OS_AUTH_TOKEN", kToken}});
  ASSERT_OK(backend().Stat("a", {}));
  EXPECT_EQ(storage_.Requests().back().Header("x-auth-token"), kToken);
  UpdateObject([](OriginFile& file) { file.status = 401; });
  EXPECT_EQ(Code(backend().Stat("a", {})), "access denied");
  EXPECT_TRUE(auth_.Requests().empty());
}

// ---- Listings.

TEST_F(SwiftOriginTest, ListingsThatMakeNoSense) {
  const std::string deep = "[" + std::string(100'000, '[') + std::string(100'000, ']') + "]";
  for (const std::string& text : {std::string("<html></html>"), std::string("{}"), std::string("[{\"name\": \"a\""), deep,
                                  "[{\"name\": \"" + std::string(17 << 20, 'a') + "\"}]"}) {
    SetPage(text);
    EXPECT_EQ(Code(backend().List("", "", {})), "invalid") << text.substr(0, 40);
  }
  EXPECT_EQ(Code(backend().List("", "no cursor", {})), "invalid");
}

TEST_F(SwiftOriginTest, AListingThatGoesRoundInCirclesEnds) {
  SetPage(R"([{"name": "a", "bytes": 1}, {"name": "c", "bytes": 1}])");  // whatever is asked
  const auto first = backend().List("", "", {});
  ASSERT_OK(first);
  EXPECT_EQ(first->entries.size(), 2u);
  EXPECT_EQ(Code(backend().List("", first->next_cursor, {})), "invalid");
}

TEST_F(SwiftOriginTest, OddNamesInAListingAreLeftOut) {
  SetPage(R"([{"name": "\u0001"}, {"name": ".."}, {"name": "a\u0000b"}, {"name": "a/b"}, {"name": "good", "bytes": 1},
              {"subdir": "//"}, {"subdir": "x/"}])");
  const auto page = backend().List("", "", {});
  ASSERT_OK(page);
  ASSERT_EQ(page->entries.size(), 2u);
  EXPECT_EQ(page->entries[0].name, "good");
  EXPECT_EQ(page->entries[1].name, "x");
  EXPECT_TRUE(page->entries[1].is_directory);
}

TEST_F(SwiftOriginTest, AServerWithShorterPagesIsAskedForItsOwn) {
  OriginFile too_many;
  too_many.status = 412;
  storage_.Set("/v1/A/images?format=json&delimiter=%2F&limit=2000", too_many);
  for (int i = 0; i < 2; ++i) {
    const auto page = backend().List("", "", {});
    ASSERT_OK(page);
    EXPECT_EQ(page->entries.size(), 2u);
  }
  EXPECT_EQ(storage_.Requests("", "GET").size(), 3u) << "and that is remembered";
}

// ---- Objects.

TEST_F(SwiftOriginTest, StatsThatMakeNoSense) {
  UpdateObject([](OriginFile& file) { file.send_length = false; });
  EXPECT_EQ(Code(backend().Stat("a", {})), "invalid");
  UpdateObject([](OriginFile& file) { file.raw = "HTTP/1.1 200 OK\r\nEtag: x\r\nContent-Length: 99999999999999999999\r\n\r\n"; });
  EXPECT_NE(Code(backend().Stat("a", {})), "ok");
  SetObject("a", "hello");
  UpdateObject([](OriginFile& file) { file.etag = ""; });
  EXPECT_EQ(Code(backend().Stat("a", {})), "invalid") << "nothing to tell versions apart";
  UpdateObject([](OriginFile& file) { file.status = 498; });
  EXPECT_EQ(Code(backend().Stat("a", {})), "unavailable");
  UpdateObject([](OriginFile& file) { file.status = 500; });
  EXPECT_EQ(Code(backend().Stat("a", {})), "unavailable");
}

TEST_F(SwiftOriginTest, AnswersOfAnotherVersionOrPart) {
  options_.first_byte_timeout = options_.low_speed_time = std::chrono::seconds(1);
  const auto other = [](OriginFile& file) {
    file.etag = "\"00000000000000000000000000000000\"";
    file.conditions = false;  // and a server that knows no If-Match
  };
  EXPECT_EQ(FetchCode(other), "stale");
  EXPECT_EQ(FetchCode([&](OriginFile& file) { other(file), file.conditions = true; }), "stale");
  EXPECT_EQ(FetchCode([](OriginFile& file) { file.etag = "", file.conditions = false; }), "invalid");
  EXPECT_EQ(FetchCode([](OriginFile& file) { file.headers = {"X-Static-Large-Object: True"}; }), "stale");
  EXPECT_EQ(FetchCode([](OriginFile& file) { file.content = "hello world, longer"; }), "stale");
  EXPECT_EQ(FetchCode([](OriginFile& file) { file.trouble = Trouble::kWholeForRange; }), "not supported");
  EXPECT_EQ(FetchCode([](OriginFile& file) { file.trouble = Trouble::kWholeForRange; }, {0, 5}), "ok");
  EXPECT_EQ(FetchCode([](OriginFile& file) { file.trouble = Trouble::kWrongRange; }), "invalid");
  EXPECT_EQ(FetchCode([](OriginFile& file) { file.trouble = Trouble::kNoContentRange; }), "invalid");
  EXPECT_EQ(FetchCode([](OriginFile& file) { file.trouble = Trouble::kMultipart; }), "invalid");
  for (const Trouble trouble : {Trouble::kShortBody, Trouble::kChunkedShortBody, Trouble::kResetInBody})
    EXPECT_EQ(FetchCode([&](OriginFile& file) { file.trouble = trouble, file.trouble_after = 2; }), "unavailable");
  EXPECT_EQ(FetchCode([](OriginFile& file) { file.trouble = Trouble::kHangInBody, file.trouble_after = 2; }), "timed out");
  EXPECT_NE(FetchCode([](OriginFile& file) { file.trouble = Trouble::kLongBody; }), "stale");
  EXPECT_EQ(FetchCode([](OriginFile& file) { file.status = 409; }), "invalid");
  EXPECT_EQ(FetchCode([](OriginFile& file) { file.status = 404; }), "not found");
}

TEST_F(SwiftOriginTest, LargeObjectsThatMakeNoSense) {
  for (const char* manifest : {"images", "%zz/a", "../a", "images/", "none/big-"}) {
    SetObject("big", "", {std::string("X-Object-Manifest: ") + manifest});
    EXPECT_NE(Code(backend().Stat("big", {})), "ok") << manifest;
  }
  SetObject("big", "", {"X-Object-Manifest: images/big-"});
  const std::string hash = R"("hash": "5eb63bbbe01eeed093cb22bb8f5acdc3")";
  for (const std::string& page :
       {std::string(R"([{"name": "big-1", "bytes": 1}])"), std::string(R"([{"name": "big-1", "bytes": 1, "hash": "x"}])"),
        R"([{"name": "big-1", )" + hash + "}]", R"([{"name": "..", "bytes": 1, )" + hash + "}]", R"([{"subdir": "big-/"}])" + hash,
        R"([{"name": "big-1", "bytes": 9223372036854775807, )" + hash + R"(}, {"name": "big-2", "bytes": 9, )" + hash + "}]",
        R"([{"name": "big-1", "bytes": 18446744073709551615, )" + hash + "}]"}) {
    SetPage(page);
    EXPECT_EQ(Code(backend().Stat("big", {})), "invalid") << page;
  }
}

}  // namespace
}  // namespace glintfs::testing
