// The cache as a whole: what survives a restart, in good order and not, and what is removed.
#include <fstream>

#include "tests/unit/cache_fixture.h"

namespace glintfs::testing {
namespace {

using namespace std::chrono_literals;

// ---- persistence

TEST_F(CacheTest, WhatWasCachedIsServedAfterARestartWithTheSourceDown) {
  backend_.Put("dir/a", 5 * kMiB);
  Open();
  { ExpectRead(*Image("dir/a"), 0, 4096); }
  ASSERT_TRUE(WaitComplete("dir/a"));
  const RowId row = cache_->RowFor(backend_.Info("dir/a").id);
  Reopen();
  backend_.FailAll({Errc::kUnavailable, "down"});
  const auto info = cache_->FindNewest("dir/a");
  ASSERT_TRUE(info);
  EXPECT_EQ(*info, backend_.Info("dir/a"));
  EXPECT_EQ(cache_->RowFor(info->id), row);
  ASSERT_EQ(cache_->NamesIn("").size(), 1u);
  EXPECT_TRUE(cache_->NamesIn("")[0].is_directory);
  EXPECT_EQ(cache_->NamesIn("dir")[0].name, "a");
  ExpectRead(*Image("dir/a"), 0, 5 * kMiB);
  EXPECT_EQ(cache_->StatusOf("dir/a")->hits, 1u);
}

// A fill cut off goes on where it stopped, with the next read, be it of what is cached.
TEST_F(CacheTest, AliasesLeadToTheImageAfterARestartToo) {
  backend_.Put("id", 3 * kChunk);
  Open();
  cache_->SetAlias("by-name/disk", "id");
  cache_->SetAlias("by-name/other", "not-cached");
  EXPECT_FALSE(cache_->FindNewest("by-name/disk")) << "nothing is cached yet";
  ExpectRead(*Image("id"), 0, 100);
  ASSERT_TRUE(WaitComplete("id"));
  for (int round = 0; round < 2; ++round) {
    const auto found = cache_->FindNewest("by-name/disk");
    ASSERT_TRUE(found) << round;
    EXPECT_EQ(found->id.name, "id");
    EXPECT_EQ(cache_->OwnName("by-name/disk"), "id");
    EXPECT_EQ(cache_->OwnName("id"), "id");
    EXPECT_EQ(cache_->AliasesOf("id"), std::vector<std::string>{"by-name/disk"});
    const auto names = cache_->NamesIn("by-name");
    ASSERT_EQ(names.size(), 1u) << "only those that can be served";
    EXPECT_EQ(names[0].name, "disk");
    Reopen();
  }
  cache_->Gone("by-name/disk");
  EXPECT_FALSE(cache_->FindNewest("by-name/disk"));
  EXPECT_TRUE(cache_->FindNewest("id")) << "the image stays";
  Reopen();
  EXPECT_FALSE(cache_->FindNewest("by-name/disk"));
}

TEST_F(CacheTest, AliasesOfEvictedImagesAreForgotten) {
  backend_.Put("id", kChunk);
  Open();
  cache_->SetAlias("by-name/disk", "id");
  ExpectRead(*Image("id"), 0, 100);
  ASSERT_TRUE(WaitComplete("id"));
  Reopen();
  ASSERT_TRUE(cache_->Evict("id"));
  Reopen();
  EXPECT_EQ(cache_->OwnName("by-name/disk"), "by-name/disk");
}

TEST_F(CacheTest, AFillGoesOnAfterARestart) {
  backend_.Put("a", 16 * kMiB);
  backend_.SetBytesPerSecond(5'000'000);
  Open();
  { ExpectRead(*Image("a"), 0, 4096); }
  ASSERT_TRUE(WaitFor([&] { return cache_->StatusOf("a")->cached_bytes > kMiB; }));
  Reopen();
  const uint64_t kept = cache_->StatusOf("a")->cached_bytes;
  ASSERT_GT(kept, kMiB);
  ASSERT_LT(kept, 16 * kMiB);
  backend_.ResetCounters();
  backend_.SetBytesPerSecond(0);
  { ExpectRead(*Image("a"), 0, 4096); }
  EXPECT_TRUE(WaitComplete("a"));
  EXPECT_EQ(backend_.DeliveredBytes("a"), 16 * kMiB - kept);
}

TEST_F(CacheTest, LeftoversAreRemovedAtStart) {
  for (const char* name : {"kept", "lost", "short"}) backend_.Put(name, 2 * kMiB);
  Open();
  std::map<std::string, std::string> files;
  for (const char* name : {"kept", "lost", "short"}) {
    { ExpectRead(*Image(name), 0, 4096); }
    ASSERT_TRUE(WaitComplete(name));
    files[name] = fmt::format("data/{:02x}/{}-1", cache_->StatusOf(name)->row % 256, cache_->StatusOf(name)->row);
  }
  cache_.reset();
  ASSERT_TRUE(std::filesystem::remove(dir_ / files["lost"]));
  std::filesystem::resize_file(dir_ / files["short"], 100);
  std::filesystem::create_directories(dir_ / "data/ab");
  std::ofstream(dir_ / "data/ab/171-1") << "a file without a row";
  std::ofstream(dir_ / "data/ab/nonsense") << "x";
  Open();
  EXPECT_TRUE(WaitFor([&] { return cache_->List().size() == 1; }));
  EXPECT_EQ(cache_->List()[0].info.id.name, "kept");
  EXPECT_TRUE(WaitFor([&] { return !std::filesystem::exists(dir_ / "data/ab/171-1"); }));
  EXPECT_FALSE(std::filesystem::exists(dir_ / "data/ab/nonsense"));
  ExpectRead(*Image("lost"), 0, 2 * kMiB);
  ExpectRead(*Image("short"), 0, 2 * kMiB);
}

TEST_F(CacheTest, ADamagedChunkIsFetchedAgainAfterAnUncleanEnd) {
  backend_.Put("a", 4 * kMiB);
  Open();
  { ExpectRead(*Image("a"), 0, 4096); }
  ASSERT_TRUE(WaitComplete("a"));
  ASSERT_TRUE(cache_->Checkpoint());
  // What a crash leaves: a copy of the directory while the daemon runs.
  TempDir crashed;
  std::filesystem::copy(dir_.path(), crashed.path(), std::filesystem::copy_options::recursive);
  {
    std::fstream file(crashed / fmt::format("data/{:02x}/{}-1", cache_->StatusOf("a")->row % 256, cache_->StatusOf("a")->row),
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(kMiB + 17);
    file.write("rot", 3);
  }
  options_.directory = crashed.path();
  const uint64_t before = backend_.DeliveredBytes("a");
  auto second = Cache::Open(options_, backend_);
  ASSERT_TRUE(second) << second.error().ToString();
  {
    auto image = (*second)->OpenImage(backend_.Info("a"));
    ASSERT_TRUE(image);
    ExpectRead(**image, 0, 4 * kMiB);
    EXPECT_TRUE(WaitFor([&] { return (*image)->progress().complete; }));
  }
  EXPECT_EQ(backend_.DeliveredBytes("a"), before + kChunk) << "only the bad chunk is fetched again";
  EXPECT_EQ((*second)->Stats().bad_chunks, 1u);
}

TEST_F(CacheTest, OneDaemonPerDirectory) {
  Open();
  auto second = Cache::Open(options_, backend_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kBusy);
  EXPECT_NE(second.error().message.find(std::to_string(getpid())), std::string::npos);
}

// ---- stalled

TEST_F(CacheTest, AStalledPartialImageIsRemovedByClean) {
  FakeClock& clock = fake_clock_;
  clock_ = &clock;
  backend_.Put("a", 8 * kMiB);
  backend_.Fail(Call::kFetch, {Errc::kAccessDenied, "no"}, "a", -1, 3 * kChunk);
  Open();
  { ExpectRead(*Image("a"), 0, 4096); }
  // The fill has ended too: a chunk stored after the clock has moved would be progress.
  ASSERT_TRUE(WaitFor([&] {
    const auto status = cache_->StatusOf("a");
    return status && status->state == ImageState::kPartial && !status->filling && backend_.RunningFetches() == 0;
  }));
  ASSERT_TRUE(cache_->Checkpoint());
  EXPECT_EQ(cache_->Clean().files, 0u);
  clock.Advance(25h);
  EXPECT_TRUE(WaitFor([&] { cache_->Clean(); return cache_->Stats().stalled_removed == 1; }));
  EXPECT_TRUE(cache_->List().empty());
  cache_.reset();
  clock_ = nullptr;
}

}  // namespace
}  // namespace glintfs::testing
