// Sealed images: when the kernel may read a file by itself, and what becomes of one that turns out bad.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>

#include "fs/base/thread.h"
#include "fs/base/unique_fd.h"
#include "fs/cache/cache.h"
#include "fs/cache/cached_image.h"
#include "fs/cache/sealed_image.h"
#include "tests/support/fake_backend.h"
#include "tests/support/sync_read.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace glintfs {
namespace {

using namespace glintfs::testing;

constexpr uint64_t kChunk = 64 * 1024;
constexpr uint64_t kMiB = 1 << 20;

// A real one, that can be out of descriptors.
class ShortStorage final : public Storage {
 public:
  ShortStorage(std::unique_ptr<Storage> storage, const std::atomic<bool>& is_short)
      : storage_(std::move(storage)), short_(is_short) {}
  Result<std::unique_ptr<File>> Open(const std::string& path, uint64_t size) override {
    if (short_) return ErrnoError(EMFILE, "open " + path);
    return storage_->Open(path, size);
  }
  Result<std::unique_ptr<File>> Create(const std::string& path, uint64_t size) override {
    if (short_) return ErrnoError(EMFILE, "create " + path);
    return storage_->Create(path, size);
  }
  Result<void> Remove(const std::string& path) override { return storage_->Remove(path); }
  Result<void> Walk(const std::string& directory, const std::function<void(const Found&)>& found) override {
    return storage_->Walk(directory, found);
  }
  Result<SpaceInfo> Space() override { return storage_->Space(); }

 private:
  const std::unique_ptr<Storage> storage_;
  const std::atomic<bool>& short_;
};

class SealedTest : public ::testing::Test {
 protected:
  void SetUp() override { Open(); }
  void Open() {
    options_.directory = dir_.path();
    options_.chunk_size = kChunk;
    options_.limits.min_free = 0;
    auto storage = OpenPosixStorage(dir_.path());
    ASSERT_TRUE(storage) << storage.error().ToString();
    auto cache =
        Cache::Open(options_, backend_, Clock::System(), std::make_unique<ShortStorage>(std::move(*storage), short_));
    ASSERT_TRUE(cache) << cache.error().ToString();
    cache_ = std::move(*cache);
  }
  std::shared_ptr<CachedImage> Image(const std::string& name) {
    auto image = cache_->OpenImage(backend_.Info(name));
    EXPECT_TRUE(image) << image.error().ToString();
    return image ? *image : nullptr;
  }
  std::optional<RowId> Row(const std::string& name) { return cache_->SealedRow(backend_.Info(name).id); }
  // Reads all of it, and waits until it is sealed.
  RowId Fill(const std::string& name) {
    ReadRight(*Image(name), 0, 4096);
    EXPECT_TRUE(WaitFor([&] { return Row(name).has_value(); }));
    return Row(name).value_or(0);
  }
  void ReadRight(CachedImage& image, uint64_t offset, size_t length) {
    const auto read = ReadNow(image, offset, length);
    ASSERT_TRUE(read) << read.error().ToString();
    const ImageId& id = image.info().id;
    EXPECT_TRUE(*read == backend_.Expected(id.name, id.version, offset, length)) << "wrong bytes at " << offset;
  }
  // The data file of the only image.
  std::string DataFile() {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_ / "data"))
      if (entry.is_regular_file()) return entry.path();
    return "";
  }
  void Damage(uint64_t offset) {
    const UniqueFd fd(::open(DataFile().c_str(), O_RDWR));
    ASSERT_TRUE(fd.valid());
    ASSERT_EQ(::pwrite(fd.get(), "rotten", 6, static_cast<off_t>(offset)), 6);
  }
  bool IsDamaged(uint64_t offset) {
    char text[6] = {};
    const UniqueFd fd(::open(DataFile().c_str(), O_RDONLY));
    return ::pread(fd.get(), text, 6, static_cast<off_t>(offset)) == 6 && std::string(text, 6) == "rotten";
  }

  TempDir dir_;
  FakeBackend backend_;
  CacheOptions options_;
  std::atomic<bool> short_{false};  // of descriptors
  std::unique_ptr<Cache> cache_;
};

TEST_F(SealedTest, NotBeforeItIsCompleteAndInTheIndex) {
  backend_.Put("a", 2 * kMiB + 5);
  options_.fill = FillMode::kDemand;
  cache_.reset();
  Open();
  auto image = Image("a");
  ReadRight(*image, 0, kMiB);
  ASSERT_TRUE(cache_->Checkpoint());
  EXPECT_FALSE(Row("a"));
  EXPECT_EQ(cache_->OpenSealed(image->row()).error().code, Errc::kNotFound);
  ReadRight(*image, kMiB, kMiB + 5);
  ASSERT_TRUE(cache_->Checkpoint());
  EXPECT_TRUE(WaitFor([&] { return Row("a") == image->row(); }));
}

TEST_F(SealedTest, IsAnnouncedOnce) {
  std::atomic<int> sealed{0};
  cache_->SetEventHandler([&](Cache::Event event, const ImageInfo& info, const Cache::EventDetail&) {
    if (event == Cache::Event::kSealed && info.id.name == "a") ++sealed;
  });
  backend_.Put("a", 2 * kMiB);
  Fill("a");
  EXPECT_TRUE(WaitFor([&] { return sealed == 1; }));
  ReadRight(*Image("a"), 0, 2 * kMiB);
  ASSERT_TRUE(cache_->Checkpoint());
  EXPECT_EQ(sealed, 1);
  cache_->SetEventHandler(nullptr);
}

TEST_F(SealedTest, IsInUseWhileItIsOpen) {
  backend_.Put("a", 2 * kMiB);
  const RowId row = Fill("a");
  auto sealed = cache_->OpenSealed(row);
  ASSERT_TRUE(sealed) << sealed.error().ToString();
  cache_->SealedOpened(row);
  EXPECT_EQ(cache_->StatusOf("a")->open_count, 1);
  EXPECT_EQ(cache_->Prune(0, false).files, 0u);
  const auto evicted = cache_->Evict("a");
  ASSERT_FALSE(evicted);
  EXPECT_EQ(evicted.error().code, Errc::kBusy);
  cache_->SealedClosed(row);
  sealed->image.reset();
  EXPECT_TRUE(WaitFor([&] { return static_cast<bool>(cache_->Evict("a")); }));
  EXPECT_FALSE(Row("a"));
  EXPECT_EQ(cache_->OpenSealed(row).error().code, Errc::kNotFound);
}

TEST_F(SealedTest, ASupersededImageIsNot) {
  backend_.Put("a", 2 * kMiB);
  const ImageInfo old = backend_.Info("a");
  Fill("a");
  ImageId next = old.id;
  next.version = "another";
  cache_->Supersede(next);
  EXPECT_FALSE(cache_->SealedRow(old.id));
  cache_->Supersede(old.id);
  EXPECT_TRUE(cache_->SealedRow(old.id));
}

TEST_F(SealedTest, ABadChunkIsFetchedButTheFileIsNotWritten) {
  backend_.Put("a", 2 * kMiB);
  const RowId row = Fill("a");
  auto sealed = cache_->OpenSealed(row);
  ASSERT_TRUE(sealed) << sealed.error().ToString();
  const uint64_t bad = 5 * kChunk;
  Damage(bad + 100);
  {
    auto image = Image("a");
    image->CheckRange(bad, 1);
    EXPECT_FALSE(Row("a"));
    for (int i = 0; i < 2; ++i) ReadRight(*image, bad - 10, kChunk);
    EXPECT_TRUE(IsDamaged(bad + 100)) << "the file was written";
  }
  EXPECT_EQ(cache_->OpenSealed(row).error().code, Errc::kNotFound);
  sealed->image.reset();
  // Nobody uses it any more: it goes, and comes back whole.
  EXPECT_TRUE(WaitFor([&] { return !cache_->StatusOf("a"); }));
  Fill("a");
  ReadRight(*Image("a"), 0, 2 * kMiB);
  EXPECT_FALSE(IsDamaged(bad + 100));
}

TEST_F(SealedTest, ABadChunkOfAFileThatWasNotPassedThroughIsRepaired) {
  backend_.Put("a", 2 * kMiB);
  Fill("a");
  Damage(100);
  auto image = Image("a");
  image->CheckRange(0, 1);
  EXPECT_FALSE(Row("a"));
  EXPECT_EQ(cache_->OpenSealed(image->row()).error().code, Errc::kNotFound);
  ReadRight(*image, 0, kMiB);
  EXPECT_TRUE(WaitFor([&] { return Row("a").has_value(); }));
  EXPECT_FALSE(IsDamaged(100));
}

TEST_F(SealedTest, ADataFileThatIsGoneIsNotOpened) {
  backend_.Put("a", 2 * kMiB);
  const RowId row = Fill("a");
  ASSERT_TRUE(WaitFor([&] { return cache_->StatusOf("a")->open_count == 0; }));
  std::filesystem::remove(DataFile());
  EXPECT_EQ(cache_->OpenSealed(row).error().code, Errc::kNotFound);
  EXPECT_FALSE(Row("a"));
  ReadRight(*Image("a"), 0, 2 * kMiB);
}

TEST_F(SealedTest, ASourceThatCannotBeAskedForAChecksumDoesNotHinderIt) {
  backend_.Put("a", 2 * kMiB);
  backend_.Fail(Call::kChecksum, {Errc::kUnavailable, "down"}, "a", -1);
  Fill("a");
  EXPECT_EQ(cache_->StatusOf("a")->state, ImageState::kComplete);
  cache_.reset();
  Open();
  ReadRight(*Image("a"), 0, 4096);
  EXPECT_TRUE(WaitFor([&] { return Row("a").has_value(); }));
}

// An eviction that sees no handle may be overtaken by an open: then it fails, and the reader notices nothing.
TEST_F(SealedTest, ReadsRacingEvictionsAreRight) {
  backend_.Put("a", 2 * kMiB + 5);
  std::atomic<bool> over{false};
  std::vector<Thread> readers;
  for (int i = 0; i < 3; ++i)
    readers.emplace_back("reader", [&](std::stop_token) {
      for (uint64_t at = 0; !over; at = (at + 700'001) % (2 * kMiB - 1000)) ReadRight(*Image("a"), at, 1000);
    });
  int evicted = 0;
  EXPECT_TRUE(WaitFor([&] {
    evicted += cache_->Evict("a") ? 1 : 0;
    return evicted >= 5;
  })) << evicted;
  over = true;
  for (Thread& reader : readers) reader.Join();
}

// Out of descriptors: that says nothing about the image.
TEST_F(SealedTest, AFileThatCannotBeOpenedNowIsLeftAlone) {
  backend_.Put("a", 2 * kMiB);
  const RowId row = Fill("a");
  ASSERT_TRUE(WaitFor([&] { return cache_->StatusOf("a")->open_count == 0; }));
  short_ = true;
  const auto sealed = cache_->OpenSealed(row);
  auto past = Image("a");
  ReadRight(*past, 0, 2 * kMiB);  // past the cache
  short_ = false;
  ASSERT_FALSE(sealed);
  EXPECT_EQ(sealed.error().code, Errc::kIo);
  const uint64_t fetched = backend_.DeliveredBytes("a");
  EXPECT_TRUE(WaitFor([&] { return Row("a") == row; }));
  EXPECT_TRUE(cache_->OpenSealed(row)) << "while the other is still in use";
  past.reset();
  EXPECT_TRUE(WaitFor([&] { return cache_->StatusOf("a")->state == ImageState::kComplete; }));
  ReadRight(*Image("a"), 0, 2 * kMiB);
  EXPECT_EQ(backend_.DeliveredBytes("a"), fetched);
}

}  // namespace
}  // namespace glintfs
