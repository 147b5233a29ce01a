// The deployments of docs/glance.md whose stores are more than a directory: a cloud on Ceph, and an edge without a store of its own.
#include <fmt/format.h>

#include <atomic>
#include <thread>

#include "tests/glance/glance_cache_fixture.h"
#include "tests/support/swift.h"
#ifdef GLINTFS_CEPH
#include "tests/support/ceph.h"
#include "tests/support/radosgw.h"
#endif

namespace glintfs::testing {
namespace {

class GlanceDeployments : public GlanceCacheTest {
 protected:
  void Mount(const std::string& source, const std::string& options) {
    mount_ = std::make_unique<GlintfsMount>(source, "layout=glance-cache,attr_ttl=1s,retries=1," + options);
    mount_->Start();
  }
  std::vector<std::string> CacheDefaults() {
    return {"image_cache_dir = " + mount_->mountpoint(), "image_cache_driver = sqlite"};
  }
#ifdef GLINTFS_CEPH
  static std::vector<std::string> S3Store(const RadosGateway& gateway, const S3User& user) {
    return {"s3_store_host = " + gateway.endpoint(),
            "s3_store_access_key = " + user.access_key,
            "s3_store_secret_key = " + user.secret_key,
            "s3_store_bucket = glance",
            "s3_store_create_bucket_on_put = true",
            "s3_store_bucket_url_format = path"};
  }
#endif
};

#ifdef GLINTFS_CEPH
TEST_F(GlanceDeployments, OnCephCachedImagesAreServedWhileCephIsDown) {
  const auto ceph = Ceph::Start();
  ceph->MakePool("images", "rbd");
  ceph->AddUser("glance", {"mon", "profile rbd", "osd", "profile rbd pool=images"});
  ceph->AddUser("glintfs", {"mon", "profile rbd", "osd", "profile rbd-read-only pool=images"});
  Mount("rbd://images", "ceph_conf=" + ceph->conf() + ",ceph_id=glintfs,ask_timeout=2s,fetch_timeout=5s");
  glance_ = Glance::Start({.store = {"rbd_store_pool = images", "rbd_store_user = glance", "rbd_store_ceph_conf = " + ceph->conf()},
                           .store_type = "rbd",
                           .flavor = "cachemanagement",
                           .defaults = CacheDefaults(),
                           .lock_path = false});
  const std::string id = UuidFor("on ceph"), bytes = Pattern(9'000'000, 3);
  glance_->Upload({.id = id, .name = "on ceph"}, bytes);
  EXPECT_TRUE(WaitFor([&] { return !mount_->State(id).empty(); }));
  EXPECT_TRUE(Serves(id, bytes));
  ASSERT_TRUE(WaitFor([&] { return Listed(id); })) << "through the mount";
  ceph->Freeze();
  EXPECT_TRUE(Serves(id, bytes));
  ceph->Thaw();
  EXPECT_EQ(glance_->Request("DELETE", "/v2/images/" + id).status, 204);
  EXPECT_TRUE(WaitFor([&] { return !Listed(id); }));
}

// Its own store's settings are the mount's: s3_store_host is endpoint=, the bucket is the source, the keys are in a file.
TEST_F(GlanceDeployments, OnS3CachedImagesAreServedWhileS3IsDown) {
  const auto ceph = Ceph::Start();
  const auto gateway = RadosGateway::Start(*ceph);
  const S3User user = gateway->MakeUser("glance");
  glance_ = Glance::Start({.store = S3Store(*gateway, user), .store_type = "s3"});
  const std::string first = UuidFor("makes the bucket"), id = UuidFor("on s3"), bytes = Pattern(9'000'000, 3);
  glance_->Upload({.id = first, .name = "makes the bucket"}, "bytes");
  WriteFile(source_ / "keys", fmt::format("[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n", user.access_key, user.secret_key));
  ::chmod((source_ / "keys").c_str(), 0600);
  Mount("s3://glance", fmt::format("endpoint={},addressing=path,credentials_file={},ask_timeout=2s,fetch_timeout=5s", gateway->endpoint(),
                                   source_ / "keys"));
  glance_ = Glance::Start({.store = S3Store(*gateway, user),
                           .store_type = "s3",
                           .flavor = "cachemanagement",
                           .defaults = CacheDefaults(),
                           .lock_path = false});
  glance_->Upload({.id = id, .name = "on s3"}, bytes);
  EXPECT_TRUE(WaitFor([&] { return !mount_->State(id).empty(); }));
  EXPECT_TRUE(Serves(id, bytes));
  ASSERT_TRUE(WaitFor([&] { return Listed(id); })) << "through the mount";
  gateway->Freeze();
  EXPECT_TRUE(Serves(id, bytes));
  gateway->Thaw();
  EXPECT_EQ(glance_->Request("DELETE", "/v2/images/" + id).status, 204);
  EXPECT_TRUE(WaitFor([&] { return !Listed(id); }));
}
#endif

// The login of its own store is an entry of clouds.yaml. The image is a large object of Swift's: a manifest and its segments.
TEST_F(GlanceDeployments, OnSwiftCachedImagesAreServedWhileSwiftIsDown) {
  const auto keystone = Keystone::Start();
  const auto swift = Swift::Start(*keystone);
  swift->MakeContainer("glance");
  keystone->WriteClouds(source_ / "clouds.yaml");
  Mount("swift://glance", fmt::format("cloud=test,clouds_file={},ask_timeout=2s,fetch_timeout=5s", source_ / "clouds.yaml"));
  glance_ = Glance::Start({.store = {"swift_store_auth_version = 3", "swift_store_auth_address = " + keystone->url(),
                                     "swift_store_user = demo:demo", "swift_store_key = " + Keystone::demo_password(),
                                     "swift_store_container = glance", "swift_store_large_object_size = 5",
                                     "swift_store_large_object_chunk_size = 2"},
                           .store_type = "swift",
                           .flavor = "cachemanagement",
                           .defaults = CacheDefaults(),
                           .lock_path = false});
  const std::string id = UuidFor("on swift"), bytes = Pattern(9'000'000, 3);
  glance_->Upload({.id = id, .name = "on swift"}, bytes);
  EXPECT_GT(swift->Call("GET", "/glance?prefix=" + id + "-").body.size(), 2 * id.size()) << "segments";
  EXPECT_TRUE(WaitFor([&] { return !mount_->State(id).empty(); }));
  EXPECT_TRUE(Serves(id, bytes));
  ASSERT_TRUE(WaitFor([&] { return Listed(id); })) << "through the mount";
  swift->Freeze();
  EXPECT_TRUE(Serves(id, bytes));
  swift->Thaw();
  EXPECT_EQ(glance_->Request("DELETE", "/v2/images/" + id).status, 204);
  EXPECT_TRUE(WaitFor([&] { return !Listed(id); }));
}

// What docs/glance.md has an edge's policy say.
std::string EdgePolicy() { return ReadFile(GLINTFS_SOURCE_DIR "/systemd/examples/glance-edge-policy.yaml"); }

// The edge has the database and no data; all of it comes from the central Glance's API, and once.
TEST_F(GlanceDeployments, AnEdgeWithoutAStoreServesWhatTheCentralGlanceHas) {
  auto central = Glance::Start({});
  Mount("glance://127.0.0.1:" + std::to_string(central->port()), "ask_timeout=30s");
  glance_ = Glance::Start({.store = {"filesystem_store_datadir = " + central->datadir()},
                           .flavor = "cachemanagement",
                           .defaults = CacheDefaults(),
                           .lock_path = false,
                           .same_database = central.get(),
                           .within = {"unshare", "-m", "sh", "-c", "mount -t tmpfs none \"$0\" && exec \"$@\"", central->datadir()}});
  const std::string id = UuidFor("central"), bytes = Pattern(9'000'000, 3);
  central->Upload({.id = id, .name = "central"}, bytes);
  std::vector<std::thread> clients;
  std::atomic<int> right{0};
  for (int i = 0; i < 3; ++i) clients.emplace_back([&] { right += Serves(id, bytes) ? 1 : 0; });
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(right, 3);
  EXPECT_TRUE(mount_->WaitForState(id, "verified")) << "against the hash that Glance knows";
  central->Freeze();
  EXPECT_TRUE(Serves(id, bytes));
  const HttpAnswer range = glance_->Download(id, "0-9");
  EXPECT_EQ(range.status, 204) << "a range goes to the edge's own store, which has nothing";
  EXPECT_EQ(range.body, "");
  central->Thaw();
  const std::string late = UuidFor("late");
  central->Upload({.id = late, .name = "late"}, bytes);
  central->Stop();
  EXPECT_TRUE(WaitFor([&] { return glance_->Download(late).status == 204; })) << "and so does what is not cached, the line cut";
  EXPECT_TRUE(Serves(id, bytes));
}

// The database is the cloud's: what an edge deletes there without the data, or adds with data of its own, is wrong for all.
TEST_F(GlanceDeployments, AnEdgeWithThePolicyNeitherAddsNorDeletes) {
  auto central = Glance::Start({});
  Mount("glance://127.0.0.1:" + std::to_string(central->port()), "ask_timeout=30s");
  const auto start_edge = [&](const std::string& policy, const std::vector<std::string>& more) {
    std::vector<std::string> defaults = CacheDefaults();
    defaults.insert(defaults.end(), more.begin(), more.end());
    glance_.reset();
    glance_ = Glance::Start({.store = {"filesystem_store_datadir = " + central->datadir()},
                             .flavor = "cachemanagement",
                             .defaults = defaults,
                             .policy = policy,
                             .lock_path = false,
                             .same_database = central.get(),
                             .within = {"unshare", "-m", "sh", "-c", "mount -t tmpfs none \"$0\" && exec \"$@\"", central->datadir()}});
  };
  const auto put = [&](const std::string& path) {
    return Ask({.method = "PUT", .url = glance_->url() + path, .headers = {"Content-Type: application/octet-stream"}, .body = "data",
                .file = {}}).status;
  };
  start_edge(EdgePolicy(), {"enabled_import_methods = []"});
  const std::string id = UuidFor("kept"), queued = UuidFor("queued"), bytes = Pattern(100'000, 3);
  central->Upload({.id = id, .name = "kept"}, bytes);
  central->Create({.id = queued, .name = "queued"});
  const std::string image = R"({"name": "x", "disk_format": "raw", "container_format": "bare"})";
  EXPECT_EQ(glance_->Request("POST", "/v2/images", "", image).status, 403);
  EXPECT_EQ(put("/v2/images/" + queued + "/file"), 403);
  EXPECT_EQ(put("/v2/images/" + queued + "/stage"), 404);
  for (const char* method : {R"({"name": "glance-direct"})", R"({"name": "web-download", "uri": "http://127.0.0.1/x"})"}) {
    const std::string body = std::string(R"({"method": )") + method + "}";
    EXPECT_EQ(glance_->Request("POST", "/v2/images/" + queued + "/import", "", body).status, 400);
  }
  EXPECT_EQ(glance_->Request("DELETE", "/v2/images/" + id).status, 403);
  EXPECT_EQ(glance_->Request("DELETE", "/v2/stores/store/" + id).status, 403);
  EXPECT_EQ(central->Request("GET", "/v2/images/" + id).status, 200);
  EXPECT_TRUE(Serves(id, bytes));

  // Without them the image is lost to the cloud while its file stays; and what is uploaded the centre cannot read.
  start_edge("", {});
  EXPECT_EQ(glance_->Request("DELETE", "/v2/images/" + id).status, 204);
  EXPECT_EQ(central->Request("GET", "/v2/images/" + id).status, 404);
  EXPECT_TRUE(std::filesystem::exists(central->FileOf(id)));
  EXPECT_EQ(put("/v2/images/" + queued + "/file"), 204);
  EXPECT_EQ(central->Download(queued).status, 204);
  EXPECT_EQ(central->Download(queued).body, "");
}

}  // namespace
}  // namespace glintfs::testing
