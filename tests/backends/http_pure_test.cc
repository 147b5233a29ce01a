// URLs, headers, versions and range answers: the parts of backends/http that need no network.
#include "backends/http/headers.h"
#include "backends/http/range.h"
#include "backends/http/speed_guard.h"
#include "backends/http/url.h"
#include "fs/base/percent.h"
#include "tests/backends/fetching.h"

namespace glintfs::testing {
namespace {

HttpHeaders Headers(const std::vector<std::string>& lines) {
  HttpHeaders headers;
  for (const std::string& line : lines) headers.AddLine(line + "\r\n");
  return headers;
}

TEST(HttpUrl, EncodesNames) {
  const HttpUrl base = *ParseSourceUrl("http://host/images");
  EXPECT_EQ(base.Below("a b/c%d?#.img").Text(), "http://host/images/a%20b/c%25d%3F%23.img");
  EXPECT_EQ(base.Below("").Text(), "http://host/images/");
  EXPECT_EQ(base.Below("é").Text(), "http://host/images/%C3%A9");
  for (const std::string& text : {std::string("plain-._~"), std::string("a/b +&=\xff%", 10), std::string("\0x", 2)})
    EXPECT_EQ(PercentDecode(PercentEncode(text)), text);
  EXPECT_EQ(PercentDecode("%2"), std::nullopt);
  EXPECT_EQ(PercentDecode("%zz"), std::nullopt);
  EXPECT_EQ(PercentDecode("a%"), std::nullopt);
}

TEST(HttpUrl, ResolvesReferences) {
  const HttpUrl base = *ParseHttpUrl("http://host:8080/a/b");
  EXPECT_EQ(ResolveUrl(base, "/x/")->Text(), "http://host:8080/x/");
  EXPECT_EQ(ResolveUrl(base, "c")->Text(), "http://host:8080/a/c");
  EXPECT_EQ(ResolveUrl(base, "//other/y")->Text(), "http://other/y");
  EXPECT_EQ(ResolveUrl(base, "https://OTHER:443/y?q=1#f")->Text(), "https://other/y?q=1");
  EXPECT_EQ(ResolveUrl(base, "http://user:pw@other/")->Text(), "http://other/");
  EXPECT_EQ(CodeOf(ResolveUrl(base, "ftp://other/")), "invalid");
  EXPECT_EQ(CodeOf(ResolveUrl(base, "file:///etc/passwd")), "invalid");
}

TEST(HttpHeaders, ContentLength) {
  EXPECT_EQ(*Headers({"content-LENGTH:  42 "}).ContentLength(), 42u);
  EXPECT_EQ(*Headers({}).ContentLength(), std::nullopt);
  EXPECT_EQ(*Headers({"Content-Length: 7", "Content-Length: 7"}).ContentLength(), 7u);
  for (const char* bad : {"-1", "", "1x", "0x10", "9223372036854775808", "99999999999999999999999"})
    EXPECT_EQ(CodeOf(Headers({std::string("Content-Length: ") + bad}).ContentLength()), "invalid") << bad;
  EXPECT_EQ(CodeOf(Headers({"Content-Length: 7", "Content-Length: 8"}).ContentLength()), "invalid");
  HttpHeaders headers;
  EXPECT_TRUE(headers.AddLine("a: b\r\n", 10));
  EXPECT_FALSE(headers.AddLine("c: defgh\r\n", 10)) << "a limit";
}

TEST(HttpHeaders, ContentRange) {
  const auto range = ParseContentRange("bytes 5-9/100");
  ASSERT_TRUE(range);
  EXPECT_EQ(range->first, 5u);
  EXPECT_EQ(range->last, 9u);
  EXPECT_EQ(range->total, 100u);
  EXPECT_TRUE(range->satisfied());
  EXPECT_EQ(ParseContentRange("bytes 0-0/*")->total, std::nullopt);
  EXPECT_FALSE(ParseContentRange("bytes */0")->satisfied());
  EXPECT_EQ(ParseContentRange("bytes */0")->total, 0u);
  for (const char* bad : {"", "bytes", "bytes 5-9", "bytes 9-5/100", "bytes 5-9/9", "bytes -5/10", "items 5-9/100",
                          "bytes 5-/10", "bytes */*", "bytes 5-9/1x", "bytes 0-99999999999999999999/*"})
    EXPECT_FALSE(ParseContentRange(bad)) << bad;
}

TEST(HttpHeaders, RetryAfter) {
  const Nanos now = std::chrono::seconds(784'111'777);  // Sun, 06 Nov 1994 08:49:37 GMT
  EXPECT_EQ(RetryAfter(Headers({"Retry-After: 3"}), now), std::chrono::seconds(3));
  EXPECT_EQ(RetryAfter(Headers({"Retry-After: Sun, 06 Nov 1994 08:49:47 GMT"}), now), std::chrono::seconds(10));
  EXPECT_EQ(RetryAfter(Headers({"Retry-After: Sun, 06 Nov 1994 08:49:27 GMT"}), now), Nanos(0)) << "in the past";
  EXPECT_EQ(RetryAfter(Headers({"Retry-After: 999999999"}), now), std::chrono::hours(1));
  EXPECT_EQ(RetryAfter(Headers({"Retry-After: soon"}), now), Nanos(0));
  EXPECT_EQ(RetryAfter(Headers({}), now), Nanos(0));
}

TEST(HttpVersion, StrongEtagThenDateThenLength) {
  const std::string date = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT";
  EXPECT_EQ(MakeHttpVersion(Headers({"ETag: \"abc\"", date}), 5), "etag:\"abc\"");
  EXPECT_EQ(MakeHttpVersion(Headers({"ETag: W/\"abc\"", date}), 5), "lm:784111777-5") << "a weak one is none";
  EXPECT_EQ(MakeHttpVersion(Headers({"ETag: abc", date}), 5), "lm:784111777-5") << "not quoted";
  EXPECT_EQ(MakeHttpVersion(Headers({"ETag: W/\"abc\""}), 5), "len:5");
  EXPECT_EQ(MakeHttpVersion(Headers({"Last-Modified: yesterday"}), 5), "len:5");
  EXPECT_TRUE(IsLengthOnly("len:5"));
  EXPECT_FALSE(IsLengthOnly("lm:1-5"));
}

TEST(HttpVersion, ConditionsAndChecks) {
  EXPECT_EQ(ConditionFor("etag:\"a\""), "If-Match: \"a\"");
  EXPECT_EQ(ConditionFor("lm:784111777-5"), "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(ConditionFor("len:5"), "");
  const std::string date = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT";
  EXPECT_EQ(CodeOf(CheckVersion(Headers({"ETag: \"a\""}), "etag:\"a\"")), "ok");
  EXPECT_EQ(CodeOf(CheckVersion(Headers({"ETag: \"b\""}), "etag:\"a\"")), "stale");
  EXPECT_EQ(CodeOf(CheckVersion(Headers({"ETag: W/\"a\""}), "etag:\"a\"")), "invalid");
  EXPECT_EQ(CodeOf(CheckVersion(Headers({}), "etag:\"a\"")), "invalid");
  EXPECT_EQ(CodeOf(CheckVersion(Headers({date}), "lm:784111777-5")), "ok");
  EXPECT_EQ(CodeOf(CheckVersion(Headers({date}), "lm:784111776-5")), "stale");
  EXPECT_EQ(CodeOf(CheckVersion(Headers({}), "lm:784111776-5")), "invalid");
  EXPECT_EQ(CodeOf(CheckVersion(Headers({}), "len:5")), "ok");
}

class RangeAnswerTest : public ::testing::Test {
 protected:
  // The answer to a GET of bytes 10-19 of an object of 100 bytes.
  std::string Check(long status, std::vector<std::string> lines, Extent extent = {10, 10}) {
    lines.push_back("ETag: \"v\"");
    OriginResponse response;
    response.status = status;
    response.headers = Headers(lines);
    auto answer = CheckRangeAnswer(request_, response, extent, 100, "etag:\"v\"");
    if (!answer) return std::string(ErrcName(answer.error().code));
    return *answer == RangeAnswer::kExact ? "exact" : "prefix";
  }
  const OriginRequest request_{
      .head = false, .url = *ParseHttpUrl("http://host/a"), .headers = {}, .stop_at_directory = true};
};

TEST_F(RangeAnswerTest, TakesOnlyTheVeryRange) {
  EXPECT_EQ(Check(206, {"Content-Range: bytes 10-19/100", "Content-Length: 10"}), "exact");
  EXPECT_EQ(Check(206, {"Content-Range: bytes 10-19/*"}), "exact");
  EXPECT_EQ(Check(206, {"Content-Range: bytes 10-18/100"}), "invalid");
  EXPECT_EQ(Check(206, {"Content-Range: bytes 11-20/100"}), "invalid");
  EXPECT_EQ(Check(206, {"Content-Range: bytes 10-19/101"}), "stale");
  EXPECT_EQ(Check(206, {"Content-Range: bytes 10-19/100", "Content-Length: 9"}), "invalid");
  EXPECT_EQ(Check(206, {}), "invalid");
  EXPECT_EQ(Check(206, {"Content-Type: multipart/byteranges; boundary=x"}), "invalid");
  EXPECT_EQ(Check(206, {"Content-Range: bytes 10-19/100", "ETag: \"w\""}), "stale");
}

TEST_F(RangeAnswerTest, AWholeObjectIsNoChunk) {
  EXPECT_EQ(Check(200, {"Content-Length: 100"}), "not supported");
  EXPECT_EQ(Check(200, {"Content-Length: 100"}, {0, 10}), "prefix");
  EXPECT_EQ(Check(200, {}, {0, 100}), "prefix");
  EXPECT_EQ(Check(200, {"Content-Length: 99"}, {0, 10}), "stale");
}

TEST_F(RangeAnswerTest, Statuses) {
  EXPECT_EQ(Check(412, {}), "stale");
  EXPECT_EQ(Check(416, {}), "stale");
  EXPECT_EQ(Check(301, {}), "invalid");
  EXPECT_EQ(Check(404, {}), "not found");
  EXPECT_EQ(Check(410, {}), "not found");
  EXPECT_EQ(Check(401, {}), "access denied");
  EXPECT_EQ(Check(403, {}), "access denied");
  EXPECT_EQ(Check(429, {}), "unavailable");
  EXPECT_EQ(Check(500, {}), "unavailable");
  EXPECT_EQ(Check(503, {}), "unavailable");
  EXPECT_EQ(Check(418, {}), "invalid");
  EXPECT_EQ(Check(204, {}), "invalid");
}

TEST(SpeedGuard, SeesStandstillButNotASlowReader) {
  using std::chrono::seconds;
  SpeedGuard guard(1000, seconds(10), seconds(0));
  guard.AddBytes(10'000);
  EXPECT_FALSE(guard.TooSlow(seconds(9)));
  EXPECT_FALSE(guard.TooSlow(seconds(10))) << "just enough";
  guard.AddBytes(9'999);
  EXPECT_FALSE(guard.TooSlow(seconds(19)));
  guard.AddBusy(seconds(100));
  EXPECT_FALSE(guard.TooSlow(seconds(119))) << "the receiver took 100 s";
  EXPECT_EQ(guard.next_check(), seconds(120));
  EXPECT_TRUE(guard.TooSlow(seconds(120)));

  SpeedGuard any(0, seconds(1), seconds(0));
  EXPECT_TRUE(any.TooSlow(seconds(1))) << "nothing at all";
  SpeedGuard off(1000, seconds(0), seconds(0));
  EXPECT_FALSE(off.TooSlow(seconds(1'000'000)));
}

}  // namespace
}  // namespace glintfs::testing
