// A stock Glance at an edge, whose file store's datadir is a glintfs that shows the datadir of a central one. Both have one database, so
// that file://DATADIR/ID means the same to both: the path is the same, what lies there is not.
//
//   central Glance ── DATADIR (real files) ◀── dir:// ── glintfs ── MOUNT
//         └── database ──┐                                             │ mount --bind, in the edge's mount namespace
//   edge Glance ─────────┴── DATADIR ◀─────────────────────────────────┘
#include <fmt/format.h>

#include <atomic>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/mount/harness.h"
#include "tests/support/openstack.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

using nlohmann::json;

class GlanceDatadir : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped()) return;
    central_ = Glance::Start({});
    mount_ = std::make_unique<GlintfsMount>("dir://" + central_->datadir(), "attr_ttl=1s,negative_ttl=0s");
    mount_->Start();
    StartEdge();
  }
  void StartEdge(const std::string& policy = "") {
    edge_.reset();
    edge_ = Glance::Start({.store = {"filesystem_store_datadir = " + central_->datadir()},
                           .policy = policy,
                           .same_database = central_.get(),
                           .within = {"unshare", "-m", "sh", "-c", "mount --bind \"$0\" \"$1\" && shift && exec \"$@\"",
                                      mount_->mountpoint(), central_->datadir()}});
  }
  std::string Image(const std::string& name, size_t size) {
    const std::string id = UuidFor(name);
    central_->Upload({.id = id, .name = name}, Pattern(size, static_cast<unsigned>(size)));
    return id;
  }
  // The status of an upload to the edge.
  long Upload(const std::string& id) {
    return Ask({.method = "PUT", .url = edge_->url() + "/v2/images/" + id + "/file",
                .headers = {"Content-Type: application/octet-stream"}, .body = "data", .file = {}}).status;
  }
  std::string Bytes(const std::string& id) { return ReadFile(central_->FileOf(id)); }
  std::string Status(const std::string& id) {
    const HttpAnswer answer = edge_->Request("GET", "/v2/images/" + id);
    return answer.status == 200 ? json::parse(answer.body).at("status").get<std::string>() : fmt::format("{}", answer.status);
  }

  std::unique_ptr<Glance> central_;
  std::unique_ptr<GlintfsMount> mount_;
  std::unique_ptr<Glance> edge_;
};

TEST_F(GlanceDatadir, ServesWhatTheCentralStoreHolds) {
  std::vector<std::string> ids;
  for (const size_t size : {1u, 65'537u, 3'000'000u, 20'000'000u}) ids.push_back(Image(fmt::format("image-{}", size), size));
  for (const std::string& id : ids) ASSERT_EQ(mount_->State(id), "absent");
  std::vector<std::thread> clients;
  std::atomic<int> right{0};
  for (int i = 0; i < 3; ++i)
    for (const std::string& id : ids) clients.emplace_back([&, id] { right += edge_->Download(id).body == Bytes(id) ? 1 : 0; });
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(right, 12);
  for (const std::string& id : ids) EXPECT_TRUE(mount_->WaitForState(id, "complete")) << "it came through the mount";
}

TEST_F(GlanceDatadir, ServesRangesOfImagesThatAreNotCached) {
  const std::string id = Image("ranges", 30'000'000), bytes = Bytes(id);
  std::vector<std::thread> clients;
  std::atomic<int> right{0};
  for (size_t at : {0u, 1u, 65'535u, 262'143u, 15'000'000u, 29'999'000u})
    clients.emplace_back([&, at] {
      const HttpAnswer answer = edge_->Download(id, fmt::format("{}-{}", at, at + 999));
      right += answer.status == 206 && answer.body == bytes.substr(at, 1000) ? 1 : 0;
    });
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(right, 6);
  EXPECT_EQ(edge_->Download(id, "30000000-30000100").status, 416);
}

TEST_F(GlanceDatadir, ANewImageOfTheCentralStoreIsThereAtOnceAndADeletedOneIsGone) {
  const std::string id = UuidFor("late");
  EXPECT_EQ(edge_->Download(id).status, 404);
  Image("late", 100'000);
  EXPECT_EQ(edge_->Download(id).body, Pattern(100'000, 100'000));
  EXPECT_EQ(central_->Request("DELETE", "/v2/images/" + id).status, 204);
  EXPECT_EQ(edge_->Download(id).status, 404);
  EXPECT_TRUE(WaitFor([&] { return mount_->State(id).empty(); })) << "and leaves the cache";
}

// What docs/glance.md has an edge's policy say.
TEST_F(GlanceDatadir, AddAndDeleteAreRefusedAndGlanceServesOn) {
  StartEdge("add_image: '!'\nupload_image: '!'\ndelete_image: '!'\n");
  const std::string kept = Image("kept", 1'000'000), bytes = Bytes(kept), id = UuidFor("made at the centre");
  EXPECT_EQ(edge_->Request("POST", "/v2/images", "", R"({"name": "x", "disk_format": "raw", "container_format": "bare"})").status, 403);
  central_->Create({.id = id, .name = "made at the centre"});
  EXPECT_EQ(Upload(id), 403);
  EXPECT_EQ(Status(id), "queued");
  EXPECT_EQ(edge_->Request("DELETE", "/v2/images/" + kept).status, 403);
  EXPECT_EQ(Status(kept), "active");
  EXPECT_TRUE(edge_->Download(kept).body == bytes);
  EXPECT_TRUE(std::filesystem::exists(central_->FileOf(kept)));
}

// Without it the data is as safe, but Glance takes an image that it may not delete for deleted.
TEST_F(GlanceDatadir, WithoutAPolicyADeleteRemovesTheRecordAndNotTheData) {
  const std::string kept = Image("kept", 1'000'000), other = Image("other", 100'000), id = UuidFor("added at the edge");
  edge_->Create({.id = id, .name = "added at the edge"});
  const long status = Upload(id);
  EXPECT_TRUE(status >= 400 && status < 500) << status;
  EXPECT_NE(Status(id), "active");
  EXPECT_FALSE(std::filesystem::exists(central_->FileOf(id)));
  EXPECT_EQ(edge_->Request("DELETE", "/v2/images/" + id).status, 204);
  EXPECT_EQ(edge_->Request("DELETE", "/v2/images/" + kept).status, 204);
  EXPECT_EQ(Status(kept), "404");
  EXPECT_TRUE(std::filesystem::exists(central_->FileOf(kept))) << "left over in the central store";
  EXPECT_TRUE(edge_->Download(other).body == Bytes(other)) << "serves on";
}

}  // namespace
}  // namespace glintfs::testing
