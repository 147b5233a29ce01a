// The deployments of docs/glance.md whose stores are more than a directory: a cloud on Ceph, and an edge without a store of its own.
#include <fmt/format.h>

#include <atomic>
#include <thread>

#include "tests/glance/glance_cache_fixture.h"
#ifdef GLINTFS_CEPH
#include "tests/support/ceph.h"
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
#endif

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
  EXPECT_NE(range.status, 206) << "a range goes to the edge's own store, which has nothing";
  central->Thaw();
}

}  // namespace
}  // namespace glintfs::testing
