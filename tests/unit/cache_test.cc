// The cache as a whole over a steerable source: reads, fills, versions.
#include "fs/base/thread.h"
#include "tests/unit/cache_fixture.h"

namespace glintfs::testing {
namespace {

using namespace std::chrono_literals;

// ---- reading

TEST_F(CacheTest, FirstReadFetchesLaterReadsAreLocal) {
  options_.fill = FillMode::kDemand;
  backend_.Put("a", 10 * kMiB + 123);
  Open();
  auto image = Image("a");
  ExpectRead(*image, 3 * kMiB + 5, 1000);
  const uint64_t fetched = backend_.DeliveredBytes("a");
  EXPECT_EQ(fetched, kChunk);
  backend_.FailAll({Errc::kUnavailable, "down"});
  ExpectRead(*image, 3 * kMiB + 5, 1000);
  EXPECT_EQ(backend_.DeliveredBytes("a"), fetched);
}

TEST_F(CacheTest, ReadsAreClippedAtTheEnd) {
  backend_.Put("a", kChunk + 10);
  Open();
  auto image = Image("a");
  auto tail = ReadNow(*image, kChunk, 4096);
  ASSERT_TRUE(tail);
  EXPECT_EQ(tail->size(), 10u);
  EXPECT_EQ(ReadNow(*image, kChunk + 10, 1)->size(), 0u);
  EXPECT_EQ(ReadNow(*image, UINT64_MAX - 5, 4096)->size(), 0u);
}

TEST_F(CacheTest, AnEmptyImageIsComplete) {
  backend_.Put("empty", 0);
  Open();
  EXPECT_EQ(ReadNow(*Image("empty"), 0, 4096)->size(), 0u);
  EXPECT_TRUE(WaitComplete("empty"));
  ASSERT_TRUE(cache_->Checkpoint());
  Reopen();
  EXPECT_EQ(cache_->StatusOf("empty")->state, ImageState::kComplete);
}

TEST_F(CacheTest, FirstReadStartsAFillOfTheWholeImage) {
  backend_.Put("a", 50 * kMiB);
  Open();
  { ExpectRead(*Image("a"), 20 * kMiB, 4096); }  // the reader goes away: the fill goes on
  EXPECT_TRUE(WaitComplete("a"));
  EXPECT_EQ(backend_.DeliveredBytes("a"), 50 * kMiB);
}

// One image, any number of readers at once: each byte comes once, but for chunks by which a read overtakes a transfer that is
// slow; a loaded machine makes any transfer slow.
TEST_F(CacheTest, SixteenReadersMakeOneTransfer) {
  constexpr uint64_t kSize = 64 * kMiB;
  backend_.Put("a", kSize);
  backend_.SetBytesPerSecond(100'000'000);
  Open();
  auto image = Image("a");
  std::vector<Thread> readers;
  for (uint64_t r = 0; r < 16; ++r)
    readers.emplace_back("reader", [&, r](std::stop_token) {
      for (uint64_t done = 0; done < kSize / 4; done += 128 << 10)
        ExpectRead(*image, (r * kSize / 16 + done) % kSize, 128 << 10);
    });
  for (Thread& reader : readers) reader.Join();
  ASSERT_TRUE(WaitComplete("a"));
  EXPECT_EQ(backend_.DistinctBytes("a"), kSize);
  EXPECT_LE(backend_.DeliveredBytes("a"), kSize + kSize / 4);
}

// A demand read never waits behind a background stream: it overtakes it.
TEST_F(CacheTest, DemandOvertakesAHangingBackgroundFill) {
  backend_.Put("a", 256 * kMiB);
  Open();
  auto image = Image("a");
  ExpectRead(*image, 0, 4096);
  image->CancelFill();
  ASSERT_TRUE(WaitFor([&] { return backend_.RunningFetches() == 0; }));
  backend_.SetBytesPerSecond(1'000'000);  // a slow stream: its far end is minutes away
  image->StartFill(Urgency::kBackground);
  ASSERT_TRUE(WaitFor([&] { return backend_.RunningFetches() >= 2; }));
  const auto fetches = backend_.Fetches("a");
  const Extent last = fetches.back();
  ExpectRead(*image, last.end() - kChunk, 4096);  // inside an extent that is being streamed
  SUCCEED();
}

TEST_F(CacheTest, ZeroChunksTakeNoDisk) {
  FakeImage sparse;
  sparse.size = 64 * kMiB;
  sparse.zeros = {{kMiB, 62 * kMiB}};
  backend_.Put("sparse", sparse);
  Open();
  auto image = Image("sparse");
  ExpectRead(*image, 0, 4096);
  ASSERT_TRUE(WaitComplete("sparse"));
  EXPECT_LE(DataBytesOnDisk(), 3 * kMiB);
  EXPECT_LE(cache_->Stats().used_bytes, 3 * kMiB);
  ExpectRead(*image, kMiB - 100, 200);
  ExpectRead(*image, 30 * kMiB, kMiB);
}

TEST_F(CacheTest, KnownHolesArePresentWithoutATransfer) {
  FakeImage sparse;
  sparse.size = 64 * kMiB;
  sparse.zeros = sparse.holes = {{2 * kMiB, 60 * kMiB}};
  backend_.Put("sparse", sparse);
  Open();
  ExpectRead(*Image("sparse"), 0, 4096);
  ASSERT_TRUE(WaitComplete("sparse"));
  EXPECT_LE(backend_.DeliveredBytes("sparse"), 12 * kMiB) << "at most what was in flight before the holes were known";
}

TEST_F(CacheTest, ASourceWithoutRangesIsStreamedOnceFromItsStart) {
  backend_.Put("a", 20 * kMiB);
  backend_.SetSeekable(false);
  Open();
  auto image = Image("a");
  ExpectRead(*image, 15 * kMiB, 4096);
  ASSERT_TRUE(WaitComplete("a"));
  EXPECT_LE(backend_.DeliveredBytes("a"), 21 * kMiB);
  ExpectRead(*image, 0, kMiB);
}

TEST_F(CacheTest, AnInterruptedReadIsAnsweredAndTheOthersGoOn) {
  backend_.Put("a", kMiB);
  Open();
  auto image = Image("a");
  backend_.Hang(Call::kFetch);
  auto first = StartRead(*image, 0, 4096, 41);
  auto second = StartRead(*image, 0, 4096, 42);
  EXPECT_TRUE(image->Cancel(41));
  auto cancelled = Await(std::move(first));
  ASSERT_FALSE(cancelled);
  EXPECT_EQ(cancelled.error().code, Errc::kCancelled);
  EXPECT_FALSE(image->Cancel(41));
  EXPECT_FALSE(IsReady(second));
  backend_.Release(Call::kFetch);
  EXPECT_TRUE(Await(std::move(second)));
}

TEST_F(CacheTest, CachedReadsAnswerWhileEveryFetchHangs) {
  options_.fill = FillMode::kDemand;
  backend_.Put("a", 100 * kMiB);
  Open();
  auto image = Image("a");
  ExpectRead(*image, 0, kChunk);
  backend_.HangAll();
  std::vector<std::future<ReadResult>> parked;
  for (uint64_t i = 1; i <= 200; ++i) parked.push_back(StartRead(*image, i * 4 * kChunk, 4096, i));
  ExpectRead(*image, 0, kChunk);
  for (uint64_t i = 1; i <= 200; ++i) EXPECT_TRUE(image->Cancel(i));
  for (auto& read : parked) EXPECT_EQ(Await(std::move(read)).error().code, Errc::kCancelled);
  backend_.ReleaseAll();
}

TEST_F(CacheTest, AFailedFetchFailsItsReadersAndTheNextReadTriesAgain) {
  backend_.Put("a", kMiB);
  backend_.Fail(Call::kFetch, {Errc::kUnavailable, "connection refused"}, "a");
  Open();
  auto image = Image("a");
  auto read = ReadNow(*image, 0, 4096);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Errc::kUnavailable);
  backend_.Heal();
  ExpectRead(*image, 0, 4096);
}

// The kernel's page cache asks again for what its readahead did not get.
TEST_F(CacheTest, AReadThatWaitedLongInVainIsNotWaitedForTwice) {
  FakeClock& clock = fake_clock_;
  clock_ = &clock;
  for (const FillMode fill : {FillMode::kDemand, FillMode::kFull}) {
    const std::string name = fill == FillMode::kDemand ? "demand" : "full";
    SCOPED_TRACE(name);
    options_.fill = fill;  // a fill asks for the same chunk again at once
    backend_.Put(name, kMiB);
    backend_.Hang(Call::kFetch, name);
    Reopen();
    auto image = Image(name);
    auto first = StartRead(*image, 0, 2 * kChunk);
    ASSERT_TRUE(WaitFor([&] { return backend_.Hanging(Call::kFetch) >= 1; }));
    clock.Advance(60s);
    backend_.FailHanging(Call::kFetch, {Errc::kTimedOut, "no answer"});
    EXPECT_EQ(Await(std::move(first)).error().code, Errc::kTimedOut);
    auto again = ReadNow(*image, 4096, 4096);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().message, "no answer");
    backend_.Release(Call::kFetch, name);
    clock.Advance(1s);
    ExpectRead(*image, 4096, 4096);
  }
  cache_.reset();
  clock_ = nullptr;
}

// A second or two is all there is to find out.
TEST_F(CacheTest, AFillFromAStoreThatIsSlowPerConnectionTakesSeveralAtOnce) {
  backend_.Put("a", 4 * kMiB);
  backend_.SetBytesPerSecond(kMiB);
  Open();
  ASSERT_TRUE(cache_->Enqueue(backend_.Info("a")));
  EXPECT_TRUE(WaitComplete("a"));
  EXPECT_GE(backend_.MaxRunningFetches(), 3);
  EXPECT_EQ(backend_.DeliveredBytes("a"), 4 * kMiB);
}

// ---- versions

TEST_F(CacheTest, AStaleReaderGetsStaleAndKeepsWhatItHas) {
  options_.fill = FillMode::kDemand;
  backend_.Put("a", 10 * kMiB, "v1");
  Open();
  auto old = Image("a");
  ExpectRead(*old, 0, kChunk);
  backend_.Put("a", 10 * kMiB, "v2");
  auto stale = ReadNow(*old, 5 * kMiB, 4096);
  ASSERT_FALSE(stale);
  EXPECT_EQ(stale.error().code, Errc::kStale);
  ExpectRead(*old, 0, kChunk);
  cache_->Supersede(backend_.Info("a").id);
  auto fresh = Image("a");
  EXPECT_NE(fresh->row(), old->row());
  ExpectRead(*fresh, 0, kChunk);
  EXPECT_EQ(cache_->StatusOf(old->info()).state, ImageState::kInvalid);
  EXPECT_EQ(cache_->Clean().files, 0u) << "it is open";
  old.reset();
  ASSERT_TRUE(cache_->Checkpoint());
  EXPECT_TRUE(WaitFor([&] { return cache_->Clean().files == 1 || cache_->Stats().invalid_removed == 1; }));
}

// ---- figures

TEST_F(CacheTest, FillRateLimitsBackgroundButNotDemand) {
  options_.limits.fill_rate = 1;  // a byte a second: the background never gets anywhere
  backend_.Put("a", 16 * kMiB);
  Open();
  auto image = Image("a");
  for (uint64_t at = 0; at < 16 * kMiB; at += kMiB) ExpectRead(*image, at, kMiB);
  EXPECT_TRUE(WaitComplete("a"));
}

}  // namespace
}  // namespace glintfs::testing
