// Router, percent-encoding and request targets, without a server.
#include "control/router.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "fs/base/percent.h"
#include "control/work_queue.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

TEST(PercentTest, EncodesAllButUnreserved) {
  EXPECT_EQ(PercentEncode("aZ09-._~"), "aZ09-._~");
  EXPECT_EQ(PercentEncode("a/b c%\xff\n"), "a%2Fb%20c%25%FF%0A");
}

TEST(PercentTest, RoundTripsEveryByte) {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  EXPECT_EQ(PercentDecode(PercentEncode(all)), all);
}

TEST(PercentTest, Decodes) {
  EXPECT_EQ(PercentDecode("a%2fb%2F+"), "a/b/+");
  EXPECT_EQ(PercentDecode("a+b", true), "a b");
  EXPECT_EQ(PercentDecode("%41"), "A");
  for (const char* bad : {"%", "%4", "a%", "%4g", "%g4", "%%41"}) EXPECT_EQ(PercentDecode(bad), std::nullopt) << bad;
}

TEST(TargetTest, SplitsPathAndQuery) {
  HttpRequest request;
  ASSERT_TRUE(ParseTarget("/a%2Fb?x=1&y=a%20b+c&flag&x=2&&=z", request));
  EXPECT_EQ(request.path, "/a%2Fb");
  EXPECT_EQ(request.query, (std::map<std::string, std::string>{{"x", "2"}, {"y", "a b c"}, {"flag", ""}, {"", "z"}}));
}

TEST(TargetTest, TakesAbsoluteUrls) {
  HttpRequest request;
  ASSERT_TRUE(ParseTarget("http://host:80/x", request));
  EXPECT_EQ(request.path, "/x");
  ASSERT_TRUE(ParseTarget("https://[::1]:80/y?z", request));
  EXPECT_EQ(request.path, "/y");
  ASSERT_TRUE(ParseTarget("HTTP://host", request));
  EXPECT_EQ(request.path, "/");
}

TEST(TargetTest, RefusesTheRest) {
  for (const char* bad : {"", "*", "x", "host:80", "/a?%", "ftp://host/"}) {
    HttpRequest request;
    EXPECT_FALSE(ParseTarget(bad, request)) << bad;
  }
}

TEST(HeaderTest, NamesHaveNoCase) {
  HttpRequest request;
  request.headers = {{"X-A", "1"}, {"x-a", "2"}};
  EXPECT_EQ(request.Header("x-A"), "1");
  EXPECT_EQ(request.Header("x-b"), std::nullopt);
}

HttpRequest Request(const std::string& method, const std::string& path) {
  HttpRequest request;
  request.method = method;
  request.path = path;
  return request;
}

RouteHandler Says(const std::string& text) {
  return [text](const HttpRequest&, const std::string& image) {
    HttpResponse response;
    response.body = text + ":" + image;
    return response;
  };
}

TEST(RouterTest, LiteralsWinWhateverTheOrder) {
  const Router router({{"PUT", "/c/{image}", Says("one")}, {"PUT", "/c/all", Says("all")}});
  EXPECT_EQ(router.Handle(Request("PUT", "/c/all")).body, "all:");
  EXPECT_EQ(router.Handle(Request("PUT", "/c/all/x")).body, "one:all/x");
  EXPECT_EQ(router.Handle(Request("PUT", "/c/%61ll")).body, "one:all");
}

TEST(RouterTest, MethodsAreCaseSensitive) {
  const Router router({{"GET", "/a", Says("a")}});
  EXPECT_EQ(router.Handle(Request("GET", "/a")).status, 200);
  EXPECT_EQ(router.Handle(Request("get", "/a")).status, 405);
}

TEST(RouterTest, AHandlerThatThrowsIs500) {
  const Router router(
      {{"GET", "/a", [](const HttpRequest&, const std::string&) -> HttpResponse { throw std::runtime_error("x"); }}});
  EXPECT_EQ(router.Handle(Request("GET", "/a")).status, 500);
}

TEST(WorkQueueTest, RunsInOrderAndStops) {
  std::vector<int> seen;
  std::atomic<bool> done = false;
  WorkQueue queue("test", 1);
  for (int i = 0; i < 10; ++i) queue.Post([&seen, i] { seen.push_back(i); });
  queue.Post([&done] { done = true; });
  EXPECT_TRUE(WaitFor([&] { return done.load(); }));
  queue.Stop();
  queue.Post([&seen] { seen.push_back(99); });
  queue.Stop();
  EXPECT_EQ(seen, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

}  // namespace
}  // namespace glintfs::testing
