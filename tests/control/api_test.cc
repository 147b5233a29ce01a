// Our own routes, /v1.
#include "tests/control/control_test.h"

namespace glintfs::testing {
namespace {

class AdminApiTest : public ControlTest {
 protected:
  void SetUp() override { StartServer(); }
};

TEST_F(AdminApiTest, Status) {
  ServiceStatus status;
  status.version = "0.1.0";
  status.source = "http://host/images/";
  status.mountpoint = "/mnt";
  status.cache_directory = "/var/cache/glintfs";
  status.uptime = std::chrono::milliseconds(1500);
  status.fill = "full";
  status.chunk_size = 262144;
  status.cache.used_bytes = 123;
  status.cache.images = 5;
  status.cache.bytes_fetched[1] = 77;
  service_.SetStatus(status);
  const RawReply reply = Ask("GET", "/v1/status");
  EXPECT_EQ(reply.status, 200);
  const nlohmann::json json = Json(reply);
  EXPECT_EQ(json["version"], "0.1.0");
  EXPECT_EQ(json["source"], "http://host/images/");
  EXPECT_EQ(json["uptime_seconds"], 1.5);
  EXPECT_EQ(json["health"], "ok");
  EXPECT_EQ(json["problems"], nlohmann::json::array());
  EXPECT_EQ(json["limits"]["max_size"], 10'000'000'000);
  EXPECT_EQ(json["limits"]["stall_seconds"], 86400.0);
  EXPECT_EQ(json["use"]["used_bytes"], 123);
  EXPECT_EQ(json["images"]["total"], 5);
  EXPECT_EQ(json["counters"]["bytes_fetched"]["readahead"], 77);
}

TEST_F(AdminApiTest, StatusTellsWhatIsWrong) {
  ServiceStatus status;
  status.source_reachable = false;
  status.source_error = "connection refused";
  status.cache.storage_error = "read-only file system";
  service_.SetStatus(status);
  const nlohmann::json json = Json(Ask("GET", "/v1/status"));
  EXPECT_EQ(json["health"], "degraded");
  EXPECT_EQ(json["problems"], (nlohmann::json{"source: connection refused", "cache: read-only file system"}));
}

TEST_F(AdminApiTest, StatusTellsOfADiskWithoutRoom) {
  const auto problems = [this](double min_free, uint64_t available, uint64_t used) {
    ServiceStatus status;
    status.cache.limits.min_free = min_free;
    status.cache.disk_total = 100 << 20;
    status.cache.disk_available = available;
    status.cache.used_bytes = used;
    service_.SetStatus(status);
    return Json(Ask("GET", "/v1/status"))["problems"];
  };
  const nlohmann::json none = nlohmann::json::array();
  EXPECT_EQ(problems(0.9, 80 << 20, 0),
            nlohmann::json{"cache: the disk has 80.0 MiB available, min_free keeps 90.0 MiB: nothing new is cached, but in place of what "
                           "can be evicted"});
  EXPECT_EQ(problems(0.05, 0, 10 << 20).size(), 1u) << "full of something else";
  EXPECT_EQ(problems(0.05, (5 << 20) - 4096, 90 << 20), none) << "as large as the disk allows";
  EXPECT_EQ(problems(0.05, 6 << 20, 0), none);
  EXPECT_EQ(problems(0, 0, 0), none);
}

TEST_F(AdminApiTest, Images) {
  ImageStatus image = MakeImage("dir/a b.img", 1'000'000, ImageState::kPartial, 262144);
  image.pinned = true;
  image.filling = true;
  image.open_count = 2;
  image.fill_rate = 1e6;
  image.error = "connection reset";
  image.checksum = Checksum{"sha256", "abcd"};
  service_.AddImage(image);
  const nlohmann::json one = Json(Ask("GET", "/v1/images/dir%2Fa%20b.img"));
  EXPECT_EQ(one, nlohmann::json::parse(R"({
    "name": "dir/a b.img", "href": "/v1/images/dir%2Fa%20b.img", "version": "v1", "size": 1000000, "mtime": 1600000000.0,
    "state": "partial", "chunk_size": 262144, "chunks": 4, "chunks_present": 1, "cached_bytes": 262144, "disk_bytes": 262144,
    "hits": 7, "last_access": 1700000000.5, "last_progress": 1700000000.25, "pinned": true, "filling": true, "open_count": 2,
    "fill_rate": 1000000.0, "error": "connection reset", "checksum": {"algorithm": "sha256", "value": "abcd"},
    "checksum_asked": true,
    "scrub": {"state": "never", "checked_bytes": 0, "bad_chunks": 0, "finished": null, "error": ""}})"));
  EXPECT_EQ(Json(Ask("GET", "/v1/images")), (nlohmann::json{{"images", {one}}}));
  EXPECT_EQ(Json(Ask("GET", "/v1/images/dir/a%20b.img")), one);
}

TEST_F(AdminApiTest, ImageUnknownOrMalformed) {
  EXPECT_EQ(Ask("GET", "/v1/images/none.img").status, 404);
  EXPECT_EQ(Ask("GET", "/v1/images/%2e%2e").status, 400);
  EXPECT_EQ(Json(Ask("GET", "/v1/images/none.img"))["error"]["message"], "nothing is cached of none.img");
}

TEST_F(AdminApiTest, ANameThatIsNotUtf8) {
  service_.AddImage(MakeImage("\xff.img", 1000, ImageState::kComplete, 1000));
  const nlohmann::json image = Json(Ask("GET", "/v1/images"))["images"][0];
  EXPECT_EQ(image["name"], "\xef\xbf\xbd.img");
  EXPECT_EQ(image["href"], "/v1/images/%FF.img");
  EXPECT_EQ(Ask("GET", "/v1/images/%FF.img").status, 200);
}

TEST_F(AdminApiTest, WithoutRoomItIsDegraded) {
  ServiceStatus status = service_.Status();
  status.cache.no_room = true;
  service_.SetStatus(status);
  const auto answer = Json(Ask("GET", "/v1/status"));
  EXPECT_EQ(answer["health"], "degraded");
  EXPECT_NE(answer["problems"].dump().find("nothing can be evicted"), std::string::npos);
}

TEST_F(AdminApiTest, Queue) {
  service_.AddImage(MakeImage("now.img", 1000, ImageState::kPartial, 250));
  QueueEntry running, failed, waiting;
  running.name = "now.img";
  running.running = true;
  running.added = std::chrono::seconds(1'700'000'000);
  failed.name = "bad.img";
  failed.attempts = 3;
  failed.next_try = std::chrono::seconds(1'700'000'100);
  failed.error = "timed out";
  service_.AddQueued(running);
  waiting.name = "later.img";
  waiting.size = 4096;
  service_.AddQueued(failed);
  service_.AddQueued(waiting);
  EXPECT_EQ(Json(Ask("GET", "/v1/queue")), nlohmann::json::parse(R"({"queue": [
    {"name": "now.img", "href": "/v1/images/now.img", "added": 1700000000.0, "attempts": 0, "next_try": null, "error": "",
     "running": true, "size": 1000, "cached_bytes": 250, "fill_rate": 0.0},
    {"name": "bad.img", "href": "/v1/images/bad.img", "added": null, "attempts": 3, "next_try": 1700000100.0,
     "error": "timed out", "running": false, "size": null, "cached_bytes": null, "fill_rate": null},
    {"name": "later.img", "href": "/v1/images/later.img", "added": null, "attempts": 0, "next_try": null, "error": "",
     "running": false, "size": 4096, "cached_bytes": null, "fill_rate": null}]})"));
}

TEST_F(AdminApiTest, Pins) {
  EXPECT_EQ(Ask("PUT", "/v1/pins/dir%2Fa.img").status, 204);
  EXPECT_EQ(Ask("DELETE", "/v1/pins/dir/a.img").status, 204);
  EXPECT_EQ(Ask("PUT", "/v1/pins/..").status, 400);
  service_.FailNext("x", Errc::kIo);
  EXPECT_EQ(Ask("PUT", "/v1/pins/x").status, 500);
  EXPECT_EQ(service_.calls(), (std::vector<std::string>{"pin dir/a.img", "unpin dir/a.img", "pin x"}));
}

TEST_F(AdminApiTest, TheSourceTellsWhetherItCouldBeListed) {
  service_.SetSource({{"", {{"a.img", false}}}});
  EXPECT_EQ(Json(Ask("GET", "/v1/source"))["complete"], true);
  service_.SetSource({{"", {{"a.img", false}}}}, false);
  const nlohmann::json known = Json(Ask("GET", "/v1/source"));
  EXPECT_EQ(known["complete"], false);
  EXPECT_EQ(known["entries"].size(), 1u);
}

TEST_F(AdminApiTest, UnknownPathsAndWrongVerbs) {
  for (const char* target :
       {"/v1", "/v1/", "/v2/cach", "/v1/status/x", "/metricsx"}) {
    const RawReply reply = Ask("GET", target);
    EXPECT_EQ(reply.status, 404) << target;
    EXPECT_EQ(Json(reply)["error"]["title"], "Not Found") << target;
  }
  for (const char* target : {"/v1/status", "/v1/images", "/v1/images/a", "/v1/activity", "/metrics"}) {
    EXPECT_EQ(Ask("DELETE", target).status, 405) << target;
    EXPECT_EQ(Ask("POST", target).headers["allow"], "GET, HEAD") << target;
  }
  EXPECT_EQ(Ask("GET", "/v1/pins/a").headers["allow"], "DELETE, PUT");
}

TEST_F(AdminApiTest, HeadIsGetWithoutABody) {
  for (const char* target : {"/v1/status", "/v1/images", "/v1/queue", "/v2/cache"}) {
    const RawReply get = Ask("GET", target), head = Ask("HEAD", target);
    EXPECT_EQ(head.status, 200) << target;
    EXPECT_EQ(head.body, "");
    EXPECT_EQ(head.headers.at("content-length"), get.headers.at("content-length")) << target;
    EXPECT_EQ(head.headers.at("content-type"), get.headers.at("content-type"));
  }
  EXPECT_EQ(Ask("HEAD", "/v1/images/none").status, 404);
  EXPECT_EQ(Ask("HEAD", "/v1/pins/a").status, 405);
}

}  // namespace
}  // namespace glintfs::testing
