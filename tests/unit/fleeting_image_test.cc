// Images of which nothing is kept: each end of one forgets it, while others open it again. Its row is promised to it for as long as
// the daemon runs, and known to the budget once at most.
#include <gtest/gtest.h>

#include <array>
#include <atomic>

#include "fs/base/thread.h"
#include "fs/cache/cache.h"
#include "fs/cache/cached_image.h"
#include "tests/support/fake_backend.h"
#include "tests/support/sync_read.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace glintfs {
namespace {

using namespace glintfs::testing;

constexpr uint64_t kChunk = 16 * 1024;
constexpr uint64_t kSize = 5 * kChunk + 1;
constexpr int kImages = 3;
constexpr int kReaders = 6;
constexpr int kRounds = 500;

class FleetingImage : public ::testing::Test {
 protected:
  void SetUp() override {
    for (int i = 0; i < kImages; ++i) backend_.Put(Name(i), kSize);
    CacheOptions options;
    options.directory = dir_.path();
    options.chunk_size = kChunk;
    options.fetch_threads = 4;
    options.limits.max_size = 1;  // byte: no room for anything, so that all reads go past the cache
    options.limits.min_free = 0;
    auto cache = Cache::Open(options, backend_);
    ASSERT_TRUE(cache) << cache.error().ToString();
    cache_ = std::move(*cache);
    for (int i = 0; i < kImages; ++i) rows_[static_cast<size_t>(i)] = cache_->RowFor(backend_.Info(Name(i)).id);
  }
  static std::string Name(int number) { return "image" + std::to_string(number); }

  // Opens one of the images, reads a little of it and lets it go.
  void ReadOnce(int number, uint64_t offset) {
    const std::string name = Name(number);
    const ImageInfo info = backend_.Info(name);
    const RowId row = rows_[static_cast<size_t>(number)];
    EXPECT_EQ(cache_->RowFor(info.id), row);
    auto image = cache_->OpenImage(info);
    ASSERT_TRUE(image) << image.error().ToString();
    EXPECT_EQ((*image)->row(), row);
    const auto read = ReadNow(**image, offset, 1000);
    ASSERT_TRUE(read) << read.error().ToString();
    EXPECT_TRUE(*read == backend_.Expected(name, offset, std::min<uint64_t>(1000, kSize - offset))) << name << " at " << offset;
  }
  bool AllForgotten() {
    const CacheStats stats = cache_->Stats();
    return stats.images == 0 && stats.open_images == 0 && stats.used_bytes == 0 && stats.reserved_bytes == 0;
  }

  TempDir dir_;
  FakeBackend backend_;
  std::unique_ptr<Cache> cache_;
  std::array<RowId, kImages> rows_{};
};

TEST_F(FleetingImage, OpenedWhileItIsForgotten) {
  std::atomic<int> reading{kReaders};
  std::vector<Thread> threads;
  for (int reader = 0; reader < kReaders; ++reader) {
    threads.emplace_back("reader", [this, reader, &reading](std::stop_token) {
      for (int round = 0; round < kRounds && !HasFailure(); ++round)
        ReadOnce((reader + round) % kImages, static_cast<uint64_t>((reader * 7919 + round * 4111) % static_cast<int>(kSize)));
      --reading;
    });
  }
  // Others look at the table meanwhile.
  threads.emplace_back("looker", [this, &reading](std::stop_token) {
    while (reading > 0) {
      for (const ImageStatus& status : cache_->List()) EXPECT_EQ(status.chunks_present, 0u);
      for (int i = 0; i < kImages; ++i) EXPECT_EQ(cache_->RowFor(backend_.Info(Name(i)).id), rows_[static_cast<size_t>(i)]);
      cache_->StatusOf(Name(0));
    }
  });
  for (Thread& thread : threads) thread.Join();
  EXPECT_GT(cache_->Stats().bypassed_bytes, 0u);
  EXPECT_TRUE(WaitFor([&] { return AllForgotten(); }));
}

// The same with all readers on one image, so that most opens meet an end of it.
TEST_F(FleetingImage, OneOfThemByAll) {
  std::vector<Thread> threads;
  for (int reader = 0; reader < kReaders; ++reader) {
    threads.emplace_back("reader", [this](std::stop_token) {
      for (int round = 0; round < kRounds && !HasFailure(); ++round) ReadOnce(0, kChunk);
    });
  }
  for (Thread& thread : threads) thread.Join();
  EXPECT_TRUE(WaitFor([&] { return AllForgotten(); }));
}

}  // namespace
}  // namespace glintfs
