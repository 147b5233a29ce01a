// The cache as a whole over a steerable source: reads, fills, limits, crashes, verification, the queue.
#include "fs/cache/cache.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <fstream>

#include "fs/base/thread.h"
#include "fs/cache/cached_image.h"
#include "fs/cache/verifier.h"
#include "tests/support/crash_storage.h"
#include "tests/support/fake_backend.h"
#include "tests/support/sync_read.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace glintfs {
namespace {

using namespace std::chrono_literals;
using namespace glintfs::testing;

constexpr uint64_t kChunk = 64 * 1024;
constexpr uint64_t kMiB = 1 << 20;

class CacheTest : public ::testing::Test {
 protected:
  void Open(std::unique_ptr<Storage> storage = nullptr) {
    options_.directory = dir_.path();
    options_.chunk_size = kChunk;
    options_.limits.min_free = 0;
    auto cache = Cache::Open(options_, backend_, clock_ ? *clock_ : Clock::System(), std::move(storage));
    ASSERT_TRUE(cache) << cache.error().ToString();
    cache_ = std::move(*cache);
  }
  void Reopen() {
    cache_.reset();
    Open();
  }
  std::shared_ptr<CachedImage> Image(const std::string& name) {
    auto image = cache_->OpenImage(backend_.Info(name));
    EXPECT_TRUE(image) << image.error().ToString();
    return image ? *image : nullptr;
  }
  void ExpectRead(CachedImage& image, uint64_t offset, size_t length) {
    auto read = ReadNow(image, offset, length);
    ASSERT_TRUE(read) << read.error().ToString();
    const ImageId& id = image.info().id;
    EXPECT_TRUE(*read == backend_.Expected(id.name, id.version, offset, length)) << "wrong bytes at " << offset;
  }
  bool WaitComplete(const std::string& name) {
    return WaitFor([&] {
      const auto status = cache_->StatusOf(name);
      return status && (status->state == ImageState::kComplete || status->state == ImageState::kVerified);
    });
  }
  uint64_t DataBytesOnDisk() {
    uint64_t bytes = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_ / "data")) {
      struct stat st{};
      if (entry.is_regular_file() && ::stat(entry.path().c_str(), &st) == 0) bytes += static_cast<uint64_t>(st.st_blocks) * 512;
    }
    return bytes;
  }

  TempDir dir_;
  FakeBackend backend_;
  Clock* clock_ = nullptr;
  CacheOptions options_;
  std::unique_ptr<Cache> cache_;
};

std::string Sha256(const std::vector<std::byte>& bytes) {
  unsigned char digest[32];
  EVP_Digest(bytes.data(), bytes.size(), digest, nullptr, EVP_sha256(), nullptr);
  std::string hex;
  for (unsigned char byte : digest) hex += fmt::format("{:02x}", byte);
  return hex;
}

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
  FakeClock clock;
  clock_ = &clock;
  options_.fill = FillMode::kDemand;
  backend_.Put("a", kMiB);
  backend_.Hang(Call::kFetch, "a");
  Open();
  auto image = Image("a");
  auto first = StartRead(*image, 0, 2 * kChunk);
  ASSERT_TRUE(WaitFor([&] { return backend_.Hanging(Call::kFetch) == 1; }));
  clock.Advance(60s);
  backend_.Fail(Call::kFetch, {Errc::kTimedOut, "no answer"}, "a", 1);
  backend_.Release(Call::kFetch, "a");
  EXPECT_EQ(Await(std::move(first)).error().code, Errc::kTimedOut);
  const int fetches = backend_.Count(Call::kFetch);
  auto again = ReadNow(*image, 4096, 4096);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::kTimedOut);
  EXPECT_EQ(backend_.Count(Call::kFetch), fetches) << "it was not asked for";
  clock.Advance(1s);
  ExpectRead(*image, 4096, 4096);
  image.reset();
  cache_.reset();
  clock_ = nullptr;
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

TEST(DigestTest, CrcsGiveTheirCheckValues) {  // of "123456789", as the CRC catalogue has them
  const std::string text = "123456789";
  for (const auto& [algorithm, value] : {std::pair{"crc32", "cbf43926"}, std::pair{"crc32c", "e3069283"},
                                         std::pair{"crc64nvme", "ae8b14860a799888"},
                                         std::pair{"sha1", "f7c3bc1d808e04732adf679965ccc34ca7ae3441"}}) {
    const auto digest = Digest::Make(algorithm);
    ASSERT_NE(digest, nullptr) << algorithm;
    digest->Update(std::as_bytes(std::span(text).first(4)));
    digest->Update(std::as_bytes(std::span(text).subspan(4)));
    EXPECT_EQ(digest->FinishHex(), value) << algorithm;
  }
  EXPECT_EQ(Digest::Make("rot13"), nullptr);
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
  FakeClock clock;
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

// ---- checksums

TEST_F(CacheTest, ACompleteImageIsVerified) {
  FakeImage image;
  image.size = 3 * kMiB + 7;
  backend_.Put("a", image);
  image.checksum = Checksum{"sha256", Sha256(backend_.Expected("a", 0, image.size))};
  backend_.Put("a", image);
  Open();
  { ExpectRead(*Image("a"), 0, 4096); }
  EXPECT_TRUE(WaitFor([&] { return cache_->StatusOf("a")->state == ImageState::kVerified; }));
  Reopen();
  EXPECT_EQ(cache_->StatusOf("a")->state, ImageState::kVerified);
}

// So that who waits for an image knows whether a verdict comes.
TEST_F(CacheTest, WhetherThereIsAChecksumIsToldOnceTheSourceWasAsked) {
  backend_.Put("none", kMiB);
  backend_.Put("away", kMiB);
  backend_.Put("slow", kMiB);
  backend_.Fail(Call::kChecksum, {Errc::kUnavailable, "down"}, "away", -1);
  Open();
  { ExpectRead(*Image("none"), 0, 4096); }
  EXPECT_TRUE(WaitFor([&] { return WaitComplete("none") && cache_->StatusOf("none")->checksum_asked; }));
  { ExpectRead(*Image("away"), 0, 4096); }
  EXPECT_TRUE(WaitFor([&] { return WaitComplete("away") && cache_->StatusOf("away")->checksum_asked; })) << "nothing comes of it";
  backend_.Hang(Call::kChecksum);
  { ExpectRead(*Image("slow"), 0, 4096); }
  ASSERT_TRUE(WaitComplete("slow"));
  EXPECT_FALSE(cache_->StatusOf("slow")->checksum_asked);
  backend_.Release(Call::kChecksum);
  EXPECT_TRUE(WaitFor([&] { return cache_->StatusOf("slow")->checksum_asked; }));
}

TEST_F(CacheTest, AWrongChecksumQuarantinesTheImage) {
  FakeImage image;
  image.size = 3 * kMiB;
  image.checksum = Checksum{"sha256", std::string(64, '0')};
  backend_.Put("a", image);
  Open();
  auto open = Image("a");
  ExpectRead(*open, 0, 4096);
  ASSERT_TRUE(WaitFor([&] { return cache_->StatusOf("a")->state == ImageState::kInvalid; }));
  EXPECT_TRUE(WaitFor([&] { return ReadNow(*open, 0, 4096).has_value() == false; }));
  EXPECT_EQ(ReadNow(*open, 0, 4096).error().code, Errc::kCorrupt);
  EXPECT_EQ(cache_->OpenImage(backend_.Info("a")).error().code, Errc::kCorrupt);
  open.reset();
  ASSERT_TRUE(cache_->Checkpoint());
  EXPECT_TRUE(WaitFor([&] { cache_->Clean(); return cache_->Stats().invalid_removed == 1; }));
  EXPECT_TRUE(cache_->OpenImage(backend_.Info("a"))) << "after the clean it is fetched anew";
}

// Read on demand, so that no end of a fill has a checkpoint made before the verdict.
TEST_F(CacheTest, FilledIsToldBeforeVerified) {
  options_.fill = FillMode::kDemand;
  FakeImage image;
  image.size = kMiB;
  backend_.Put("a", image);
  image.checksum = Checksum{"sha256", Sha256(backend_.Expected("a", 0, kMiB))};
  backend_.Put("a", image);
  Open();
  std::atomic<int> filled{0}, verified{0}, early{0};
  cache_->SetEventHandler([&](Cache::Event event, const ImageInfo&, const Cache::EventDetail&) {
    if (event == Cache::Event::kCompleted) ++filled;
    if (event == Cache::Event::kVerified) {
      ++verified;
      if (filled == 0) ++early;
    }
  });
  ExpectRead(*Image("a"), 0, kMiB);
  EXPECT_TRUE(WaitFor([&] { return verified == 1; }));
  EXPECT_EQ(early, 0);
  EXPECT_EQ(filled, 1);
  cache_->SetEventHandler(nullptr);
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

// ---- the queue

TEST_F(CacheTest, QueuedImagesAreCachedOneAfterTheOtherAndAFailedOneWaits) {
  for (const char* name : {"a", "b", "c"}) backend_.Put(name, 2 * kMiB);
  options_.fill = FillMode::kDemand;
  backend_.Fail(Call::kFetch, {Errc::kUnavailable, "down"}, "b");
  Open();
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(cache_->Enqueue(backend_.Info(name)));
  EXPECT_TRUE(WaitComplete("a"));
  EXPECT_TRUE(WaitComplete("c"));
  ASSERT_TRUE(WaitFor([&] { return cache_->Queue().size() == 1 && cache_->Queue()[0].attempts >= 1; }));
  EXPECT_EQ(cache_->Queue()[0].name, "b");
  EXPECT_NE(cache_->Queue()[0].error.find("down"), std::string::npos);
  Reopen();
  ASSERT_EQ(cache_->Queue().size(), 1u) << "the queue survives a restart";
  backend_.Heal();
  ASSERT_TRUE(cache_->Enqueue(backend_.Info("b")));
  EXPECT_TRUE(WaitComplete("b"));
  EXPECT_TRUE(WaitFor([&] { return cache_->Queue().empty(); }));
}

TEST_F(CacheTest, WhatCannotFitIsNotQueued) {
  options_.limits.max_size = 4 * kMiB;
  backend_.Put("big", 5 * kMiB);
  Open();
  EXPECT_EQ(cache_->Enqueue(backend_.Info("big")).error().code, Errc::kNoSpace);
  EXPECT_TRUE(cache_->Queue().empty());
}

TEST_F(CacheTest, ALowerLimitHoldsFromTheStart) {
  for (const char* name : {"a", "b", "c"}) backend_.Put(name, 3 * kMiB);
  Open();
  for (const char* name : {"a", "b", "c"}) {
    { ExpectRead(*Image(name), 0, 4096); }
    ASSERT_TRUE(WaitComplete(name));
  }
  cache_.reset();
  options_.limits.max_size = 4 * kMiB;
  Open();
  EXPECT_LE(DataBytesOnDisk(), 4 * kMiB);
  EXPECT_EQ(cache_->List().size(), 1u);
}

TEST_F(CacheTest, TakingTheRunningImageOffTheQueueStopsIt) {
  options_.fill = FillMode::kDemand;
  backend_.Put("a", 64 * kMiB);
  backend_.SetBytesPerSecond(1'000'000);
  Open();
  ASSERT_TRUE(cache_->Enqueue(backend_.Info("a")));
  ASSERT_TRUE(WaitFor([&] { return backend_.RunningFetches() > 0; }));
  EXPECT_EQ(cache_->Evict("a").error().code, Errc::kBusy);
  ASSERT_TRUE(cache_->Dequeue("a"));
  EXPECT_EQ(cache_->Dequeue("a").error().code, Errc::kNotFound);
  EXPECT_TRUE(WaitFor([&] { return backend_.RunningFetches() == 0; }));
}

// Fetching all of it again would end the same.
TEST_F(CacheTest, WhatHasAWrongChecksumLeavesTheQueue) {
  FakeImage image;
  image.size = kMiB;
  image.checksum = Checksum{"sha256", std::string(64, '0')};
  backend_.Put("a", image);
  Open();
  std::atomic<int> told{0}, filled_after_invalid{0};
  std::atomic<bool> invalid{false};
  cache_->SetEventHandler([&](Cache::Event event, const ImageInfo& info, const Cache::EventDetail& detail) {
    if (event == Cache::Event::kInvalidated) invalid = true;
    if (event == Cache::Event::kCompleted && invalid) ++filled_after_invalid;
    if (event == Cache::Event::kFailed && info.id.name == "a" && detail.text.find("taken off the queue") == 0) ++told;
  });
  ASSERT_TRUE(cache_->Enqueue(backend_.Info("a")));
  ASSERT_TRUE(WaitFor([&] { return cache_->StatusOf("a")->state == ImageState::kInvalid; }));
  ASSERT_TRUE(WaitFor([&] { return cache_->Queue().empty(); }));
  told = 0;
  ASSERT_TRUE(cache_->Enqueue(backend_.Info("a")));
  EXPECT_TRUE(WaitFor([&] { return cache_->Queue().empty() && told == 1; }));
  EXPECT_EQ(backend_.DeliveredBytes("a"), kMiB) << "it came once";
  EXPECT_EQ(filled_after_invalid, 0);
  cache_->SetEventHandler(nullptr);
}

TEST_F(CacheTest, AnImageThatFailsWhileItIsFilledEndsItsFill) {
  backend_.Put("a", 8 * kMiB);
  backend_.Hang(Call::kFetch, "a", kMiB / 4);
  Open();
  ASSERT_TRUE(cache_->Enqueue(backend_.Info("a")));
  ASSERT_TRUE(WaitFor([&] { return backend_.Hanging(Call::kFetch) > 0; }));
  Image("a")->Abort({Errc::kCorrupt, "wrong"});
  EXPECT_TRUE(WaitFor([&] { return cache_->Queue().empty(); })) << "the queue does not wait for it for ever";
  backend_.ReleaseAll();
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
}  // namespace glintfs
