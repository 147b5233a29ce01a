// HttpBackend against a scripted origin: everything a server can do wrong.
#include <cstdlib>
#include <thread>

#include "backends/http/credentials.h"
#include "tests/backends/fetching.h"
#include "tests/support/origin.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

const char kDate[] = "Sun, 06 Nov 1994 08:49:37 GMT";

class HttpOriginTest : public ::testing::Test {
 protected:
  void SetUp() override {
    file_.content = content_;
    origin_.Set("/a.img", file_);
    OriginFile root;
    root.type = "text/html";
    root.content = "<html>welcome</html>";
    origin_.Set("/", root);
    Connect();
  }
  void UseShortTimeouts() {
    options_.low_speed_time = options_.first_byte_timeout = std::chrono::seconds(1);
    Connect();
  }
  void Connect() { backend_ = Make(origin_.url(), options_); }

  // Makes /a.img answer as `change` says.
  void Script(const std::function<void(OriginFile&)>& change) {
    origin_.Update("/a.img", [&](OriginFile& file) {
      file = file_;
      change(file);
    });
  }
  std::string StatCode() { return CodeOf(backend_->Stat("a.img", {})); }
  ImageInfo StatImage() {
    auto info = backend_->Stat("a.img", {});
    if (!info) throw std::runtime_error(info.error().ToString());
    return info->image;
  }
  std::unique_ptr<ImageReader> Open() { return std::move(*backend_->Open(StatImage(), {})); }
  // A fetch with the trouble set after the image was opened.
  std::string FetchCode(const std::function<void(OriginFile&)>& change, Extent extent = {1000, 200'000}) {
    Script([](OriginFile&) {});
    auto reader = Open();
    Script(change);
    StringSink sink;
    auto result = reader->Fetch(extent, sink, {});
    EXPECT_EQ(sink.text, content_.substr(extent.offset, sink.text.size())) << "never a wrong byte";
    return CodeOf(result);
  }
  std::string FetchCode(Trouble trouble, uint64_t after = 50'000) {
    return FetchCode([=](OriginFile& file) {
      file.trouble = trouble;
      file.trouble_after = after;
    });
  }

  const std::string content_ = PatternBytes(1'000'000);
  OriginFile file_;
  Origin origin_;
  BackendOptions options_ = QuickOptions();
  std::unique_ptr<Backend> backend_;
};

TEST_F(HttpOriginTest, StatTellsSizeAndVersion) {
  EXPECT_EQ(StatImage().id.version, "etag:\"v1\"");
  EXPECT_EQ(StatImage().size, content_.size());
  Script([](OriginFile& file) { file.etag = "W/\"v1\"", file.last_modified = kDate; });
  EXPECT_EQ(StatImage().id.version, "lm:784111777-1000000");
  EXPECT_EQ(StatImage().mtime, std::chrono::seconds(784111777));
  Script([](OriginFile& file) { file.etag = ""; });
  EXPECT_EQ(StatImage().id.version, "len:1000000");
}

TEST_F(HttpOriginTest, StatWithoutHeadOrLength) {
  Script([](OriginFile& file) { file.allow_head = false; });
  EXPECT_EQ(StatImage().size, content_.size());
  EXPECT_EQ(StatImage().id.version, "etag:\"v1\"");
  Script([](OriginFile& file) { file.allow_head = false, file.ranges = false; });
  EXPECT_EQ(StatImage().size, content_.size()) << "from the length of the 200";
  Script([](OriginFile& file) { file.allow_head = false, file.content = ""; });
  EXPECT_EQ(StatImage().size, 0u) << "416 bytes */0";
  Script([](OriginFile& file) { file.send_length = false; });
  EXPECT_EQ(StatImage().size, content_.size()) << "from Content-Range";
  Script([](OriginFile& file) { file.send_length = false, file.ranges = false; });
  EXPECT_EQ(StatCode(), "invalid") << "nothing tells the size";
}

TEST_F(HttpOriginTest, EmptyImage) {
  Script([](OriginFile& file) { file.content = ""; });
  EXPECT_EQ(StatImage().size, 0u);
  EXPECT_EQ(CodeOf(FetchText(*Open(), {0, 1})), "invalid") << "there is nothing to fetch";
}

TEST_F(HttpOriginTest, NonsenseHeadersAreInvalid) {
  for (const char* length : {"-5", "99999999999999999999999", "12abc", "5\r\nContent-Length: 6"}) {
    Script(
        [&](OriginFile& file) { file.raw = std::string("HTTP/1.1 200 OK\r\nContent-Length: ") + length + "\r\n\r\n"; });
    EXPECT_EQ(StatCode(), "invalid") << length;
  }
  Script([](OriginFile& file) { file.raw = "220 ftp.example ready\r\n\r\n"; });
  EXPECT_EQ(StatCode(), "invalid");
  Script([](OriginFile& file) { file.raw = "HTTP/1.1 200 OK\r\nX: " + std::string(400'000, 'x') + "\r\n\r\n"; });
  EXPECT_NE(StatCode(), "ok") << "endless headers";
}

TEST_F(HttpOriginTest, StatusCodes) {
  const std::vector<std::pair<int, std::string>> expected = {
      {404, "not found"},   {410, "not found"},   {401, "access denied"}, {403, "access denied"}, {429, "unavailable"},
      {500, "unavailable"}, {502, "unavailable"}, {503, "unavailable"},   {504, "unavailable"},   {418, "invalid"}};
  for (const auto& [status, code] : expected) {
    Script([&, wanted = status](OriginFile& file) { file.status = wanted; });
    EXPECT_EQ(StatCode(), code) << status;
    EXPECT_EQ(FetchCode([&, wanted = status](OriginFile& file) { file.status = wanted; }), code) << status;
  }
}

TEST_F(HttpOriginTest, DirectoriesByRedirectOrBySlash) {
  OriginFile redirect;
  redirect.headers = {"Location: /dir/"};
  for (const int status : {301, 302, 307, 308}) {
    redirect.status = status;
    origin_.Set("/dir", redirect);
    EXPECT_TRUE(backend_->Stat("dir", {})->is_directory) << status;
  }
  redirect.headers = {"Location: http://internal.invalid:8080/dir/"};  // a server behind a proxy
  origin_.Set("/dir", redirect);
  EXPECT_TRUE(backend_->Stat("dir", {})->is_directory);

  redirect.headers = {};  // nowhere
  for (const int status : {300, 301, 304}) {
    redirect.status = status;
    origin_.Set("/dir", redirect);
    EXPECT_EQ(CodeOf(backend_->Stat("dir", {})), "invalid") << status;
  }

  OriginFile page;
  origin_.Set("/plain/", page);
  EXPECT_TRUE(backend_->Stat("plain", {})->is_directory);
  page.status = 403;
  origin_.Set("/closed/", page);
  EXPECT_TRUE(backend_->Stat("closed", {})->is_directory);
  page.status = 500;
  origin_.Set("/broken/", page);
  EXPECT_EQ(CodeOf(backend_->Stat("broken", {})), "unavailable") << "not: not found";
  EXPECT_EQ(CodeOf(backend_->Stat("nothing", {})), "not found");
}

TEST_F(HttpOriginTest, TheRootDecidesAtMountTime) {
  EXPECT_TRUE(backend_->Stat("", {})->is_directory);
  origin_.Update("/", [](OriginFile& file) { file.status = 403; });
  EXPECT_TRUE(backend_->Stat("", {})->is_directory) << "no listing, but names may be there";
  origin_.Update("/", [](OriginFile& file) { file.status = 404; });
  EXPECT_EQ(CodeOf(backend_->Stat("", {})), "not found");
  origin_.Update("/", [](OriginFile& file) { file.status = 401; });
  EXPECT_EQ(CodeOf(backend_->Stat("", {})), "access denied");
  origin_.Update("/", [](OriginFile& file) { file.status = 503; });
  EXPECT_EQ(CodeOf(backend_->Stat("", {})), "unavailable");
}

TEST_F(HttpOriginTest, FetchAsksForTheVersion) {
  ASSERT_OK(FetchText(*Open(), {10, 20}));
  const auto by_etag = origin_.Requests("/a.img", "GET");
  ASSERT_EQ(by_etag.size(), 1u);
  EXPECT_EQ(by_etag[0].Header("range"), "bytes=10-29");
  EXPECT_EQ(by_etag[0].Header("if-match"), "\"v1\"");
  EXPECT_EQ(by_etag[0].Header("accept-encoding"), "");

  Script([](OriginFile& file) { file.etag = "", file.last_modified = kDate; });
  ASSERT_OK(FetchText(*Open(), {10, 20}));
  EXPECT_EQ(origin_.Requests("/a.img", "GET").back().Header("if-unmodified-since"), kDate);
}

TEST_F(HttpOriginTest, AChangedObjectIsStale) {
  EXPECT_EQ(FetchCode([](OriginFile& file) { file.etag = "\"v2\""; }), "stale") << "412";
  EXPECT_EQ(FetchCode([](OriginFile& file) { file.etag = "\"v2\"", file.conditions = false; }), "stale")
      << "a server that ignores If-Match";
  EXPECT_EQ(FetchCode([](OriginFile& file) { file.content += "x", file.conditions = false; }), "stale") << "total";
  EXPECT_EQ(FetchCode([](OriginFile& file) { file.content.resize(10); }), "stale") << "416";
  EXPECT_EQ(FetchCode([](OriginFile& file) { file.etag = "", file.conditions = false; }), "invalid")
      << "no ETag any more";
  file_.etag = "";
  file_.last_modified = kDate;
  EXPECT_EQ(FetchCode([](OriginFile& file) { file.last_modified = "Sun, 06 Nov 1994 08:49:38 GMT"; }), "stale");
  EXPECT_EQ(FetchCode([](OriginFile& file) {
              file.last_modified = "Sun, 06 Nov 1994 08:49:36 GMT";  // older than before
              file.conditions = false;
            }),
            "stale");
  file_.last_modified = "";
  EXPECT_EQ(FetchCode([](OriginFile& file) { file.content += "x"; }), "stale") << "length is all there is";
}

TEST_F(HttpOriginTest, AnImageThatBecameADirectoryIsStale) {
  EXPECT_EQ(FetchCode([](OriginFile& file) { file.status = 301, file.headers = {"Location: /a.img/"}; }), "stale");
}

TEST_F(HttpOriginTest, WrongAnswersToARange) {
  EXPECT_EQ(FetchCode(Trouble::kWrongRange), "invalid");
  EXPECT_EQ(FetchCode(Trouble::kNoContentRange), "invalid");
  EXPECT_EQ(FetchCode(Trouble::kMultipart), "invalid");
  EXPECT_EQ(FetchCode(Trouble::kWholeForRange), "not supported");
}

TEST_F(HttpOriginTest, WrongLengths) {
  EXPECT_EQ(FetchCode(Trouble::kShortBody), "unavailable");
  EXPECT_EQ(FetchCode(Trouble::kChunkedShortBody), "unavailable");
  EXPECT_EQ(FetchCode(Trouble::kLongBody), "invalid");
  EXPECT_EQ(FetchCode(Trouble::kResetInBody), "unavailable");
}

TEST_F(HttpOriginTest, Timeouts) {
  UseShortTimeouts();
  EXPECT_EQ(FetchCode(Trouble::kHangBeforeHeaders), "timed out") << "first_byte_timeout";
  EXPECT_EQ(FetchCode(Trouble::kHangInBody), "timed out") << "low_speed_time";
  Script([](OriginFile& file) { file.trouble = Trouble::kHangBeforeHeaders, file.trouble_on_head = true; });
  EXPECT_EQ(StatCode(), "timed out");
  EXPECT_EQ(FetchCode([](OriginFile& file) { file.bytes_per_second = 200; }, {0, 1000}), "timed out") << "too slow";
}

TEST_F(HttpOriginTest, ASlowReceiverIsNotASlowSource) {
  UseShortTimeouts();
  auto reader = Open();
  size_t seen = 0;
  CallbackSink sink([&](size_t bytes) {
    if (seen == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    seen = bytes;
    return true;
  });
  EXPECT_EQ(CodeOf(reader->Fetch({0, content_.size()}, sink, {})), "ok");
  EXPECT_EQ(seen, content_.size());
}

TEST_F(HttpOriginTest, CancellationIsImmediate) {
  options_.first_byte_timeout = options_.low_speed_time = std::chrono::hours(1);
  options_.fetch_deadline = options_.ask_deadline = std::chrono::hours(1);
  Connect();
  auto reader = Open();
  for (const Trouble trouble : {Trouble::kHangBeforeHeaders, Trouble::kHangInBody}) {
    Script([&](OriginFile& file) { file.trouble = trouble, file.trouble_after = 5; });
    std::stop_source stop;
    std::thread stopper([&] {
      EXPECT_TRUE(WaitFor([&] { return origin_.hanging() == 1; }));
      stop.request_stop();
    });
    EXPECT_EQ(CodeOf(FetchText(*reader, {0, 1000}, stop.get_token())), "cancelled");
    stopper.join();
    EXPECT_TRUE(WaitFor([&] { return origin_.hanging() == 0; })) << "the connection was left open";
  }
}

TEST_F(HttpOriginTest, AnExceptionOfTheReceiverDoesNotPassThroughLibcurl) {
  auto reader = Open();
  CallbackSink sink([](size_t) -> bool { throw std::runtime_error("disk on fire"); });
  EXPECT_EQ(CodeOf(reader->Fetch({0, 1000}, sink, {})), "I/O error");
  EXPECT_EQ(*FetchText(*reader, {0, 1000}), content_.substr(0, 1000));
}

TEST_F(HttpOriginTest, EnoughEndsTheTransferWithoutAnError) {
  auto reader = Open();
  StringSink sink(1000);
  EXPECT_EQ(CodeOf(reader->Fetch({0, content_.size()}, sink, {})), "ok");
  EXPECT_EQ(sink.text, content_.substr(0, sink.text.size()));
  EXPECT_TRUE(WaitFor([&] { return origin_.open_connections() <= 1; }));
}

TEST_F(HttpOriginTest, WithoutRangesOnlyTheBeginningCanBeRead) {
  Script([](OriginFile& file) { file.ranges = false; });
  auto reader = Open();
  EXPECT_EQ(*FetchText(*reader, {0, content_.size()}), content_);
  EXPECT_EQ(*FetchText(*reader, {0, 1000}), content_.substr(0, 1000));
  const size_t asked = origin_.Requests("/a.img", "GET").size();
  EXPECT_EQ(CodeOf(FetchText(*reader, {1000, 1000})), "not supported");
  EXPECT_EQ(origin_.Requests("/a.img", "GET").size(), asked) << "known by now";
}

TEST_F(HttpOriginTest, AcceptRangesNoneIsBelieved) {
  Script([](OriginFile& file) { file.ranges = false, file.headers = {"Accept-Ranges: none"}; });
  auto reader = Open();
  EXPECT_EQ(CodeOf(FetchText(*reader, {1000, 1000})), "not supported");
  EXPECT_TRUE(origin_.Requests("/a.img", "GET").empty()) << "without asking";
  EXPECT_EQ(*FetchText(*reader, {0, 1000}), content_.substr(0, 1000));
  EXPECT_EQ(origin_.Requests("/a.img", "GET").back().Header("range"), "");
  Script([](OriginFile&) {});
  EXPECT_EQ(*FetchText(*Open(), {1000, 1000}), content_.substr(1000, 1000)) << "a new stat takes it back";
}

TEST_F(HttpOriginTest, ASourceWithoutRangesIsResumedFromTheStart) {
  options_.retries = 3;
  Connect();
  Script([](OriginFile& file) {
    file.ranges = false;
    file.trouble = Trouble::kResetInBody;
    file.trouble_after = 300'000;
    file.trouble_times = 2;
  });
  auto reader = Open();
  EXPECT_EQ(*FetchText(*reader, {0, content_.size()}), content_);
}

TEST_F(HttpOriginTest, RetriesResume) {
  options_.retries = 3;
  Connect();
  auto reader = Open();
  Script([](OriginFile& file) {
    file.trouble = Trouble::kShortBody;
    file.trouble_after = 300'000;
    file.trouble_times = 2;
  });
  EXPECT_EQ(*FetchText(*reader, {0, content_.size()}), content_);
  const auto requests = origin_.Requests("/a.img", "GET");
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_EQ(requests[1].Header("range"), "bytes=300000-999999");
  EXPECT_EQ(requests[2].Header("range"), "bytes=600000-999999");
  EXPECT_TRUE(WaitFor([&] { return origin_.BytesSent("/a.img") >= content_.size(); }));
  EXPECT_EQ(origin_.BytesSent("/a.img"), content_.size()) << "each byte once";
}

TEST_F(HttpOriginTest, RetryAfterIsHonoured) {
  options_.retries = 5;
  Connect();
  Script([](OriginFile& file) { file.status = 503, file.status_times = 1, file.headers = {"Retry-After: 1"}; });
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(StatCode(), "ok");
  EXPECT_GE(origin_.Requests("/a.img").size(), 2u);
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

TEST_F(HttpOriginTest, ManyThreadsShareThePool) {
  auto reader = Open();
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      std::stop_source stopped;
      for (uint64_t round = 0; round < 30; ++round) {
        const Extent extent{(i * 7919 + round * 104'729) % 900'000, 1 + round * 3000};
        CallbackSink cancel([&](size_t) { return stopped.request_stop(), true; });
        if (round == 15) {
          EXPECT_EQ(CodeOf(reader->Fetch({0, content_.size()}, cancel, stopped.get_token())), "cancelled");
        }
        auto text = FetchText(*reader, extent);
        EXPECT_EQ(CodeOf(text), "ok");
        EXPECT_EQ(text.value_or(""), content_.substr(extent.offset, extent.length));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  uint64_t connections = 0;
  for (const OriginRequest& request : origin_.Requests()) connections = std::max(connections, request.connection);
  EXPECT_LE(connections, 8u + 8u) << "one per thread, and one more for each that was cut off";
}

TEST_F(HttpOriginTest, ConnectionsAreKeptAlive) {
  auto reader = Open();
  for (int i = 0; i < 10; ++i) ASSERT_OK(FetchText(*reader, {static_cast<uint64_t>(i) * 1000, 1000}));
  Script([](OriginFile& file) { file.etag = "\"v2\""; });
  EXPECT_EQ(CodeOf(FetchText(*reader, {0, 10})), "stale");
  EXPECT_EQ(CodeOf(backend_->Stat("missing", {})), "not found");
  for (const OriginRequest& request : origin_.Requests()) EXPECT_EQ(request.connection, 1u) << request.target;
}

TEST_F(HttpOriginTest, AnIdleConnectionThatWasClosedIsNoError) {
  auto reader = Open();
  Script([](OriginFile& file) { file.headers = {"Connection: close"}; });
  EXPECT_EQ(CodeOf(FetchText(*reader, {0, 10})), "ok");
  EXPECT_EQ(CodeOf(FetchText(*reader, {0, 10})), "ok");
}

TEST_F(HttpOriginTest, ARefusedConnectionIsUnavailable) {
  std::string url;
  {
    Origin gone;
    url = gone.url();
  }
  auto backend = Make(url, options_);
  EXPECT_EQ(CodeOf(backend->Stat("", {})), "unavailable");
  EXPECT_EQ(CodeOf(backend->Stat("a", {})), "unavailable");
  EXPECT_EQ(CodeOf(backend->List("", "", {})), "unavailable");
  EXPECT_EQ(CodeOf(Make("http://nowhere.invalid/", options_)->Stat("", {})), "unavailable");
}

TEST_F(HttpOriginTest, RedirectsAreFollowed) {
  OriginFile redirect;
  redirect.status = 302;
  redirect.headers = {"Location: /a.img"};
  origin_.Set("/link.img", redirect);
  auto info = backend_->Stat("link.img", {});
  ASSERT_OK(info);
  EXPECT_EQ(info->image.size, content_.size());
  auto reader = backend_->Open(info->image, {});
  EXPECT_EQ(*FetchText(**reader, {10, 1000}), content_.substr(10, 1000));

  redirect.headers = {"Location: /loop.img"};
  origin_.Set("/loop.img", redirect);
  EXPECT_EQ(CodeOf(backend_->Stat("loop.img", {})), "invalid");
  EXPECT_EQ(origin_.Requests("/loop.img").size(), 6u) << "five redirects";
  redirect.headers = {"Location: file:///etc/passwd"};
  origin_.Set("/file.img", redirect);
  EXPECT_EQ(CodeOf(backend_->Stat("file.img", {})), "invalid");
}

TEST_F(HttpOriginTest, ListingsOfOtherKindsAreNotSupported) {
  EXPECT_EQ(CodeOf(backend_->List("", "", {})), "not supported") << "a start page";
  origin_.Update("/", [](OriginFile& file) { file.status = 403; });
  EXPECT_EQ(CodeOf(backend_->List("", "", {})), "not supported");
  EXPECT_EQ(CodeOf(backend_->List("missing", "", {})), "not found");
  EXPECT_EQ(CodeOf(backend_->List("a.img", "", {})), "not a directory");
  origin_.Update("/", [](OriginFile& file) { file.status = 401; });
  EXPECT_EQ(CodeOf(backend_->List("", "", {})), "access denied");
  origin_.Update("/", [](OriginFile& file) { file.status = 503; });
  EXPECT_EQ(CodeOf(backend_->List("", "", {})), "unavailable");
  origin_.Update(
      "/", [](OriginFile& file) { file.status = 0, file.content = "<title>Index of /</title><a href='x'>x</a>"; });
  EXPECT_EQ(backend_->List("", "", {})->entries.size(), 1u);
  options_.listing = "none";
  Connect();
  EXPECT_EQ(CodeOf(backend_->List("", "", {})), "not supported");
}

class HttpCredentialsTest : public HttpOriginTest {
 protected:
  void UseFile(std::string BackendOptions::*setting, const std::string& content) {
    PutFile(dir_ / "secret", content);
    options_.*setting = dir_ / "secret";
    Connect();
  }
  TempDir dir_;
};

TEST_F(HttpCredentialsTest, AreSentToTheSource) {
  ASSERT_EQ(StatCode(), "ok");
  EXPECT_EQ(origin_.Requests("/a.img").back().Header("authorization"), "") << "none unless asked for";
  UseFile(&BackendOptions::user_file, "user:pass:word\n");
  ASSERT_EQ(StatCode(), "ok");
  EXPECT_EQ(origin_.Requests("/a.img").back().Header("authorization"), "Basic dXNlcjpwYXNzOndvcmQ=");
  options_.user_file = "";
  UseFile(&BackendOptions::token_file, "t0ken\r\n");
  ASSERT_EQ(StatCode(), "ok");
  EXPECT_EQ(origin_.Requests("/a.img").back().Header("authorization"), "Bearer t0ken");
}

TEST_F(HttpCredentialsTest, CanComeFromTheEnvironment) {
  ::setenv(kHttpTokenVariable, "from-env", 1);
  Connect();
  ::setenv(kHttpUserVariable, "no-colon", 1);
  EXPECT_EQ(CodeOf(MakeBackend(origin_.url(), options_)), "invalid");
  ::unsetenv(kHttpUserVariable);
  ::unsetenv(kHttpTokenVariable);
  ASSERT_EQ(StatCode(), "ok");
  EXPECT_EQ(origin_.Requests("/a.img").back().Header("authorization"), "Bearer from-env");
}

TEST_F(HttpCredentialsTest, StayWithTheirHost) {
  OriginFile redirect;
  redirect.status = 307;
  Origin other;
  other.Set("/a.img", file_);
  for (const bool token : {true, false}) {
    options_.user_file = options_.token_file = "";
    UseFile(token ? &BackendOptions::token_file : &BackendOptions::user_file, "hunter2:hunter2");
    for (const std::string& target :
         {"http://localhost:" + std::to_string(origin_.port()) + "/a.img", other.url() + "a.img"}) {
      redirect.headers = {"Location: " + target};
      origin_.Set("/away.img", redirect);
      ASSERT_EQ(CodeOf(backend_->Stat("away.img", {})), "ok");
      EXPECT_NE(origin_.Requests("/away.img").back().Header("authorization"), "");
    }
    redirect.headers = {"Location: /a.img"};
    origin_.Set("/here.img", redirect);
    EXPECT_EQ(origin_.Requests("/a.img").back().Header("authorization"), "") << "localhost is not 127.0.0.1";
    EXPECT_EQ(other.Requests("/a.img").back().Header("authorization"), "") << "another port is another host";
    ASSERT_EQ(CodeOf(backend_->Stat("here.img", {})), "ok");
    EXPECT_NE(origin_.Requests("/a.img").back().Header("authorization"), "") << "same origin";
  }
}

TEST_F(HttpCredentialsTest, AreNeverInErrors) {
  UseFile(&BackendOptions::user_file, "hunter2:hunter2");
  for (const int status : {401, 403, 404, 500, 418}) {
    Script([&](OriginFile& file) { file.status = status; });
    auto info = backend_->Stat("a.img", {});
    ASSERT_FALSE(info);
    EXPECT_EQ(info.error().message.find("hunter2"), std::string::npos) << info.error().message;
  }
  OriginFile redirect;
  redirect.status = 302;
  redirect.headers = {"Location: http://127.0.0.1:1/x?signature=hunter2"};
  origin_.Set("/signed.img", redirect);
  auto info = backend_->Stat("signed.img", {});
  ASSERT_FALSE(info);
  EXPECT_EQ(info.error().message.find("hunter2"), std::string::npos) << info.error().message;
}

}  // namespace
}  // namespace glintfs::testing
