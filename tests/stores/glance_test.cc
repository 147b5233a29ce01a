// What only Glance has: its records and names, and answers of a scripted Image API that no real one gives.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "backends/glance/image_record.h"
#include "tests/backends/fetching.h"
#include "tests/stores/os_environment.h"
#include "tests/support/openstack.h"
#include "tests/support/origin.h"

namespace glintfs::testing {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

constexpr char kA[] = "aaaaaaaa-0000-4000-8000-000000000001";
constexpr char kB[] = "bbbbbbbb-0000-4000-8000-000000000002";
constexpr char kC[] = "cccccccc-0000-4000-8000-000000000003";

std::string CodeName(Errc code) { return std::string(ErrcName(code)); }

json ImageJson(const std::string& id, const std::string& name = "n", uint64_t size = 10) {
  return {{"id", id}, {"name", name}, {"status", "active"}, {"size", size}, {"checksum", std::string(32, 'c')},
          {"os_hash_algo", "sha512"}, {"os_hash_value", std::string(128, 'd')}, {"created_at", "2023-01-02T03:04:05Z"},
          {"updated_at", "2023-02-02T03:04:05Z"}};
}

// ---- Pure parts.

TEST(GlanceTest, IdsOfImages) {
  EXPECT_TRUE(IsUuid(kA));
  EXPECT_TRUE(IsUuid("ABCDEF01-2345-6789-abcd-ef0123456789"));
  for (const char* wrong : {"", "a", "aaaaaaaa-0000-4000-8000-00000000000", "aaaaaaaa-0000-4000-8000-0000000000010",
                            "aaaaaaaag0000-4000-8000-000000000001", "gaaaaaaa-0000-4000-8000-000000000001",
                            "aaaaaaaa-0000-4000-8000_000000000001", "../aaaaa-0000-4000-8000-000000000001"})
    EXPECT_FALSE(IsUuid(wrong)) << wrong;
}

TEST(GlanceTest, Versions) {
  ImageRecord image{.id = kA,
                    .name = {},
                    .status = "active",
                    .size = 7,
                    .checksum = "0a",
                    .hash_algo = "sha512",
                    .hash_value = "ff",
                    .created_at = "c",
                    .updated_at = "u"};
  EXPECT_EQ(VersionOf(image), "sha512:ff");
  image.hash_value = "";
  EXPECT_EQ(VersionOf(image), "md5:0a");
  image.checksum = "";
  EXPECT_EQ(VersionOf(image), "at:u-7");
  EXPECT_EQ(ChecksumIn("sha512:ff")->algorithm, "sha512");
  EXPECT_EQ(ChecksumIn("md5:0a")->hex, "0a");
  EXPECT_EQ(ChecksumIn("at:u-7"), std::nullopt);
  EXPECT_EQ(ChecksumIn("sha3_512:ff"), std::nullopt);
}

TEST(GlanceTest, PagesOfImages) {
  json odd = ImageJson(kB, "odd");
  odd["size"] = nullptr;
  odd["checksum"] = "no hex";
  odd["os_hash_algo"] = "two words";
  odd["locations"] = json::array({{{"url", "rbd://secret"}}});
  const json body = {{"images", {ImageJson(kA), odd, {{"id", "../../etc/passwd"}}, {{"id", 5}}, 7, nullptr, ImageJson(kC, "\n")}},
                     {"next", "http://elsewhere/v2/images?marker=x"}};
  const auto page = ParseImagePage(body.dump());
  ASSERT_OK(page);
  EXPECT_TRUE(page->more);
  ASSERT_EQ(page->images.size(), 3u);
  EXPECT_EQ(page->images[0].size, 10u);
  EXPECT_EQ(page->images[1].size, std::nullopt);
  EXPECT_EQ(page->images[1].checksum, "");
  EXPECT_EQ(page->images[1].hash_algo, "");
  for (const char* wrong : {"", "[]", "{}", "{\"images\": {}}", "{\"images\": [", "<html>"})
    EXPECT_EQ(CodeOf(ParseImagePage(wrong)), CodeName(Errc::kInvalid)) << wrong;
  for (const char* size : {"-1", "1.5", "18446744073709551616", "\"10\"", "[]", "true"}) {
    const auto image = ParseImage(std::string(R"({"status": "active", "id": ")") + kA + R"(", "size": )" + size + "}");
    ASSERT_OK(image);
    EXPECT_EQ(image->size, std::nullopt) << size;
  }
}

TEST(GlanceTest, NamesOfImages) {
  std::vector<ImageRecord> images;
  const auto add = [&](const std::string& id, const std::string& name, const std::string& status = "active") {
    images.push_back({.id = id, .name = name, .status = status, .size = 1, .checksum = {}, .hash_algo = {}, .hash_value = {},
                      .created_at = {}, .updated_at = {}});
  };
  add(kA, "twice");
  add(kB, "twice");
  add(kC, std::string("twice~") + kA);  // looks like one of the two
  for (const char* name : {"", ".", "..", "a/b", "/", "new\nline", "\x7f"}) add(UuidFor(name), name);
  add(UuidFor("long"), std::string(256, 'x'));
  add(UuidFor("queued"), "queued", "queued");
  add(UuidFor("ü"), "ünïcode with space");
  const std::map<std::string, std::string> expected = {
      {std::string("twice~") + kA, kA}, {std::string("twice~") + kB, kB}, {"ünïcode with space", UuidFor("ü")}};
  EXPECT_EQ(ShownNames(images), expected);
  EXPECT_EQ(SplitShownName(std::string("x~y~") + kA)->name, "x~y");
  EXPECT_EQ(SplitShownName(std::string("~") + kA), std::nullopt);
  EXPECT_EQ(SplitShownName("twice"), std::nullopt);
}

// ---- Sources.

TEST(GlanceTest, Sources) {
  OsEnvironment environment;
  const auto source = [](const std::string& text) {
    const auto backend = MakeBackend(text, QuickOptions());
    return backend ? (*backend)->source() : CodeOf(backend);
  };
  EXPECT_EQ(source("glance://h"), "glance://h:9292/");
  EXPECT_EQ(source("glance://H:80/image/v2"), "glance://h:80/image/");
  EXPECT_EQ(source("glance+https://h/"), "glance+https://h:9292/");
  EXPECT_EQ(source("glance+https://[::1]:443/x"), "glance+https://[::1]:443/x/");
  for (const char* wrong : {"glance://", "glance:///x", "glance://u:p@h", "glance://h?x", "glance://h:port"})
    EXPECT_EQ(source(wrong), CodeName(Errc::kInvalid)) << wrong;
  environment.Set("OS_AUTH_URL", "https://keystone:5000/v3");
  environment.Set("OS_USERNAME", "u");
  environment.Set("OS_PASSWORD", "p");
  environment.Set("OS_REGION_NAME", "R");
  EXPECT_EQ(source("glance://"), "glance:///keystone:5000/v3/R/");
}

// ---- A scripted Image API.

class GlanceScripted : public ::testing::Test {
 protected:
  GlanceScripted() {
    options_ = QuickOptions();
    options_.openstack.names = true;
    options_.first_byte_timeout = options_.low_speed_time = std::chrono::seconds(2);
  }
  Backend& backend() {
    if (!backend_) backend_ = Make("glance://127.0.0.1:" + std::to_string(origin_.port()), options_);
    return *backend_;
  }
  void Set(const std::string& path, const std::string& content) {
    OriginFile file;
    file.content = content;
    file.etag = "";
    origin_.Set(path, file);
  }
  // Also its data, with ranges.
  void SetImage(const std::string& id, const std::string& bytes) {
    Set("/v2/images/" + id, ImageJson(id, "n", bytes.size()).dump());
    Set("/v2/images/" + id + "/file", bytes);
  }
  std::string StatCode(const std::string& name) { return CodeOf(backend().Stat(name, {})); }
  std::unique_ptr<ImageReader> Open(const std::string& id) {
    const auto info = backend().Stat(id, {});
    if (!info) throw std::runtime_error(info.error().ToString());
    return std::move(*backend().Open(info->image, {}));
  }
  std::string File(const std::string& id) const { return "/v2/images/" + id + "/file"; }

  OsEnvironment environment_;
  Origin origin_;
  BackendOptions options_;
  std::unique_ptr<Backend> backend_;
};

TEST_F(GlanceScripted, WhatIsNoIdIsNotAskedFor) {
  for (const char* name : {"x", "by-name2", "aaaaaaaa-0000-4000-8000-00000000000z"})
    EXPECT_EQ(StatCode(name), CodeName(Errc::kNotFound));
  EXPECT_THAT(origin_.Requests(), IsEmpty());
}

TEST_F(GlanceScripted, ImagesThatCannotBeShown) {
  json image = ImageJson(kA);
  for (const char* status : {"queued", "saving", "importing", "deactivated", "killed", "deleted", "pending_delete", "new-word"}) {
    image["status"] = status;
    Set(std::string("/v2/images/") + kA, image.dump());
    EXPECT_EQ(StatCode(kA), CodeName(Errc::kNotFound)) << status;
  }
  image["status"] = "active";
  for (const json& size : {json(nullptr), json(-1), json(9'300'000'000'000'000'000ull), json("5"), json(1e30)}) {
    image["size"] = size;
    Set(std::string("/v2/images/") + kA, image.dump());
    EXPECT_EQ(StatCode(kA), CodeName(Errc::kInvalid)) << size;
  }
  Set(std::string("/v2/images/") + kA, ImageJson(kB).dump());
  EXPECT_EQ(StatCode(kA), CodeName(Errc::kNotFound)) << "another image";
  for (const std::string& nonsense : {std::string("{}"), std::string(900'000, '['), std::string(2 << 20, ' '), std::string("\"")}) {
    Set(std::string("/v2/images/") + kA, nonsense);
    EXPECT_EQ(StatCode(kA), CodeName(Errc::kInvalid));
  }
}

TEST_F(GlanceScripted, StatusesOfTheApi) {
  for (const auto& [status, code] : {std::pair(404, Errc::kNotFound), {401, Errc::kAccessDenied}, {403, Errc::kAccessDenied},
                                     {300, Errc::kInvalid}, {429, Errc::kUnavailable}, {503, Errc::kUnavailable}}) {
    OriginFile file;
    file.status = status;
    origin_.Set("/v2/images", file);
    EXPECT_EQ(StatCode(""), CodeName(code)) << status;
  }
  EXPECT_EQ(StatCode(""), CodeName(Errc::kUnavailable));
}

TEST_F(GlanceScripted, ANextPageIsAskedForHereWhereverItIsSaidToBe) {
  Origin other;
  const std::string base = "/v2/images?limit=1000&status=active&sort=id:asc";
  json first = {{"images", {ImageJson(kA), ImageJson(kB)}}, {"next", other.url() + "v2/images?marker=" + kB}};
  Set(base, first.dump());
  Set(base + "&marker=" + kB, json{{"images", {ImageJson(kC)}}}.dump());
  const auto page = backend().List("", "", {});
  ASSERT_OK(page);
  EXPECT_EQ(page->entries.size(), 3u) << "by-name/ and two images";
  const auto second = backend().List("", page->next_cursor, {});
  ASSERT_OK(second);
  EXPECT_EQ(second->entries.at(0).name, kC);
  EXPECT_EQ(second->next_cursor, "");
  EXPECT_THAT(other.Requests(), IsEmpty());
  // The marker was deleted meanwhile: the one before it serves as well.
  origin_.Update(base + "&marker=" + kB, [](OriginFile& file) { file.status = 400; });
  Set(base + "&marker=" + kA, json{{"images", {ImageJson(kC)}}}.dump());
  const auto again = backend().List("", page->next_cursor, {});
  ASSERT_OK(again);
  EXPECT_EQ(again->entries.at(0).name, kC);
  for (const char* cursor : {"x", "1:", "1:x", ":", "99999999999999999999999:aaaaaaaa-0000-4000-8000-000000000001"})
    EXPECT_EQ(CodeOf(backend().List("", cursor, {})), CodeName(Errc::kInvalid)) << cursor;
}

TEST_F(GlanceScripted, AListingWithoutEndIsNotFollowed) {
  Set("/v2/images", json{{"images", {ImageJson(kA)}}, {"next", "/v2/images?marker=x"}}.dump());
  const auto page = backend().List("", "", {});
  ASSERT_OK(page);
  EXPECT_EQ(CodeOf(backend().List("", page->next_cursor, {})), CodeName(Errc::kInvalid));
  EXPECT_EQ(CodeOf(backend().List("by-name", "", {})), CodeName(Errc::kInvalid));
  Set("/v2/images", json{{"images", json::array()}, {"next", "/v2/images?marker=x"}}.dump());
  EXPECT_EQ(CodeOf(backend().List("", "", {})), CodeName(Errc::kInvalid));
}

TEST_F(GlanceScripted, NamesThatMatchOnlyNearlyAreNotTheOne) {
  Set("/v2/images", json{{"images", {ImageJson(kA, "Name"), ImageJson(kB, "name"), ImageJson(kC, "NAME")}}}.dump());
  const auto info = backend().Stat("by-name/name", {});
  ASSERT_OK(info);
  EXPECT_TRUE(info->alias);
  EXPECT_EQ(info->image.id.name, kB);
  EXPECT_EQ(StatCode("by-name/nAME"), CodeName(Errc::kNotFound));
  EXPECT_EQ(StatCode("by-name/a/b"), CodeName(Errc::kNotFound));
  EXPECT_EQ(origin_.Requests().back().target, "/v2/images?limit=1000&status=active&name=eq:nAME");
  EXPECT_EQ(CodeOf(backend().List(kA, "", {})), CodeName(Errc::kNotFound));
  EXPECT_EQ(CodeOf(backend().List("by-name/name", "", {})), CodeName(Errc::kNotDirectory));
}

TEST_F(GlanceScripted, AStoreWithoutRangesIsReadFromTheStart) {
  const std::string bytes = PatternBytes(300'000);
  SetImage(kA, bytes);
  // 400 to anything with a Range header.
  origin_.Update(File(kA), [](OriginFile& file) { file.refuse_ranges = 400; });
  const auto reader = Open(kA);
  EXPECT_EQ(CodeOf(FetchText(*reader, {100'000, 5})), CodeName(Errc::kNotSupported));
  const size_t asked = origin_.Requests(File(kA)).size();
  EXPECT_EQ(asked, 1u);
  EXPECT_EQ(CodeOf(FetchText(*reader, {200'000, 5})), CodeName(Errc::kNotSupported));
  EXPECT_EQ(origin_.Requests(File(kA)).size(), asked) << "known by now";
  EXPECT_TRUE(FetchText(*reader, {0, bytes.size()}).value_or("") == bytes);
  EXPECT_TRUE(FetchText(*reader, {0, 70'000}).value_or("") == bytes.substr(0, 70'000));
  EXPECT_EQ(origin_.Requests(File(kA)).back().Header("range"), "");

  backend_.reset();  // and without knowing it, at the start
  EXPECT_TRUE(FetchText(*Open(kA), {0, 70'000}).value_or("") == bytes.substr(0, 70'000));
}

TEST_F(GlanceScripted, TheImageIsCheckedOncePerReader) {
  const std::string bytes = PatternBytes(100'000);
  SetImage(kA, bytes);
  const auto reader = Open(kA);
  const size_t before = origin_.Requests(std::string("/v2/images/") + kA).size();
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(FetchText(*reader, {1000, 2000}).value_or("") == bytes.substr(1000, 2000));
  EXPECT_EQ(origin_.Requests(std::string("/v2/images/") + kA).size(), before + 1);
}

TEST_F(GlanceScripted, AnotherImageOfThatIdIsStale) {
  SetImage(kA, PatternBytes(100'000));
  const auto early = Open(kA), late = Open(kA);
  EXPECT_TRUE(FetchText(*early, {0, 10}).has_value());
  json image = ImageJson(kA, "n", 100'000);
  image["os_hash_value"] = std::string(128, 'e');
  image["checksum"] = std::string(32, 'e');
  Set(std::string("/v2/images/") + kA, image.dump());
  origin_.Update(File(kA), [](OriginFile& file) { file.headers = {"Content-MD5: " + std::string(32, 'e')}; });
  EXPECT_EQ(CodeOf(FetchText(*early, {0, 10})), CodeName(Errc::kStale)) << "by Content-MD5";
  EXPECT_EQ(CodeOf(FetchText(*late, {0, 10})), CodeName(Errc::kStale)) << "by its metadata";
}

TEST_F(GlanceScripted, AnswersToAFetch) {
  SetImage(kA, PatternBytes(100'000));
  const auto reader = Open(kA);
  ASSERT_OK(FetchText(*reader, {0, 10}));
  for (const auto& [status, code] : {std::pair(204, Errc::kNotFound), {403, Errc::kAccessDenied}, {404, Errc::kNotFound},
                                     {410, Errc::kNotFound}, {416, Errc::kStale}, {401, Errc::kAccessDenied}, {409, Errc::kInvalid},
                                     {500, Errc::kUnavailable}, {503, Errc::kUnavailable}}) {
    origin_.Update(File(kA), [&, now = status](OriginFile& file) { file.status = now; });
    EXPECT_EQ(CodeOf(FetchText(*reader, {500, 10})), CodeName(code)) << status;
  }
  origin_.Update(File(kA), [](OriginFile& file) { file.status = 0; });
  for (const auto& [trouble, code] : {std::pair(Trouble::kShortBody, Errc::kUnavailable),
                                      {Trouble::kChunkedShortBody, Errc::kUnavailable},
                                      {Trouble::kLongBody, Errc::kInvalid},
                                      {Trouble::kWrongRange, Errc::kInvalid},
                                      {Trouble::kNoContentRange, Errc::kInvalid},
                                      {Trouble::kMultipart, Errc::kInvalid},
                                      {Trouble::kResetInBody, Errc::kUnavailable},
                                      {Trouble::kHangInBody, Errc::kTimedOut}}) {
    origin_.Update(File(kA), [&, now = trouble](OriginFile& file) { file.trouble = now; });
    EXPECT_EQ(CodeOf(FetchText(*reader, {500, 10})), CodeName(code)) << static_cast<int>(trouble);
  }
  origin_.Update(File(kA), [](OriginFile& file) {
    file.trouble = Trouble::kNone;
    file.content.resize(50'000);
  });
  EXPECT_EQ(CodeOf(FetchText(*reader, {500, 10})), CodeName(Errc::kStale)) << "another size";
}

TEST_F(GlanceScripted, AWholeAnswerToARangeIsItsBeginningOnly) {
  const std::string bytes = PatternBytes(100'000);
  SetImage(kA, bytes);
  origin_.Update(File(kA), [](OriginFile& file) { file.trouble = Trouble::kWholeForRange; });
  const auto reader = Open(kA);
  EXPECT_TRUE(FetchText(*reader, {0, 10}).value_or("") == bytes.substr(0, 10));
  EXPECT_EQ(CodeOf(FetchText(*reader, {10, 10})), CodeName(Errc::kNotSupported));
}

TEST_F(GlanceScripted, DeactivatedImagesCannotBeFetched) {
  SetImage(kA, PatternBytes(100));
  const auto reader = Open(kA);
  json image = ImageJson(kA, "n", 100);
  image["status"] = "deactivated";
  Set(std::string("/v2/images/") + kA, image.dump());
  EXPECT_EQ(CodeOf(FetchText(*reader, {0, 10})), CodeName(Errc::kAccessDenied));
  origin_.Remove(std::string("/v2/images/") + kA);
  EXPECT_EQ(CodeOf(FetchText(*reader, {0, 10})), CodeName(Errc::kNotFound));
}

// A Keystone beside it, whose token the API wants to see.
class GlanceScriptedLogin : public GlanceScripted {
 protected:
  void SetUp() override {
    environment_.Set("OS_AUTH_URL", origin_.url());
    environment_.Set("OS_USERNAME", "u");
    environment_.Set("OS_PASSWORD", "hidden-thing");
    Give("one");
  }
  void Give(const std::string& token) {
    OriginFile file;
    file.headers = {"X-Subject-Token: " + token};
    file.content = json{{"token",
                         {{"expires_at", "2030-01-01T01:00:00Z"},
                          {"issued_at", "2030-01-01T00:00:00Z"},
                          {"catalog",
                           {{{"type", "image"},
                             {"endpoints", {{{"region", "R"}, {"interface", "public"}, {"url", origin_.url() + "img/v2"}}}}}}}}}}
                       .dump();
    origin_.Set("/v3/auth/tokens", file);
  }
  void Want(const std::string& path, const std::string& token) {
    origin_.Update(path, [&](OriginFile& file) { file.require = "X-Auth-Token: " + token; });
  }
};

TEST_F(GlanceScriptedLogin, ATokenThatIsRefusedIsRenewedInTheMiddle) {
  SetImage(kA, PatternBytes(1000));
  for (const std::string& path : {std::string("/v2/images/") + kA, File(kA)}) Want(path, "one");
  const auto reader = Open(kA);
  ASSERT_OK(FetchText(*reader, {0, 10}));
  Give("two");
  for (const std::string& path : {std::string("/v2/images/") + kA, File(kA)}) Want(path, "two");
  EXPECT_EQ(FetchText(*reader, {10, 10}).value_or(""), PatternBytes(1000).substr(10, 10));
  EXPECT_EQ(origin_.Requests("/v3/auth/tokens").size(), 2u);
  Want(File(kA), "never");
  const auto refused = FetchText(*reader, {10, 10});
  EXPECT_EQ(CodeOf(refused), CodeName(Errc::kAccessDenied));
  EXPECT_THAT(refused.error().message, HasSubstr("user default/u"));
  EXPECT_THAT(refused.error().message, Not(HasSubstr("two")));
}

TEST_F(GlanceScriptedLogin, TheCatalogueTellsWhere) {
  backend_ = Make("glance://", options_);
  Set("/img/v2/images", json{{"images", {ImageJson(kA)}}}.dump());
  Want("/img/v2/images", "one");
  const auto page = backend().List("", "", {});
  ASSERT_OK(page);
  EXPECT_EQ(page->entries.size(), 2u);
  EXPECT_EQ(backend().source(), "glance:///127.0.0.1:" + std::to_string(origin_.port()) + "/v3/");
}

}  // namespace
}  // namespace glintfs::testing
