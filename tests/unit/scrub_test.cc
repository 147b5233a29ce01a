// Scrubs: what is bad on disk is found and fetched again, whatever the image is being used for.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>

#include "fs/base/thread.h"
#include "fs/base/unique_fd.h"
#include "fs/cache/cache.h"
#include "fs/cache/cached_image.h"
#include "fs/cache/sealed_image.h"
#include "tests/support/crash_storage.h"
#include "tests/support/fake_backend.h"
#include "tests/support/sync_read.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace glintfs {
namespace {

using namespace glintfs::testing;
using State = ScrubStatus::State;

constexpr uint64_t kChunk = 64 * 1024;
constexpr uint64_t kMiB = 1 << 20;

std::string Sha256(const std::vector<std::byte>& bytes) {
  unsigned char digest[32];
  EVP_Digest(bytes.data(), bytes.size(), digest, nullptr, EVP_sha256(), nullptr);
  std::string hex;
  for (const unsigned char byte : digest) hex += fmt::format("{:02x}", byte);
  return hex;
}

class ScrubTest : public ::testing::Test {
 protected:
  void Open(FillMode fill = FillMode::kFull, std::unique_ptr<Storage> storage = nullptr) {
    cache_.reset();
    options_.directory = dir_.path();
    options_.chunk_size = kChunk;
    options_.fill = fill;
    options_.limits.min_free = 0;
    auto cache = Cache::Open(options_, backend_, Clock::System(), std::move(storage));
    ASSERT_TRUE(cache) << cache.error().ToString();
    cache_ = std::move(*cache);
  }
  std::shared_ptr<CachedImage> Image(const std::string& name) {
    auto image = cache_->OpenImage(backend_.Info(name));
    EXPECT_TRUE(image) << image.error().ToString();
    return image ? *image : nullptr;
  }
  void ReadRight(CachedImage& image, uint64_t offset, size_t length) {
    const auto read = ReadNow(image, offset, length);
    ASSERT_TRUE(read) << read.error().ToString();
    const ImageId& id = image.info().id;
    EXPECT_TRUE(*read == backend_.Expected(id.name, id.version, offset, length)) << "wrong bytes at " << offset;
  }
  // Reads all of it and lets go of it.
  void Cache(const std::string& name) {
    ReadRight(*Image(name), 0, backend_.Info(name).size);
    ASSERT_TRUE(cache_->Checkpoint());
    ASSERT_TRUE(WaitFor([&] { return IsComplete(name) && cache_->StatusOf(name)->open_count == 0; }));
  }
  bool IsComplete(const std::string& name) {
    const auto status = cache_->StatusOf(name);
    return status && (status->state == ImageState::kComplete || status->state == ImageState::kVerified);
  }
  ScrubStatus Scrub(const std::string& name) {
    const auto status = cache_->StatusOf(name);
    return status ? status->scrub : ScrubStatus();
  }
  bool WaitScrub(const std::string& name, State state) {
    return WaitFor([&] { return Scrub(name).state == state; });
  }
  std::string DataFile() {  // of the only image
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
  std::optional<RowId> SealedRow(const std::string& name) { return cache_->SealedRow(backend_.Info(name).id); }

  TempDir dir_;
  FakeBackend backend_;
  CacheOptions options_;
  std::unique_ptr<glintfs::Cache> cache_;
};

TEST_F(ScrubTest, WhatIsGoodIsGood) {
  Open();
  backend_.Put("a", 3 * kMiB + 5);
  Cache("a");
  EXPECT_EQ(Scrub("a").state, State::kNever);
  const uint64_t fetched = backend_.DeliveredBytes("a");
  ASSERT_TRUE(cache_->Scrub("a"));
  ASSERT_TRUE(WaitScrub("a", State::kGood)) << Scrub("a").error;
  EXPECT_EQ(Scrub("a").checked_bytes, 3 * kMiB + 5);
  EXPECT_EQ(Scrub("a").bad_chunks, 0u);
  EXPECT_GT(Scrub("a").finished.count(), 0);
  EXPECT_EQ(backend_.DeliveredBytes("a"), fetched);
}

TEST_F(ScrubTest, NothingCachedIsNotFound) {
  Open();
  backend_.Put("a", kMiB);
  EXPECT_EQ(cache_->Scrub("a").error().code, Errc::kNotFound);
  EXPECT_EQ(cache_->ScrubAll(), 0u);
}

TEST_F(ScrubTest, ABadChunkIsFetchedAgainAndNothingElse) {
  Open();
  backend_.Put("a", 3 * kMiB + 5);
  Cache("a");
  const uint64_t fetched = backend_.DeliveredBytes("a");
  Damage(5 * kChunk + 100);
  Damage(3 * kMiB - 1);  // the last two: one whole, one short
  ASSERT_EQ(cache_->ScrubAll(), 1u);
  ASSERT_TRUE(WaitScrub("a", State::kRepaired)) << Scrub("a").error;
  EXPECT_EQ(Scrub("a").bad_chunks, 3u);
  EXPECT_FALSE(IsDamaged(5 * kChunk + 100));
  EXPECT_FALSE(IsDamaged(3 * kMiB - 1));
  EXPECT_EQ(backend_.DeliveredBytes("a") - fetched, 2 * kChunk + 5);
  EXPECT_TRUE(IsComplete("a"));
  EXPECT_EQ(cache_->Stats().bad_chunks, 3u);
  ASSERT_TRUE(cache_->Scrub("a"));
  EXPECT_TRUE(WaitScrub("a", State::kGood));
}

TEST_F(ScrubTest, DamageIsToldWhenItIsFoundAndItsRepairWhenItIsBack) {
  Open();
  backend_.Put("a", 2 * kMiB);
  Cache("a");
  std::atomic<int> damaged{0}, repaired{0};
  cache_->SetEventHandler([&](glintfs::Cache::Event event, const ImageInfo&, const glintfs::Cache::EventDetail&) {
    damaged += event == glintfs::Cache::Event::kDamaged ? 1 : 0;
    repaired += event == glintfs::Cache::Event::kRepaired ? 1 : 0;
  });
  Damage(100);
  Damage(5 * kChunk);
  backend_.FailAll({Errc::kUnavailable, "down"});
  ASSERT_TRUE(cache_->Scrub("a"));
  ASSERT_TRUE(WaitScrub("a", State::kFailed));
  ASSERT_TRUE(cache_->Checkpoint());
  EXPECT_EQ(damaged, 1) << "once for all of it";
  EXPECT_EQ(repaired, 0) << "nothing is repaired yet";
  backend_.Heal();
  ASSERT_TRUE(WaitScrub("a", State::kRepaired)) << Scrub("a").error;
  EXPECT_TRUE(WaitFor([&] { return repaired == 1; }));
  EXPECT_EQ(damaged, 1);
  cache_->SetEventHandler(nullptr);
}

TEST_F(ScrubTest, TheRepairOfWhatIsReplacedIsTold) {
  Open(FillMode::kDemand);
  backend_.Put("a", 2 * kMiB);
  Cache("a");
  ASSERT_TRUE(WaitFor([&] { return SealedRow("a").has_value(); }));
  ASSERT_TRUE(cache_->OpenSealed(*SealedRow("a")));
  std::atomic<int> repaired{0};
  cache_->SetEventHandler([&](glintfs::Cache::Event event, const ImageInfo&, const glintfs::Cache::EventDetail&) {
    repaired += event == glintfs::Cache::Event::kRepaired ? 1 : 0;
  });
  Damage(100);
  ASSERT_TRUE(cache_->Scrub("a"));
  ASSERT_TRUE(WaitScrub("a", State::kRepaired)) << Scrub("a").error;
  EXPECT_TRUE(WaitFor([&] { return repaired == 1; }));
  cache_->SetEventHandler(nullptr);
}

TEST_F(ScrubTest, APartialImageStaysPartial) {
  Open(FillMode::kDemand);
  backend_.Put("a", 16 * kMiB);
  {
    auto image = Image("a");
    ReadRight(*image, 2 * kMiB, 3 * kChunk);
    ASSERT_TRUE(cache_->Checkpoint());
  }
  const auto before = cache_->StatusOf("a");
  ASSERT_EQ(before->state, ImageState::kPartial);
  Damage(2 * kMiB + kChunk);
  ASSERT_TRUE(cache_->Scrub("a"));
  ASSERT_TRUE(WaitScrub("a", State::kRepaired)) << Scrub("a").error;
  EXPECT_EQ(Scrub("a").bad_chunks, 1u);
  EXPECT_FALSE(IsDamaged(2 * kMiB + kChunk));
  EXPECT_EQ(cache_->StatusOf("a")->chunks_present, before->chunks_present);
}

TEST_F(ScrubTest, AnImageThatWasPassedThroughIsReplacedOnceNobodyHasItOpen) {
  Open(FillMode::kDemand);  // so that nobody but the scrub brings it back
  backend_.Put("a", 2 * kMiB);
  Cache("a");
  ASSERT_TRUE(WaitFor([&] { return SealedRow("a").has_value(); }));
  const RowId row = *SealedRow("a");
  auto sealed = cache_->OpenSealed(row);
  ASSERT_TRUE(sealed) << sealed.error().ToString();
  cache_->SealedOpened(row);
  Damage(100);
  ASSERT_TRUE(cache_->Scrub("a"));
  ASSERT_TRUE(WaitScrub("a", State::kFailed));
  EXPECT_NE(Scrub("a").error.find("removed once nobody"), std::string::npos) << Scrub("a").error;
  EXPECT_EQ(Scrub("a").bad_chunks, 1u);
  EXPECT_TRUE(IsDamaged(100)) << "the file was written";
  EXPECT_FALSE(SealedRow("a"));
  cache_->SealedClosed(row);
  sealed->file.reset();
  sealed->image.reset();
  ASSERT_TRUE(WaitFor([&] { return IsComplete("a"); }));
  EXPECT_TRUE(WaitScrub("a", State::kRepaired)) << Scrub("a").error;
  EXPECT_FALSE(IsDamaged(100));
  EXPECT_TRUE(WaitFor([&] { return cache_->Queue().empty(); }));
}

TEST_F(ScrubTest, AnImageThatWasPassedThroughStaysUntilTheSourceAnswers) {
  Open(FillMode::kDemand);
  backend_.Put("a", 2 * kMiB);
  Cache("a");
  ASSERT_TRUE(WaitFor([&] { return SealedRow("a").has_value(); }));
  ASSERT_TRUE(cache_->OpenSealed(*SealedRow("a")));
  Damage(100);
  backend_.FailAll({Errc::kUnavailable, "down"});
  ASSERT_TRUE(cache_->Scrub("a"));
  ASSERT_TRUE(WaitScrub("a", State::kFailed));
  EXPECT_NE(Scrub("a").error.find("once the source can give them"), std::string::npos) << Scrub("a").error;
  EXPECT_EQ(cache_->StatusOf("a")->chunks_present, 2 * kMiB / kChunk - 1);
  backend_.Heal();
  ASSERT_TRUE(WaitScrub("a", State::kRepaired)) << Scrub("a").error;
  EXPECT_TRUE(WaitFor([&] { return IsComplete("a"); }));
  EXPECT_FALSE(IsDamaged(100));
}

TEST_F(ScrubTest, WithoutTheSourceItIsRepairedLater) {
  Open();
  backend_.Put("a", 2 * kMiB);
  Cache("a");
  Damage(100);
  backend_.FailAll({Errc::kUnavailable, "down"});
  ASSERT_TRUE(cache_->Scrub("a"));
  ASSERT_TRUE(WaitScrub("a", State::kFailed));
  EXPECT_NE(Scrub("a").error.find("down"), std::string::npos) << Scrub("a").error;
  EXPECT_EQ(cache_->StatusOf("a")->chunks_present, 2 * kMiB / kChunk - 1);
  ASSERT_TRUE(cache_->Scrub("a"));  // what is left is good, and what is missing still missing
  ASSERT_TRUE(WaitScrub("a", State::kFailed));
  EXPECT_EQ(Scrub("a").bad_chunks, 1u);
  backend_.Heal();
  ASSERT_TRUE(WaitScrub("a", State::kRepaired)) << Scrub("a").error;
  EXPECT_TRUE(WaitFor([&] { return IsComplete("a"); }));
  EXPECT_FALSE(IsDamaged(100));
}

TEST_F(ScrubTest, AReaderMayRepairItFirst) {
  Open();
  backend_.Put("a", 2 * kMiB);
  Cache("a");
  Damage(100);
  backend_.FailAll({Errc::kUnavailable, "down"});
  ASSERT_TRUE(cache_->Scrub("a"));
  ASSERT_TRUE(WaitScrub("a", State::kFailed));
  backend_.Heal();
  ReadRight(*Image("a"), 0, kMiB);
  EXPECT_TRUE(WaitScrub("a", State::kRepaired)) << Scrub("a").error;
}

TEST_F(ScrubTest, AChecksumThatCameLaterIsCompared) {
  Open();
  FakeImage image;
  image.size = 2 * kMiB;
  backend_.Put("right", image);
  backend_.Put("wrong", image);
  Cache("right");
  Cache("wrong");
  ASSERT_TRUE(WaitFor([&] { return SealedRow("right") && SealedRow("wrong"); }));
  image.checksum = Checksum{"sha256", Sha256(backend_.Expected("right", 0, image.size))};
  backend_.Put("right", image);
  image.checksum = Checksum{"sha256", std::string(64, '0')};
  backend_.Put("wrong", image);
  EXPECT_EQ(cache_->ScrubAll(), 2u);
  ASSERT_TRUE(WaitScrub("right", State::kGood)) << Scrub("right").error;
  ASSERT_TRUE(WaitScrub("wrong", State::kFailed));
  EXPECT_EQ(cache_->StatusOf("right")->state, ImageState::kVerified);
  EXPECT_EQ(cache_->StatusOf("wrong")->state, ImageState::kInvalid);
  EXPECT_NE(Scrub("wrong").error.find("the source says 0000"), std::string::npos) << Scrub("wrong").error;
  EXPECT_EQ(cache_->OpenImage(backend_.Info("wrong")).error().code, Errc::kCorrupt);
}

TEST_F(ScrubTest, ReadersOfAnOpenImageGetTheRightBytes) {
  Open();
  backend_.Put("a", 4 * kMiB);
  Cache("a");
  auto image = Image("a");
  std::atomic<bool> over{false};
  std::vector<Thread> readers;
  for (uint64_t i = 0; i < 2; ++i)
    readers.emplace_back("reader", [&, i](std::stop_token) {
      // Off the chunks that rot below: nothing checks those on reads.
      for (uint64_t at = i * kChunk; !over; at = (at + 3 * kChunk) % (2 * kMiB)) ReadRight(*image, at, 5000);
    });
  for (int round = 0; round < 3; ++round) {
    Damage(3 * kMiB + static_cast<uint64_t>(round) * kChunk);
    ASSERT_TRUE(cache_->Scrub("a"));
    ASSERT_TRUE(WaitScrub("a", State::kRepaired)) << Scrub("a").error;
  }
  over = true;
  for (Thread& reader : readers) reader.Join();
  ReadRight(*image, 0, 4 * kMiB);
}

TEST_F(ScrubTest, SurvivesAnEvictionUnderIt) {
  Open();
  backend_.Put("a", 4 * kMiB);
  for (int round = 0; round < 5; ++round) {
    Cache("a");
    ASSERT_TRUE(cache_->Scrub("a"));
    ASSERT_TRUE(WaitFor([&] { return static_cast<bool>(cache_->Evict("a")); }));
    EXPECT_FALSE(cache_->StatusOf("a"));
  }
  Cache("a");
  EXPECT_TRUE(cache_->Scrub("a"));
  EXPECT_TRUE(WaitScrub("a", State::kGood));
}

TEST_F(ScrubTest, IsNoUse) {
  Open();
  backend_.Put("old", kMiB);
  backend_.Put("new", kMiB);
  Cache("old");
  Cache("new");
  ASSERT_TRUE(cache_->Scrub("old"));
  ASSERT_TRUE(WaitScrub("old", State::kGood));
  // The scrub holds it for a moment after its verdict.
  ASSERT_TRUE(WaitFor([&] { return cache_->Prune(kMiB + 64 * 1024, true).names == std::vector<std::string>{"old"}; }));
  EXPECT_EQ(cache_->Prune(kMiB + 64 * 1024, false).files, 1u);
  EXPECT_FALSE(cache_->StatusOf("old"));
  EXPECT_TRUE(IsComplete("new"));
}

TEST_F(ScrubTest, StopsWhileTheSourceHangs) {
  Open();
  backend_.Put("a", 2 * kMiB);
  Cache("a");
  Damage(100);
  backend_.Hang(Call::kFetch);
  ASSERT_TRUE(cache_->Scrub("a"));
  ASSERT_TRUE(WaitFor([&] { return backend_.Hanging(Call::kFetch) == 1; }));
  EXPECT_EQ(Scrub("a").state, State::kRunning);
  cache_.reset();
  backend_.ReleaseAll();
  // What was found bad is not believed again.
  Open();
  ReadRight(*Image("a"), 0, 2 * kMiB);
  EXPECT_TRUE(WaitFor([&] { return IsComplete("a"); }));
}

TEST_F(ScrubTest, ADiskThatCannotBeReadCountsAsBad) {
  auto storage = std::make_unique<CrashStorage>();
  CrashStorage& disk = *storage;
  Open(FillMode::kFull, std::move(storage));
  backend_.Put("a", 8 * kChunk);
  Cache("a");
  disk.FailReads(Error{Errc::kIo, "the disk is broken"});
  ASSERT_TRUE(cache_->Scrub("a"));
  ASSERT_TRUE(WaitFor([&] { return Scrub("a").bad_chunks == 8; }));
  disk.FailReads(std::nullopt);
  EXPECT_TRUE(WaitScrub("a", State::kRepaired)) << Scrub("a").error;
  ReadRight(*Image("a"), 0, 8 * kChunk);
}

// Where the file system reads directly, a scrub brings nothing into memory.
TEST_F(ScrubTest, ReadsPastThePageCache) {
  Open();
  backend_.Put("a", 4 * kMiB);
  Cache("a");
  const UniqueFd fd(::open(DataFile().c_str(), O_RDONLY));
  const UniqueFd direct(::open(DataFile().c_str(), O_RDONLY | O_DIRECT));
  if (!direct.valid()) GTEST_SKIP() << "no O_DIRECT on this file system";
  void* mapping = ::mmap(nullptr, 4 * kMiB, PROT_READ, MAP_SHARED, fd.get(), 0);
  ASSERT_NE(mapping, MAP_FAILED);
  const auto resident = [&] {
    std::vector<unsigned char> pages(4 * kMiB / 4096);
    EXPECT_EQ(::mincore(mapping, 4 * kMiB, pages.data()), 0);
    return std::count_if(pages.begin(), pages.end(), [](unsigned char page) { return (page & 1) != 0; });
  };
  ::fsync(fd.get());
  ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
  const auto before = resident();
  if (before == 0) {
    ASSERT_TRUE(cache_->Scrub("a"));
    EXPECT_TRUE(WaitScrub("a", State::kGood));
    EXPECT_EQ(resident(), 0);
  }
  ::munmap(mapping, 4 * kMiB);
  if (before != 0) GTEST_SKIP() << "this file system keeps its pages in memory";
}

}  // namespace
}  // namespace glintfs
