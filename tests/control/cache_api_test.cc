// Glance's /v2/cache on the wire: shapes, codes and content types.
#include "tests/control/control_test.h"

namespace glintfs::testing {
namespace {

class CacheApiTest : public ControlTest {
 protected:
  void SetUp() override {
    StartServer();
    service_.AddImage(MakeImage("a.img", 1000, ImageState::kComplete, 1000));
    service_.AddImage(MakeImage("b.img", 2000, ImageState::kVerified, 2000));
    service_.AddImage(MakeImage("half.img", 4000, ImageState::kPartial, 2000));
    service_.AddImage(MakeImage("bad.img", 4000, ImageState::kInvalid, 4000));
  }
};

TEST_F(CacheApiTest, ListsWholeImagesAndTheQueue) {
  QueueEntry entry;
  entry.name = "dir/q.img";
  service_.AddQueued(entry);
  const RawReply reply = Ask("GET", "/v2/cache");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers.at("content-type"), "application/json");
  EXPECT_EQ(Json(reply), nlohmann::json::parse(R"({
    "cached_images": [
      {"image_id": "a.img", "hits": 7, "last_accessed": 1700000000.5, "last_modified": 1700000000.25, "size": 1000},
      {"image_id": "b.img", "hits": 7, "last_accessed": 1700000000.5, "last_modified": 1700000000.25, "size": 2000}],
    "queued_images": ["dir/q.img"]})"));
}

TEST_F(CacheApiTest, TimesAreFloatsEvenWhenWhole) {
  ImageStatus image = MakeImage("a.img", 1000, ImageState::kComplete, 1000);
  image.last_access = Nanos(0);
  service_.AddImage(image);
  EXPECT_TRUE(Json(Ask("GET", "/v2/cache"))["cached_images"][0]["last_accessed"].is_number_float());
}

TEST_F(CacheApiTest, AnEmptyCacheHasBothLists) {
  FakeService empty;
  auto other = ControlServer::Start({dir_ / "empty.sock", std::nullopt, {}}, empty);
  ASSERT_TRUE(other);
  EXPECT_EQ(testing::Ask(dir_ / "empty.sock", "GET", "/v2/cache").body, R"({"cached_images":[],"queued_images":[]})");
}

TEST_F(CacheApiTest, PutQueuesAndAnswers202WithoutABody) {
  const RawReply reply =
      Ask("PUT", "/v2/cache/new.img", "Content-Type: application/octet-stream\r\nX-Auth-Token: t\r\n");
  EXPECT_EQ(reply.status, 202);
  EXPECT_EQ(reply.body, "");
  EXPECT_EQ(reply.headers.at("content-length"), "0");
  EXPECT_EQ(service_.calls(), std::vector<std::string>{"queue new.img"});
}

TEST_F(CacheApiTest, NamesArePercentEncodedOrPlain) {
  EXPECT_EQ(Ask("PUT", "/v2/cache/dir%2Fsub%2Fa%20b%25.img").status, 202);
  EXPECT_EQ(Ask("PUT", "/v2/cache/dir/sub/c+d.img").status, 202);
  EXPECT_EQ(Ask("PUT", "/v2/cache/%c3%a9.img").status, 202);
  EXPECT_EQ(Ask("PUT", "http://localhost/v2/cache/absolute.img").status, 202);
  EXPECT_EQ(service_.calls(), (std::vector<std::string>{"queue dir/sub/a b%.img", "queue dir/sub/c+d.img",
                                                        "queue \xc3\xa9.img", "queue absolute.img"}));
}

TEST_F(CacheApiTest, BadNamesAre400) {
  for (const char* name :
       {"%", "%2", "%zz", "a%00b", "%2e%2e", "..", "a//b", "a%2F%2Fb", "dir/", "%0A", "a%2F..%2Fb"}) {
    EXPECT_EQ(Ask("PUT", std::string("/v2/cache/") + name).status, 400) << name;
    EXPECT_EQ(Ask("DELETE", std::string("/v2/cache/") + name).status, 400) << name;
  }
  EXPECT_TRUE(service_.calls().empty());
}

TEST_F(CacheApiTest, AnImageMayBeCalledPrune) {
  EXPECT_EQ(Ask("PUT", "/v2/cache/prune").status, 202);
  EXPECT_EQ(service_.calls(), std::vector<std::string>{"queue prune"});
}

struct FailureCase {
  Errc code;
  int status;
};
class CacheApiFailureTest : public CacheApiTest, public ::testing::WithParamInterface<FailureCase> {};

TEST_P(CacheApiFailureTest, IsAnErrorObject) {
  service_.FailNext("x.img", GetParam().code);
  const RawReply reply = Ask("PUT", "/v2/cache/x.img");
  EXPECT_EQ(reply.status, GetParam().status);
  EXPECT_EQ(reply.headers.at("content-type"), "application/json");
  const nlohmann::json error = Json(reply)["error"];
  EXPECT_EQ(error["code"], GetParam().status);
  EXPECT_NE(error["title"], "");
  EXPECT_EQ(error["message"], std::string(ErrcName(GetParam().code)) + ": x.img");
  EXPECT_EQ(reply.headers.count("retry-after"), GetParam().status == 503 ? 1u : 0u);
}

INSTANTIATE_TEST_SUITE_P(EveryErrc, CacheApiFailureTest,
                         ::testing::Values(FailureCase{Errc::kNotFound, 404}, FailureCase{Errc::kUnavailable, 503},
                                           FailureCase{Errc::kTimedOut, 503}, FailureCase{Errc::kAccessDenied, 502},
                                           FailureCase{Errc::kStale, 409}, FailureCase{Errc::kNotSupported, 501},
                                           FailureCase{Errc::kInvalid, 400}, FailureCase{Errc::kNoSpace, 507},
                                           FailureCase{Errc::kIo, 500}, FailureCase{Errc::kCorrupt, 500},
                                           FailureCase{Errc::kBusy, 409}, FailureCase{Errc::kCancelled, 503},
                                           FailureCase{Errc::kIsDirectory, 400},
                                           FailureCase{Errc::kNotDirectory, 404}));

TEST_F(CacheApiTest, DeleteOne) {
  const RawReply gone = Ask("DELETE", "/v2/cache/a.img");
  EXPECT_EQ(gone.status, 204);
  EXPECT_EQ(gone.headers.count("content-length"), 0u);
  EXPECT_EQ(Ask("DELETE", "/v2/cache/a.img").status, 404);
  service_.FailNext("b.img", Errc::kBusy);
  EXPECT_EQ(Ask("DELETE", "/v2/cache/b.img").status, 409);
}

TEST_F(CacheApiTest, DeleteAllHasATarget) {
  const std::vector<std::string> both = {"clear queue", "clear cache"};
  auto calls_for = [this](const std::string& headers) {
    const size_t before = service_.calls().size();
    EXPECT_EQ(Ask("DELETE", "/v2/cache", headers).status, 204) << headers;
    const auto calls = service_.calls();
    return std::vector<std::string>(calls.begin() + static_cast<ptrdiff_t>(before), calls.end());
  };
  EXPECT_EQ(calls_for(""), both);
  EXPECT_EQ(calls_for("x-image-cache-clear-target: both\r\n"), both);
  EXPECT_EQ(calls_for("X-Image-Cache-Clear-Target: cache\r\n"), std::vector<std::string>{"clear cache"});
  EXPECT_EQ(calls_for("x-image-cache-clear-target: QUEUE\r\n"), std::vector<std::string>{"clear queue"});
}

TEST_F(CacheApiTest, DeleteAllRefusesAnotherTarget) {
  EXPECT_EQ(Ask("DELETE", "/v2/cache", "x-image-cache-clear-target: everything\r\n").status, 400);
  EXPECT_TRUE(service_.calls().empty());
}

TEST_F(CacheApiTest, PruneAsInGlance) {
  const RawReply reply = Ask("POST", "/v2/cache/prune");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(Json(reply), nlohmann::json::parse(R"({"total_files_pruned": 2, "total_bytes_pruned": 3000000})"));
  EXPECT_EQ(service_.calls(), std::vector<std::string>{"prune low"});
}

TEST_F(CacheApiTest, PruneWithParametersNamesTheImages) {
  EXPECT_EQ(Json(Ask("POST", "/v2/cache/prune?to=5G&dry_run=true")), nlohmann::json::parse(R"({
    "total_files_pruned": 2, "total_bytes_pruned": 3000000, "dry_run": true, "images": ["old.img", "older.img"]})"));
  Ask("POST", "/v2/cache/prune", "", R"({"to": 1000})");
  Ask("POST", "/v2/cache/prune", "", R"({"to": "1Ki", "dry_run": true})");
  Ask("POST", "/v2/cache/prune?dry_run");
  Ask("POST", "/v2/cache/prune?dry_run=0");
  Ask("POST", "/v2/cache/prune", "", "{}");
  EXPECT_EQ(service_.calls(), (std::vector<std::string>{"prune 5000000000 dry", "prune 1000", "prune 1024 dry",
                                                        "prune low dry", "prune low", "prune low"}));
}

TEST_F(CacheApiTest, PruneRefusesWhatItDoesNotUnderstand) {
  for (const char* query : {"?dryrun=1", "?to=", "?to=-1", "?to=5X", "?dry_run=maybe", "?to=%zz"}) {
    EXPECT_EQ(Ask("POST", std::string("/v2/cache/prune") + query).status, 400) << query;
  }
  for (const char* body : {"[]", "x", "{", R"({"to": -1})", R"({"to": 1.5})", R"({"to": null})", R"({"dryrun": true})",
                           R"({"dry_run": 1})", "\xff\xfe"}) {
    EXPECT_EQ(Ask("POST", "/v2/cache/prune", "", body).status, 400) << body;
  }
  EXPECT_TRUE(service_.calls().empty());
}

TEST_F(CacheApiTest, CleanIsEmptyUnlessAskedForAReport) {
  const RawReply plain = Ask("POST", "/v2/cache/clean");
  EXPECT_EQ(plain.status, 200);
  EXPECT_EQ(plain.body, "");
  EXPECT_EQ(Json(Ask("POST", "/v2/cache/clean?report=1")),
            nlohmann::json::parse(
                R"({"total_files_cleaned": 1, "total_bytes_cleaned": 1000000, "images": ["stalled.img"]})"));
  EXPECT_EQ(Ask("POST", "/v2/cache/clean?report=perhaps").status, 400);
  EXPECT_EQ(service_.calls(), (std::vector<std::string>{"clean", "clean"}));
}

TEST_F(CacheApiTest, WrongVerbsAre405WithAllow) {
  auto allow = [this](const std::string& verb, const std::string& target) {
    const RawReply reply = Ask(verb, target);
    EXPECT_EQ(reply.status, 405) << verb << " " << target;
    return reply.headers.count("allow") ? reply.headers.at("allow") : "";
  };
  EXPECT_EQ(allow("PUT", "/v2/cache"), "DELETE, GET, HEAD");
  EXPECT_EQ(allow("POST", "/v2/cache"), "DELETE, GET, HEAD");
  EXPECT_EQ(allow("GET", "/v2/cache/a.img"), "DELETE, PUT");
  EXPECT_EQ(allow("POST", "/v2/cache/a.img"), "DELETE, PUT");
  EXPECT_EQ(allow("PATCH", "/v2/cache/a.img"), "DELETE, PUT");
  EXPECT_EQ(allow("GET", "/v2/cache/prune"), "DELETE, POST, PUT");
  EXPECT_EQ(allow("BREW", "/v2/cache/clean"), "DELETE, POST, PUT");
  EXPECT_EQ(allow("OPTIONS", "/v2/cache"), "DELETE, GET, HEAD");
  EXPECT_TRUE(service_.calls().empty());
}

}  // namespace
}  // namespace glintfs::testing
