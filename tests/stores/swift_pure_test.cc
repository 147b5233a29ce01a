// The pure parts of the swift backend: listings, headers, settings.
#include <cstdlib>

#include "backends/swift/answer.h"
#include "backends/swift/login.h"
#include "backends/swift/page.h"
#include "tests/backends/fetching.h"
#include "tests/stores/swift_environment.h"

namespace glintfs::testing {
namespace {

HttpHeaders HeadersOf(std::initializer_list<const char*> lines) {
  HttpHeaders headers;
  for (const char* line : lines) EXPECT_TRUE(headers.AddLine(line));
  return headers;
}

TEST(SwiftPageTest, EntriesAndDirectories) {
  const auto page = ParseSwiftPage(R"([
    {"bytes": 11, "hash": "5eb63bbbe01eeed093cb22bb8f5acdc3", "name": "pl\u00e4in", "content_type": "a/b", "new": {"x": [1, 2]}},
    {"subdir": "dir/"}, {"hash": "no name"}, {"name": 7}, {"name": "no size", "bytes": -1}])");
  ASSERT_OK(page);
  ASSERT_EQ(page->size(), 3u);
  EXPECT_EQ((*page)[0].name, "pläin");
  EXPECT_EQ((*page)[0].bytes, 11u);
  EXPECT_EQ((*page)[0].hash, "5eb63bbbe01eeed093cb22bb8f5acdc3");
  EXPECT_EQ((*page)[0].content_type, "a/b");
  EXPECT_FALSE((*page)[0].is_subdir);
  EXPECT_EQ((*page)[1].name, "dir/");
  EXPECT_TRUE((*page)[1].is_subdir);
  EXPECT_EQ((*page)[2].bytes, std::nullopt);
  const auto empty = ParseSwiftPage("[]");
  ASSERT_OK(empty);
  EXPECT_TRUE(empty->empty());
}

TEST(SwiftPageTest, WhatIsNoListingIsRefused) {
  const std::string deep = std::string(1'000'000, '[') + std::string(1'000'000, ']');
  const std::string deep_member = R"([{"name": "a", "x": )" + deep + "}]";
  std::string many = "[";
  for (int i = 0; i < 100'001; ++i) many += R"({"name":"a"},)";
  many.back() = ']';
  for (const std::string text : {"", "{}", "{\"name\": \"a\"}", "7", "null", "[1]", "[\"a\"]", "[{\"name\": \"a\"}",
                                 "[{\"name\": \"\xff\xfe\"}]", "[] []", "<html>", deep.c_str(), deep_member.c_str(), many.c_str()})
    EXPECT_EQ(CodeOf(ParseSwiftPage(text)), "invalid") << text.substr(0, 60);
  const auto harmless = ParseSwiftPage("[" + std::string(1'000'000, ' ') + "{}, {}, {}]");
  ASSERT_OK(harmless);
  EXPECT_TRUE(harmless->empty());
}

TEST(SwiftPageTest, SegmentsOfGlance) {
  const std::string uuid = "7f3c1c4e-0000-4000-8000-00000000dead";
  EXPECT_TRUE(IsUuid(uuid));
  EXPECT_EQ(GlanceManifestOf(uuid + "-00001"), uuid);
  EXPECT_EQ(GlanceManifestOf(uuid + "-123456"), uuid) << "more than 99,999 segments";
  for (const std::string& name : {uuid, uuid + "-", uuid + "-0001", uuid + "-0000x", uuid + "_00001", std::string("x-00001"),
                                  "x" + uuid + "-00001", std::string(36, 'a') + "-00001"})
    EXPECT_EQ(GlanceManifestOf(name), std::nullopt) << name;
}

TEST(SwiftAnswerTest, Versions) {
  EXPECT_EQ(SwiftVersion(HeadersOf({"Etag: 5eb63bbbe01eeed093cb22bb8f5acdc3"})), "md5:5eb63bbbe01eeed093cb22bb8f5acdc3");
  EXPECT_EQ(SwiftVersion(HeadersOf({"Etag: \"5eb63bbbe01eeed093cb22bb8f5acdc3\""})), "md5:5eb63bbbe01eeed093cb22bb8f5acdc3");
  EXPECT_EQ(SwiftVersion(HeadersOf({"Etag: \"5eb63bbbe01eeed093cb22bb8f5acdc3\"", "X-Static-Large-Object: True"})),
            "slo:5eb63bbbe01eeed093cb22bb8f5acdc3");
  EXPECT_EQ(SwiftVersion(HeadersOf({"Etag: \"5eb63bbb-3\""})), "etag:5eb63bbb-3");
  EXPECT_EQ(SwiftVersion(HeadersOf({"Etag: W/\"5eb63bbb\"", "X-Timestamp: 1795219336.11801"})), "ts:1795219336.11801");
  EXPECT_EQ(SwiftVersion(HeadersOf({"Last-Modified: Sat, 21 Nov 2026 00:02:17 GMT"})), std::nullopt);
  for (const char* odd : {"Etag: ", "Etag: \"\"", "Etag: a b", "Etag: a\"b", "Etag: a,b", "Etag: \x01"})
    EXPECT_EQ(SwiftEtag(HeadersOf({odd})), std::nullopt) << odd;
  EXPECT_EQ(SwiftEtag(HeadersOf({("Etag: " + std::string(300, 'a')).c_str()})), std::nullopt);
  EXPECT_EQ(SwiftCondition("md5:5eb6"), "If-Match: \"5eb6\"");
  EXPECT_EQ(SwiftCondition("ts:1795219336.11801"), "");
}

TEST(SwiftAnswerTest, Times) {
  EXPECT_EQ(SwiftMtime(HeadersOf({"X-Timestamp: 1795219336.11801"})), Nanos(1'795'219'336'118'010'000));
  EXPECT_EQ(SwiftMtime(HeadersOf({"X-Timestamp: 1795219336.11801", "X-Object-Meta-Mtime: 1699999999.123456789"})),
            Nanos(1'699'999'999'123'456'789));
  EXPECT_EQ(SwiftMtime(HeadersOf({"X-Object-Meta-Mtime: yesterday", "X-Timestamp: 7"})), std::chrono::seconds(7));
  EXPECT_EQ(SwiftMtime(HeadersOf({"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"})), std::chrono::seconds(784'111'777));
  for (const char* odd : {"X-Timestamp: -1", "X-Timestamp: 99999999999999", "X-Timestamp: 1.x", "X-Timestamp: .",
                          "X-Timestamp: 1.-1"})
    EXPECT_EQ(SwiftMtime(HeadersOf({odd})), Nanos(0)) << odd;
}

TEST(SwiftAnswerTest, Manifests) {
  const auto manifest = ManifestOf(HeadersOf({"X-Object-Manifest: im%20ages/dir/a%2Bb-"}));
  ASSERT_TRUE(manifest);
  EXPECT_EQ(manifest->container, "im ages");
  EXPECT_EQ(manifest->prefix, "dir/a+b-");
  EXPECT_FALSE(ManifestOf(HeadersOf({"X-Static-Large-Object: True"})));
  for (const char* odd : {"X-Object-Manifest: images", "X-Object-Manifest: %zz/a", "X-Object-Manifest: "}) {
    const auto found = ManifestOf(HeadersOf({odd}));
    ASSERT_TRUE(found) << odd;
    EXPECT_TRUE(found->container.empty()) << odd;
  }
}

TEST(SwiftAnswerTest, Checksums) {
  const std::string md5 = "5eb63bbbe01eeed093cb22bb8f5acdc3", sha256(64, 'A'), sha512(128, 'b');
  EXPECT_EQ(SwiftChecksum(HeadersOf({("Etag: " + md5).c_str()})), (Checksum{"md5", md5}));
  EXPECT_EQ(SwiftChecksum(HeadersOf({("Etag: " + md5).c_str(), ("X-Object-Meta-Sha256: " + sha256).c_str()})),
            (Checksum{"sha256", std::string(64, 'a')}));
  EXPECT_EQ(SwiftChecksum(HeadersOf({("X-Object-Meta-Sha512: " + sha512).c_str(), ("X-Object-Meta-Sha256: " + sha256).c_str()})),
            (Checksum{"sha512", sha512}));
  EXPECT_EQ(SwiftChecksum(HeadersOf({("Etag: " + md5).c_str(), "X-Object-Meta-Sha256: none"})), (Checksum{"md5", md5}));
  EXPECT_EQ(SwiftChecksum(HeadersOf({("Etag: \"" + md5 + "\"").c_str(), "X-Static-Large-Object: True"})), std::nullopt);
  EXPECT_EQ(SwiftChecksum(HeadersOf({("Etag: \"" + md5 + "\"").c_str(), "X-Object-Manifest: a/b"})), std::nullopt);
}

// ---- Settings.

std::string MadeFrom(const std::string& source, const BackendOptions& options = QuickOptions()) {
  const auto backend = MakeBackend(source, options);
  return backend ? (*backend)->source() : backend.error().ToString();
}

TEST(SwiftSettingsTest, Sources) {
  const SwiftEnvironment environment({{"ST_AUTH", "http://127.0.0.1:9/auth/v1.0"}, {"ST_USER", "acme:joe"}, {"ST_KEY", "hush"}});
  EXPECT_EQ(MadeFrom("swift://images"), "swift://acme@127.0.0.1:9/auth/v1.0/images/");
  EXPECT_EQ(MadeFrom("swift://im ages%20+ü/"), "swift://acme@127.0.0.1:9/auth/v1.0/im ages%20+ü/");
  EXPECT_EQ(MadeFrom("swift://images/a/b//"), "swift://acme@127.0.0.1:9/auth/v1.0/images/a/b/");
  for (const char* odd : {"swift://", "swift:///a", "swift://..", "swift://images/../other", "swift://images/a//b",
                          "swift://im\nages"})
    EXPECT_TRUE(MadeFrom(odd).starts_with("invalid: ")) << odd << ": " << MadeFrom(odd);
}

TEST(SwiftSettingsTest, SaysWhatToSet) {
  const SwiftEnvironment nothing({});
  const std::string error = MadeFrom("swift://images");
  for (const char* word : {"OS_CLOUD", "ST_AUTH", "ST_USER", "ST_KEY", "OS_STORAGE_URL"})
    EXPECT_NE(error.find(word), std::string::npos) << error;
}

TEST(SwiftSettingsTest, OddSettingsAreRefused) {
  const std::map<std::string, std::string> good = {{"ST_AUTH", "http://127.0.0.1:9/v1"}, {"ST_USER", "joe"}, {"ST_KEY", "hush-83"}};
  const std::pair<const char*, const char*> odd[] = {
      {"ST_AUTH", "ftp://127.0.0.1/"},   {"ST_AUTH", "nonsense"},    {"ST_AUTH", "http://joe:hush-83@127.0.0.1/"},
      {"ST_KEY", "hush-83\r\nX-Evil: 1"}, {"ST_USER", "a\nb: c"},    {"ST_AUTH_VERSION", "3"},
      {"OS_STORAGE_URL", "file:///etc"}};
  for (const auto& [name, value] : odd) {
    auto variables = good;
    variables[name] = value;
    const SwiftEnvironment environment(variables);
    const std::string error = MadeFrom("swift://images");
    EXPECT_TRUE(error.starts_with("invalid: ")) << name << "=" << value << ": " << error;
    EXPECT_EQ(error.find("hush-83"), std::string::npos) << error;
  }
  const SwiftEnvironment token({{"OS_STORAGE_URL", "http://127.0.0.1:9/v1/A"}, {"OS_AUTH_TOKEN", "a\nb"}});
  EXPECT_TRUE(MadeFrom("swift://images").starts_with("invalid: "));
}

}  // namespace
}  // namespace glintfs::testing
