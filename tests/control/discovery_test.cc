// What Glance's clients ask before they use /v2/cache.
#include "tests/control/control_test.h"

namespace glintfs::testing {
namespace {

using nlohmann::json;

class DiscoveryTest : public ControlTest {
 protected:
  void SetUp() override {
    StartServer();
    service_.AddImage(MakeImage("a.img", 1000, ImageState::kAbsent, 0));
    service_.AddImage(MakeImage("dir/b c.img", 2000, ImageState::kComplete, 2000));
    service_.AddImage(MakeImage("bad.img", 4000, ImageState::kInvalid, 4000));
  }
  std::vector<std::string> Ids(const std::string& target) {
    const RawReply reply = Ask("GET", target);
    EXPECT_EQ(reply.status, 200) << target << " " << reply.body;
    std::vector<std::string> ids;
    const json answer = Json(reply);
    for (const json& image : answer["images"]) ids.push_back(image["id"]);
    return ids;
  }
};

TEST_F(DiscoveryTest, VersionsWithTheStatusThatGlanceGives) {
  const RawReply root = Ask("GET", "/"), versions = Ask("GET", "/versions");
  EXPECT_EQ(root.status, 300);
  EXPECT_EQ(versions.status, 200);
  EXPECT_EQ(root.headers.at("content-type"), "application/json");
  EXPECT_EQ(root.body, versions.body);
  EXPECT_EQ(Ask("GET", "/v2").status, 200);
  EXPECT_EQ(Ask("GET", "/v2/").status, 200);
  const json list = Json(versions)["versions"];
  int current = 0;
  bool has_cache = false;
  for (const json& version : list) {
    current += version["status"] == "CURRENT" ? 1 : 0;
    has_cache = has_cache || (version["id"] == "v2.14" && version["status"] == "SUPPORTED");
    EXPECT_EQ(version["links"][0]["rel"], "self");
    EXPECT_EQ(version["links"][0]["href"], "http://localhost/v2/");
  }
  EXPECT_EQ(current, 1);
  EXPECT_TRUE(has_cache);
}

TEST_F(DiscoveryTest, LinksAreRelativeWhenTheHostIsNonsense) {
  for (const char* host : {"", "a b", "x\"y", "evil/path", "<script>"}) {
    RawClient client(path());
    client.Send("GET /versions HTTP/1.1\r\nHost: " + std::string(host) + "\r\n\r\n");
    const auto reply = client.Receive();
    ASSERT_TRUE(reply) << host;
    EXPECT_EQ(Json(*reply)["versions"][0]["links"][0]["href"], "/v2/") << host;
  }
}

TEST_F(DiscoveryTest, SchemasOfGlanceAndNoOthers) {
  for (const char* name : {"image", "images", "member", "metadefs/namespace", "metadefs/resource_type", "metadefs/tags"}) {
    const RawReply reply = Ask("GET", std::string("/v2/schemas/") + name);
    EXPECT_EQ(reply.status, 200) << name;
    EXPECT_TRUE(Json(reply)["properties"].is_object());
    EXPECT_TRUE(Json(reply)["name"].is_string());
  }
  EXPECT_EQ(Ask("GET", "/v2/schemas/nonsense").status, 404);
  EXPECT_EQ(Ask("GET", "/v2/schemas/").status, 404);
  EXPECT_EQ(Ask("PUT", "/v2/schemas/image").status, 405);
}

TEST_F(DiscoveryTest, ChecksumsOfWhatIsCached) {
  ImageStatus sha = MakeImage("sha.img", 1000, ImageState::kVerified, 1000), md5 = MakeImage("md5.img", 1000, ImageState::kVerified, 1000);
  sha.checksum = Checksum{"sha256", "abcd"};
  md5.checksum = Checksum{"md5", "1234"};
  service_.AddImage(sha);
  service_.AddImage(md5);
  const json one = Json(Ask("GET", "/v2/images/sha.img")), other = Json(Ask("GET", "/v2/images/md5.img"));
  EXPECT_EQ(one["os_hash_algo"], "sha256");
  EXPECT_EQ(one["os_hash_value"], "abcd");
  EXPECT_EQ(one["checksum"], nullptr);
  EXPECT_EQ(other["checksum"], "1234");
  EXPECT_EQ(other["os_hash_algo"], nullptr);
}

TEST_F(DiscoveryTest, AnImageOfTheSourceCachedOrNot) {
  const RawReply reply = Ask("GET", "/v2/images/a.img");
  EXPECT_EQ(reply.status, 200);
  const json image = Json(reply);
  EXPECT_EQ(image["id"], "a.img");
  EXPECT_EQ(image["status"], "active");
  EXPECT_EQ(image["size"], 1000);
  EXPECT_EQ(image["created_at"], "2020-09-13T12:26:40Z");
  EXPECT_EQ(Json(Ask("GET", "/v2/images/dir%2Fb%20c.img"))["self"], "/v2/images/dir%2Fb%20c.img");
  EXPECT_EQ(Json(Ask("GET", "/v2/images/dir/b%20c.img"))["id"], "dir/b c.img");
  // Clients ask by name after a 404, and only then.
  EXPECT_EQ(Ask("GET", "/v2/images/none").status, 404);
  EXPECT_EQ(Ask("GET", "/v2/images/..").status, 404);
  service_.FailNext("dir", Errc::kIsDirectory);
  EXPECT_EQ(Ask("GET", "/v2/images/dir").status, 404);
  service_.FailNext("a.img", Errc::kUnavailable);
  EXPECT_EQ(Ask("GET", "/v2/images/a.img").status, 503);
  EXPECT_EQ(Ask("DELETE", "/v2/images/a.img").status, 405);
}

TEST_F(DiscoveryTest, ImagesByNameOrId) {
  EXPECT_EQ(Ids("/v2/images?name=a.img"), std::vector<std::string>{"a.img"});
  EXPECT_EQ(Ids("/v2/images?name=eq:a.img&limit=2&sort_key=name"), std::vector<std::string>{"a.img"});
  EXPECT_EQ(Ids("/v2/images?name=dir/b+c.img"), std::vector<std::string>{"dir/b c.img"});
  EXPECT_EQ(Ids("/v2/images?id=a.img"), std::vector<std::string>{"a.img"});
  EXPECT_EQ(Ids("/v2/images?name=a.img&id=other"), std::vector<std::string>{});
  EXPECT_EQ(Ids("/v2/images?name=none"), std::vector<std::string>{});
  EXPECT_EQ(Ids("/v2/images?id=none"), std::vector<std::string>{});
  EXPECT_EQ(Ids("/v2/images?name=.."), std::vector<std::string>{});
  EXPECT_EQ(Ids("/v2/images?name=a.img&os_hidden=True"), std::vector<std::string>{});
  EXPECT_EQ(Ids("/v2/images?name=a.img&status=active"), std::vector<std::string>{"a.img"});
  EXPECT_EQ(Ids("/v2/images?name=a.img&status=queued"), std::vector<std::string>{});
  EXPECT_EQ(Json(Ask("GET", "/v2/images?name=a.img"))["first"], "/v2/images?name=a.img");
  service_.FailNext("a.img", Errc::kUnavailable);
  EXPECT_EQ(Ask("GET", "/v2/images?name=a.img").status, 503);
  EXPECT_EQ(Ask("GET", "/v2/images?id=a.img").status, 503);
}

TEST_F(DiscoveryTest, SeveralOfOneNameAreSeveralEntries) {
  service_.AddNamed("debian", MakeImage("id-1", 1000, ImageState::kAbsent, 0).info);
  service_.AddNamed("debian", MakeImage("id-2", 1000, ImageState::kAbsent, 0).info);
  EXPECT_EQ(Ids("/v2/images?name=debian"), (std::vector<std::string>{"id-1", "id-2"}));
  EXPECT_EQ(Ids("/v2/images?name=debian&id=id-2"), std::vector<std::string>{"id-2"});
  EXPECT_EQ(Json(Ask("GET", "/v2/images?name=debian"))["images"][0]["name"], "debian");
}

TEST_F(DiscoveryTest, WithoutANameTheCacheIsListedPageByPage) {
  EXPECT_EQ(Ids("/v2/images"), (std::vector<std::string>{"a.img", "dir/b c.img"}));
  const json page = Json(Ask("GET", "/v2/images?limit=1"));
  ASSERT_EQ(page["images"].size(), 1u);
  EXPECT_EQ(page["next"], "/v2/images?limit=1&marker=a.img");
  const json last = Json(Ask("GET", "/v2/images?limit=1&marker=a.img"));
  EXPECT_EQ(last["images"][0]["id"], "dir/b c.img");
  EXPECT_FALSE(last.contains("next"));
  EXPECT_EQ(Ids("/v2/images?limit=0"), std::vector<std::string>{});
  EXPECT_EQ(Ask("GET", "/v2/images?limit=x").status, 400);
  EXPECT_EQ(Ask("GET", "/v2/images?limit=-1").status, 400);
  EXPECT_EQ(Ask("GET", "/v2/images?marker=none").status, 400);
  EXPECT_EQ(Ask("POST", "/v2/images").status, 405);
}

}  // namespace
}  // namespace glintfs::testing
