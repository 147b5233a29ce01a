// A stock Glance serves what its cache directory, a glintfs, shows: every image of the source, whatever its own store.
#include <fmt/format.h>

#include <atomic>
#include <thread>

#include "tests/glance/glance_cache_fixture.h"

namespace glintfs::testing {
namespace {

class GlanceCache : public GlanceCacheTest, public ::testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Driver, GlanceCache, ::testing::Values("sqlite", "xattr"), [](const auto& driver) { return driver.param; });

TEST_P(GlanceCache, EveryImageIsServedFromTheMount) {
  StartMount();
  StartGlance(GetParam());
  std::vector<std::string> ids;
  for (const size_t size : {1u, 65'536u, 3'000'001u, 20'000'000u}) ids.push_back(Image(fmt::format("image-{}", size), size));
  for (const std::string& id : ids) SpoilOwnStore(id);
  // Several at once, each image by several.
  std::vector<std::thread> clients;
  std::atomic<int> right{0};
  for (int i = 0; i < 3; ++i)
    for (const std::string& id : ids) clients.emplace_back([&, id] { right += Serves(id) ? 1 : 0; });
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(right, 12);
  for (const std::string& id : ids) {
    EXPECT_TRUE(WaitFor([&] { return Listed(id); })) << id;
    EXPECT_TRUE(Serves(id)) << "again, from the cache";
    EXPECT_EQ(nginx_->BytesSent("/" + id), Bytes(id).size()) << "came once";
  }
  // A range does not go through Glance's cache at all.
  const HttpAnswer range = glance_->Download(ids[2], "1000-1999");
  EXPECT_EQ(range.status, 206);
  EXPECT_EQ(range.body, std::string(1000, '!')) << "of its own store";
  EXPECT_FALSE(HasTrace());
}

TEST_P(GlanceCache, WhatTheSourceDoesNotHaveComesFromGlancesOwnStore) {
  StartMount();
  StartGlance(GetParam());
  const size_t size = 80'000'000;  // more than the scratch area holds
  const std::string id = Image("own", size, false), bytes = Pattern(size, size);
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(Serves(id, bytes));
  EXPECT_LT(ScratchBytes(), 100'000u);
  EXPECT_EQ(Names(mount_->mountpoint() + "/incomplete"), std::vector<std::string>{});
  EXPECT_EQ(Names(mount_->mountpoint() + "/invalid"), std::vector<std::string>{});
  EXPECT_FALSE(HasTrace());
  // And is served from the mount as soon as it is there.
  Put(id, bytes);
  SpoilOwnStore(id);
  EXPECT_TRUE(WaitFor([&] { return glance_->Download(id).body == bytes; }));
}

TEST_P(GlanceCache, WithTheSourceDownCachedImagesAreServedAndOthersFromGlancesOwnStore) {
  StartMount();
  StartGlance(GetParam());
  const std::string cached = Image("cached", 3'000'000), partial = Image("partial", 30'000'000), never = Image("never", 2'000'000);
  EXPECT_TRUE(Serves(cached));
  ASSERT_TRUE(WaitFor([&] { return Listed(cached); }));
  SpoilOwnStore(cached);
  // A part of an image: the mount, filling on demand, is read at its beginning.
  mount_->Stop();
  mount_->set_options(MountOptions("fill=demand"));
  mount_->Start();
  EXPECT_EQ(ReadAt(*mount_ / partial, 0, 4096), Bytes(partial).substr(0, 4096));
  ASSERT_TRUE(mount_->WaitForState(partial, "partial"));  // a read is answered before what came is stored
  nginx_->Stop();
  EXPECT_TRUE(WaitFor([&] { return ReadErrno(*mount_ / UuidFor("anything"), 0) == EHOSTDOWN; }));
  EXPECT_TRUE(Serves(cached));
  EXPECT_TRUE(Serves(partial));
  EXPECT_TRUE(Serves(never));
  EXPECT_FALSE(HasTrace());
  // From the start.
  mount_->Stop();
  mount_->Start();
  glance_->Restart();
  EXPECT_TRUE(Serves(cached));
  EXPECT_TRUE(Serves(never));
  nginx_->Restart();
  SpoilOwnStore(never);
  EXPECT_TRUE(WaitFor([&] { return glance_->Download(never).body == Bytes(never); })) << "back by itself";
}

TEST_P(GlanceCache, AnImageDeletedInGlanceIsEvicted) {
  StartMount();
  StartGlance(GetParam());
  const std::string id = Image("deleted", 3'000'000), other = Image("kept", 1'000'000);
  EXPECT_TRUE(Serves(id));
  EXPECT_TRUE(Serves(other));
  ASSERT_TRUE(WaitFor([&] { return Listed(id) && Listed(other); }));
  EXPECT_EQ(glance_->Request("DELETE", "/v2/images/" + id).status, 204);
  EXPECT_TRUE(WaitFor([&] { return !Listed(id); }));
  EXPECT_EQ(glance_->Download(id).status, 404) << "though the source still has it";
  EXPECT_TRUE(Serves(other));
  EXPECT_TRUE(Listed(other));
}

// A file store shows an image while it is being uploaded, and Glance looks into its cache before it looks at an image's status.
TEST_P(GlanceCache, AnImageThatIsBeingUploadedToASourceOfFiles) {
  StartMount();
  StartGlance(GetParam());
  const std::string id = UuidFor("uploading"), bytes = Pattern(1'000'000, 3);
  glance_->Create({.id = id, .name = "uploading"});
  Put(id, bytes.substr(0, 400'000));
  EXPECT_TRUE(Serves(id, bytes.substr(0, 400'000))) << "what docs/glance.md warns of";
  Put(id, bytes);
  const HttpAnswer upload = Ask({.method = "PUT",
                                 .url = glance_->url() + "/v2/images/" + id + "/file",
                                 .headers = {"Content-Type: application/octet-stream"},
                                 .body = bytes,
                                 .file = {}});
  ASSERT_EQ(upload.status, 204);
  SpoilOwnStore(id);
  EXPECT_TRUE(WaitFor([&] { return glance_->Download(id).body == bytes; })) << "after attr_ttl, from the mount";
}

TEST_P(GlanceCache, BehindKeystone) {
  const auto keystone = Keystone::Start();
  StartMount();
  StartGlance(GetParam(), "1000000000000", keystone.get());
  const std::string id = Image("with login", 3'000'000);
  SpoilOwnStore(id);
  EXPECT_EQ(glance_->Download(id).status, 401);
  EXPECT_TRUE(Serves(id));
}

}  // namespace
}  // namespace glintfs::testing
