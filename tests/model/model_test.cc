// Random operations against a model that is one sentence long: a read returns the bytes of the version that was opened, or
// an error that something explains. Opens, reads (many at once), closes, evictions, prunes, failing sources, new versions,
// restarts, crashes, changed limits, pins, the queue. The seed is printed.
#include <gtest/gtest.h>

#include <filesystem>

#include "fs/cache/cache.h"
#include "fs/cache/sqlite.h"
#include "tests/model/seed.h"
#include "tests/support/crash_storage.h"
#include "tests/support/fake_backend.h"
#include "tests/support/sync_read.h"
#include "tests/support/temp_dir.h"

namespace glintfs {
namespace {

using namespace glintfs::testing;

constexpr uint64_t kChunk = 64 * 1024;

class Model {
 public:
  explicit Model(uint64_t seed) : random_(seed) {
    for (int i = 0; i < 6; ++i) NewVersion("img" + std::to_string(i));
    options_.chunk_size = kChunk;
    options_.fetch_threads = 6;
    options_.limits.max_size = 24 * kChunk;
    options_.limits.min_free = 0;
    options_.limits.clean_interval = std::chrono::milliseconds(50);
    Start(std::make_unique<CrashStorage>(), std::make_unique<TempDir>());
  }

  void Run(int steps) {
    for (int i = 0; i < steps && !::testing::Test::HasFatalFailure(); ++i) Step();
    Settle(true);
    handles_.clear();
    cache_.reset();
  }

 private:
  struct Handle {
    std::shared_ptr<CachedImage> image;
    ImageId id;
  };
  struct Pending {
    ImageId id;
    uint64_t offset;
    size_t length;
    std::shared_ptr<CachedImage> image;  // a read holds its handle until it is answered
    std::future<ReadResult> result;
    bool excused;  // the source failed or had moved on at some time while it ran
  };

  uint64_t Roll(uint64_t sides) { return random_() % sides; }
  std::string Name() { return "img" + std::to_string(Roll(6)); }

  void NewVersion(const std::string& name) {
    FakeImage image;
    image.size = Roll(20) == 0 ? 0 : 1 + Roll(20 * kChunk);
    image.version = "v" + std::to_string(++versions_);
    if (Roll(2) && image.size > 4 * kChunk) image.zeros = {{kChunk + Roll(kChunk), 2 * kChunk}};
    if (Roll(2)) image.holes = image.zeros;
    sizes_[{name, image.version}] = image.size;
    backend_.Put(name, image);
  }

  void Start(std::unique_ptr<CrashStorage> storage, std::unique_ptr<TempDir> dir) {
    storage_ = storage.get();
    options_.directory = dir->path();
    dir_ = std::move(dir);
    auto cache = Cache::Open(options_, backend_, Clock::System(), std::move(storage));
    ASSERT_TRUE(cache) << cache.error().ToString();
    cache_ = std::move(*cache);
  }

  void Step() {
    const uint64_t dice = Roll(100);
    if (dice < 15) OpenOne();
    else if (dice < 65) StartOneRead();
    else if (dice < 72) CloseOne();
    else if (dice < 76) (void)cache_->Evict(Name());
    else if (dice < 78) cache_->Prune(Roll(24 * kChunk), Roll(4) == 0);
    else if (dice < 80) ToggleFailure();
    else if (dice < 84) { Excuse(); NewVersion(Name()); }
    else if (dice < 88) (void)cache_->Enqueue(backend_.Info(Name()));
    else if (dice < 90) (void)cache_->Dequeue(Name());
    else if (dice < 92) (void)cache_->SetPinned(Name(), Roll(2) == 0);
    else if (dice < 94) cache_->Clean();
    else if (dice < 96) Settle(false);
    else if (dice < 98) Restart();
    else if (dice < 99) PowerLoss();
    else ToggleDisk();
    ASSERT_LE(storage_->allocated(), options_.limits.max_size) << "after a roll of " << dice;
    ASSERT_LE(cache_->Stats().used_bytes, options_.limits.max_size) << "after a roll of " << dice;
  }

  void OpenOne() {
    const ImageInfo info = backend_.Info(Name());
    cache_->Supersede(info.id);
    auto image = cache_->OpenImage(info);
    ASSERT_TRUE(image) << image.error().ToString();
    handles_.push_back({*image, info.id});
    if (handles_.size() > 8) CloseOne();
  }

  void StartOneRead() {
    if (handles_.empty()) return OpenOne();
    const Handle& handle = handles_[Roll(handles_.size())];
    const uint64_t size = handle.image->info().size;
    const uint64_t offset = Roll(size + kChunk);
    const size_t length = 1 + Roll(Roll(3) ? 4096 : 5 * kChunk);
    const bool current = backend_.Info(handle.id.name).id == handle.id;
    Pending read{handle.id, offset, length, handle.image, StartRead(*handle.image, offset, length, ++reads_),
                 failing_ || !current};
    if (Roll(20) == 0 && handle.image->Cancel(reads_)) read.excused = true;
    pending_.push_back(std::move(read));
    if (pending_.size() > 30) Settle(false);
  }

  void CloseOne() {
    if (!handles_.empty()) handles_.erase(handles_.begin() + static_cast<ptrdiff_t>(Roll(handles_.size())));
  }

  void Excuse() {
    for (Pending& read : pending_) read.excused = true;
  }

  void ToggleFailure() {
    Excuse();
    failing_ = !failing_;
    if (failing_)
      backend_.Fail(Call::kFetch, {Errc::kUnavailable, "down"}, "", -1, Roll(2) ? Roll(4 * kChunk) : 0);
    else
      backend_.Heal();
  }

  // The cache may fail, the read does not: no excuse is given for these.
  void ToggleDisk() {
    disk_failing_ = !disk_failing_;
    const std::optional<Error> error = disk_failing_ ? std::optional(Error{Errc::kIo, "disk"}) : std::nullopt;
    storage_->FailWrites(error);
    if (Roll(2) || !disk_failing_) storage_->FailSyncs(error);
  }

  void Settle(bool heal) {
    if (heal && failing_) ToggleFailure();
    for (Pending& read : pending_) {
      const ReadResult result = Await(std::move(read.result));
      if (!result) {
        EXPECT_TRUE(read.excused) << result.error().ToString();
        EXPECT_NE(result.error().code, Errc::kTimedOut);
        continue;
      }
      const auto expected = backend_.Expected(read.id.name, read.id.version, read.offset, ExpectedLength(read));
      const auto differ = std::mismatch(result->begin(), result->end(), expected.begin(), expected.end()).first;
      ASSERT_TRUE(*result == expected) << "wrong bytes of " << read.id.name << " " << read.id.version << ", read from "
                                       << read.offset << " for " << result->size() << " of " << expected.size()
                                       << ", wrong from " << read.offset + (differ - result->begin()) << " on, size "
                                       << read.image->info().size;
    }
    pending_.clear();
  }

  size_t ExpectedLength(const Pending& read) {
    const uint64_t size = sizes_.at({read.id.name, read.id.version});
    return read.offset >= size ? 0 : static_cast<size_t>(std::min<uint64_t>(read.length, size - read.offset));
  }

  void Restart() {
    Settle(false);
    handles_.clear();
    auto storage = std::make_unique<CrashStorage>(*storage_);  // shares the files
    cache_.reset();
    storage_ = storage.get();
    auto cache = Cache::Open(options_, backend_, Clock::System(), std::move(storage));
    ASSERT_TRUE(cache) << cache.error().ToString();
    cache_ = std::move(*cache);
  }

  void PowerLoss() {
    Settle(false);
    auto dir = std::make_unique<TempDir>();
    sqlite::Database db;
    ASSERT_TRUE(db.Open(dir_->path() + "/index.db"));
    auto storage = storage_->AfterPowerLoss(random_, [&] {
      EXPECT_TRUE(db.Execute(("VACUUM INTO '" + dir->path() + "/index.db'").c_str()));
    });
    db.Close();
    handles_.clear();
    cache_.reset();
    disk_failing_ = false;
    Start(std::move(storage), std::move(dir));
  }

  std::mt19937_64 random_;
  FakeBackend backend_;
  CacheOptions options_;
  std::unique_ptr<TempDir> dir_;
  CrashStorage* storage_ = nullptr;
  std::unique_ptr<Cache> cache_;
  std::vector<Handle> handles_;
  std::vector<Pending> pending_;
  std::map<std::pair<std::string, std::string>, uint64_t> sizes_;
  uint64_t versions_ = 0, reads_ = 0;
  bool failing_ = false, disk_failing_ = false;
};

TEST(Model, RandomOperationsNeverShowAWrongByte) {
  const uint64_t seed = Seed();
  for (uint64_t round = 0; round < 4 && !::testing::Test::HasFailure(); ++round) Model(seed + round).Run(1500);
}

}  // namespace
}  // namespace glintfs
