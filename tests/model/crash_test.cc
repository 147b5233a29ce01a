// The crash order: data is synced before the index names it. A power loss may take anything that was not synced.
#include <gtest/gtest.h>

#include <thread>

#include "fs/cache/cache.h"
#include "fs/cache/sqlite.h"
#include "tests/model/seed.h"
#include "tests/support/crash_storage.h"
#include "tests/support/fake_backend.h"
#include "tests/support/sync_read.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace glintfs {
namespace {

using namespace glintfs::testing;

constexpr uint64_t kChunk = 64 * 1024;
constexpr uint64_t kSize = 8 << 20;

CacheOptions Options(const TempDir& dir) {
  CacheOptions options;
  options.directory = dir.path();
  options.chunk_size = kChunk;
  options.limits.min_free = 0;
  return options;
}

void ExpectWholeImage(FakeBackend& backend, Cache& cache, const std::string& name) {
  auto image = cache.OpenImage(backend.Info(name));
  ASSERT_TRUE(image) << image.error().ToString();
  auto read = ReadNow(**image, 0, kSize);
  ASSERT_TRUE(read) << read.error().ToString();
  ASSERT_TRUE(*read == backend.Expected(name, 0, kSize)) << name << " has wrong bytes";
}

// A read returns never a write that a crash lost; what was committed is not fetched again.
TEST(Crash, PowerLossInTheMiddleOfFillsLosesNothingThatWasCommitted) {
  std::mt19937_64 random(Seed());
  for (int round = 0; round < 12; ++round) {
    TempDir before_dir, after_dir;
    FakeBackend backend;
    backend.SetBytesPerSecond(20'000'000);
    for (const char* name : {"a", "b"}) backend.Put(name, kSize);
    auto storage = std::make_unique<CrashStorage>();
    CrashStorage* disk = storage.get();
    auto before = Cache::Open(Options(before_dir), backend, Clock::System(), std::move(storage));
    ASSERT_TRUE(before);
    std::vector<std::shared_ptr<CachedImage>> open;
    for (const char* name : {"a", "b"}) {
      open.push_back(*(*before)->OpenImage(backend.Info(name)));
      ASSERT_TRUE(ReadNow(*open.back(), random() % kSize, 1));
    }
    const uint64_t until = kSize / 4 + random() % kSize;
    ASSERT_TRUE(WaitFor([&] { return backend.DeliveredBytes("a") + backend.DeliveredBytes("b") >= until; }));
    const bool checkpointed = round % 2 == 1 && (*before)->Checkpoint().has_value();
    ASSERT_EQ(checkpointed, round % 2 == 1);

    sqlite::Database db;
    ASSERT_TRUE(db.Open(before_dir / "index.db"));
    auto survived = disk->AfterPowerLoss(random, [&] {
      EXPECT_TRUE(db.Execute(("VACUUM INTO '" + (after_dir / "index.db") + "'").c_str()));
    });
    db.Close();
    open.clear();
    before->reset();

    backend.ResetCounters();
    backend.SetBytesPerSecond(0);
    auto after = Cache::Open(Options(after_dir), backend, Clock::System(), std::move(survived));
    ASSERT_TRUE(after) << after.error().ToString();
    std::map<std::string, uint64_t> committed;
    for (const ImageStatus& status : (*after)->List()) committed[status.info.id.name] = status.cached_bytes;
    EXPECT_TRUE(!checkpointed || committed["a"] + committed["b"] >= kSize / 4 - 16 * kChunk);
    for (const char* name : {"a", "b"}) {
      ExpectWholeImage(backend, **after, name);
      EXPECT_LE(backend.DeliveredBytes(name), kSize - committed[name]) << "what was committed is not fetched again";
    }
    EXPECT_EQ((*after)->Stats().bad_chunks, 0u) << "a committed chunk was lost";
  }
}

// The cache may fail (full, read-only, corrupt), the read does not.
TEST(Crash, ReadsGoOnWhenTheDiskRefusesWrites) {
  TempDir dir;
  FakeBackend backend;
  backend.Put("a", kSize);
  auto storage = std::make_unique<CrashStorage>();
  CrashStorage* disk = storage.get();
  auto cache = Cache::Open(Options(dir), backend, Clock::System(), std::move(storage));
  ASSERT_TRUE(cache);
  disk->FailWrites(Error{Errc::kNoSpace, "disk full"});
  ExpectWholeImage(backend, **cache, "a");
  EXPECT_FALSE((*cache)->Stats().storage_error.empty());
  disk->FailWrites(std::nullopt);
}

TEST(Crash, ReadsGoOnWhenTheDiskRefusesReads) {
  TempDir dir;
  FakeBackend backend;
  backend.Put("a", kSize);
  auto storage = std::make_unique<CrashStorage>();
  CrashStorage* disk = storage.get();
  auto cache = Cache::Open(Options(dir), backend, Clock::System(), std::move(storage));
  ASSERT_TRUE(cache);
  auto image = (*cache)->OpenImage(backend.Info("a"));
  ASSERT_TRUE(image);
  ASSERT_TRUE(ReadNow(**image, 0, kSize));
  disk->FailReads(Error{Errc::kIo, "medium error"});
  disk->FailWrites(Error{Errc::kIo, "medium error"});
  auto read = ReadNow(**image, kChunk, 10);
  ASSERT_TRUE(read) << read.error().ToString();
  EXPECT_TRUE(*read == backend.Expected("a", kChunk, 10));
}

// After a failed fdatasync the kernel calls the pages clean though they are not on disk: nothing of that round is committed or
// believed, and it is written anew.
TEST(Crash, AFailedSyncIsNotBelieved) {
  TempDir dir;
  FakeBackend backend;
  backend.Put("a", kSize);
  auto storage = std::make_unique<CrashStorage>();
  CrashStorage* disk = storage.get();
  auto cache = Cache::Open(Options(dir), backend, Clock::System(), std::move(storage));
  ASSERT_TRUE(cache);
  disk->FailSyncs(Error{Errc::kIo, "writeback failed"});
  ExpectWholeImage(backend, **cache, "a");
  EXPECT_FALSE((*cache)->Checkpoint());
  disk->FailSyncs(std::nullopt);
  const uint64_t before = backend.DeliveredBytes("a");
  ExpectWholeImage(backend, **cache, "a");
  EXPECT_GT(backend.DeliveredBytes("a"), before);
}

}  // namespace
}  // namespace glintfs
