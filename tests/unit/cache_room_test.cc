// The cache as a whole: its limit, and what gives way.
#include "fs/base/thread.h"
#include "tests/support/crash_storage.h"
#include "tests/unit/cache_fixture.h"

namespace glintfs::testing {
namespace {

using namespace std::chrono_literals;

// ---- limit

// The storage tells what it holds at one instant; a walk over real files would count one that is evicted meanwhile and the
// one that took its place.
TEST_F(CacheTest, TheCacheNeverExceedsItsSize) {
  options_.limits.max_size = 8 * kMiB;
  for (int i = 0; i < 10; ++i) backend_.Put("i" + std::to_string(i), 3 * kMiB);
  auto storage = std::make_unique<CrashStorage>();
  CrashStorage* disk = storage.get();
  Open(std::move(storage));
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> highest{0};
  Thread watch("watch", [&](std::stop_token) {
    while (!stop) highest = std::max<uint64_t>(highest, disk->allocated());
  });
  for (int i = 0; i < 10; ++i) {
    const std::string name = "i" + std::to_string(i);
    auto image = Image(name);
    for (uint64_t at = 0; at < 3 * kMiB; at += kMiB) ExpectRead(*image, at, kMiB);
  }
  stop = true;
  watch.Join();
  EXPECT_LE(highest.load(), 8 * kMiB);
  EXPECT_GT(highest.load(), 2 * kMiB);
  EXPECT_GE(cache_->Stats().evictions, 1u);  // how many depends on how much of an image that is being filled was there
}

TEST_F(CacheTest, AnImageLargerThanTheCacheIsReadToItsEnd) {
  options_.limits.max_size = 4 * kMiB;
  backend_.Put("big", 20 * kMiB);
  Open();
  auto image = Image("big");
  for (uint64_t at = 0; at < 20 * kMiB; at += 128 << 10) ExpectRead(*image, at, 128 << 10);
  EXPECT_LE(DataBytesOnDisk(), 4 * kMiB);
  EXPECT_GT(cache_->Stats().bypassed_bytes, 0u);
  EXPECT_LE(backend_.DeliveredBytes("big"), 22 * kMiB) << "bypassing does not fetch twice for one reader";
}

TEST_F(CacheTest, OpenPinnedAndQueuedImagesAreNotEvicted) {
  for (const char* name : {"open", "pinned", "idle"}) backend_.Put(name, kMiB);
  Open();
  for (const char* name : {"open", "pinned", "idle"}) {
    ExpectRead(*Image(name), 0, 4096);
    ASSERT_TRUE(WaitComplete(name));
  }
  ASSERT_TRUE(cache_->Checkpoint());
  auto open = Image("open");
  ASSERT_TRUE(cache_->SetPinned("pinned", true));
  EXPECT_TRUE(WaitFor([&] { return cache_->Prune(0, true).names == std::vector<std::string>{"idle"}; }));
  EXPECT_EQ(cache_->Prune(0, false).names, std::vector<std::string>{"idle"});
  EXPECT_EQ(cache_->Evict("open").error().code, Errc::kBusy);
  EXPECT_EQ(cache_->Evict("pinned").error().code, Errc::kBusy);
  EXPECT_EQ(cache_->Evict("idle").error().code, Errc::kNotFound);
  ASSERT_TRUE(cache_->SetPinned("pinned", false));
  EXPECT_TRUE(cache_->Evict("pinned"));
}

TEST_F(CacheTest, EvictStopsABackgroundFill) {
  backend_.Put("a", 64 * kMiB);
  backend_.SetBytesPerSecond(1'000'000);
  Open();
  { ExpectRead(*Image("a"), 0, 4096); }
  ASSERT_TRUE(cache_->Evict("a"));
  EXPECT_EQ(cache_->Stats().used_bytes, 0u);
  EXPECT_EQ(DataBytesOnDisk(), 0u);
}

// ---- room

class NoRoomTest : public CacheTest {
 protected:
  void TearDown() override { backend_.ReleaseAll(); }
  // An image that nobody has open, of which most is there and the rest hangs in a fill in the background.
  void FillIdle() {
    options_.limits.max_size = 8 * kMiB;
    backend_.Put("idle", 7 * kMiB);
    backend_.Put("wanted", 6 * kMiB);
    Open();
    auto image = Image("idle");
    image->HoldFills();
    ExpectRead(*image, 0, 6 * kMiB);
    backend_.Hang(Call::kFetch, "idle");
    image->ResumeFills();
    image->StartFill(Urgency::kBackground);
    ASSERT_TRUE(WaitFor([&] { return backend_.Hanging(Call::kFetch) > 0; }));
  }
  bool Filling() {
    const auto status = cache_->StatusOf("idle");
    return status && status->filling;
  }
};

TEST_F(NoRoomTest, AnIdleFillGivesWayToAReader) {
  FillIdle();
  auto image = Image("wanted");
  ASSERT_TRUE(WaitFor([&] {
    ExpectRead(*image, 0, 6 * kMiB);
    return !Filling();
  }));
  backend_.ReleaseAll();
  EXPECT_TRUE(WaitFor([&] {
    ExpectRead(*image, 0, 6 * kMiB);
    return image->progress().complete;
  }));
}

TEST_F(NoRoomTest, AnIdleFillGivesWayToTheQueue) {
  FillIdle();
  ASSERT_TRUE(cache_->Enqueue(backend_.Info("wanted")));
  ASSERT_TRUE(WaitFor([&] { return !Filling(); }));
  backend_.ReleaseAll();
  EXPECT_TRUE(WaitComplete("wanted"));
}

TEST_F(NoRoomTest, AnIdleFillIsPruned) {
  FillIdle();
  EXPECT_EQ(cache_->Prune(1, true).names, std::vector<std::string>{"idle"});
  EXPECT_TRUE(Filling()) << "a dry run stops nothing";
  Thread releases("releases", [this](std::stop_token) {
    EXPECT_TRUE(WaitFor([&] { return !Filling(); }));
    backend_.ReleaseAll();
  });
  const PruneResult pruned = cache_->Prune(1, false);
  EXPECT_EQ(pruned.names, std::vector<std::string>{"idle"});
  EXPECT_GE(pruned.bytes, 6 * kMiB);
  EXPECT_FALSE(cache_->StatusOf("idle"));
}

TEST_F(NoRoomTest, IsToldUntilThereIsRoom) {
  options_.limits.max_size = 2 * kMiB;
  backend_.Put("a", 2 * kMiB - 2 * kChunk);
  backend_.Put("b", kMiB);
  Open();
  ASSERT_TRUE(cache_->Enqueue(backend_.Info("a")));
  ASSERT_TRUE(WaitComplete("a"));
  ASSERT_TRUE(cache_->SetPinned("a", true));
  EXPECT_FALSE(cache_->Stats().no_room);
  auto image = Image("b");
  ExpectRead(*image, 0, kMiB);
  EXPECT_TRUE(WaitFor([&] { return cache_->Stats().no_room; }));
  ASSERT_TRUE(cache_->SetPinned("a", false));
  EXPECT_TRUE(WaitFor([&] { return !cache_->Stats().no_room; }));
}

// On an idle host nobody stores a byte, and still the status says that it could.
TEST_F(CacheTest, ADiskThatWorksAgainIsNoticedByItself) {
  FakeClock& clock = fake_clock_;
  clock_ = &clock;
  backend_.Put("a", kMiB);
  auto storage = std::make_unique<CrashStorage>();
  CrashStorage* disk = storage.get();
  options_.fill = FillMode::kDemand;
  Open(std::move(storage));
  disk->FailWrites(Error{Errc::kIo, "no space left"});
  { ExpectRead(*Image("a"), 0, 4096); }
  // With the fetch over nobody but the janitor tries again.
  ASSERT_TRUE(WaitFor([&] { return !cache_->Stats().storage_error.empty() && backend_.RunningFetches() == 0; }));
  const uint64_t errors = cache_->Stats().storage_errors;
  clock.Advance(11s);
  ASSERT_TRUE(WaitFor([&] { return cache_->Stats().storage_errors > errors; })) << "tried again";
  EXPECT_FALSE(cache_->Stats().storage_error.empty());
  disk->FailWrites(std::nullopt);
  clock.Advance(11s);
  EXPECT_TRUE(WaitFor([&] { return cache_->Stats().storage_error.empty(); }));
  cache_.reset();
  clock_ = nullptr;
}

}  // namespace
}  // namespace glintfs::testing
