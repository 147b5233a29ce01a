// The cache as a whole: verdicts on complete images, by the checksums that the source knows.
#include <fstream>

#include "fs/cache/verifier.h"
#include "tests/unit/cache_fixture.h"

namespace glintfs::testing {
namespace {

using namespace std::chrono_literals;

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

// It is fetched again, and nothing holds the image afterwards.
TEST_F(CacheTest, WhatTheVerifierFindsBadIsFetchedAgain) {
  FakeImage image;
  image.size = kMiB;
  backend_.Put("a", image);
  image.checksum = Checksum{"sha256", Sha256(backend_.Expected("a", 0, kMiB))};
  backend_.Put("a", image);
  backend_.Hang(Call::kChecksum, "a");
  Open();
  { ExpectRead(*Image("a"), 0, 4096); }
  ASSERT_TRUE(WaitComplete("a"));
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_ / "data")) {
    if (!entry.is_regular_file()) continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(3 * kChunk + 5);
    file << "bad";
  }
  backend_.Release(Call::kChecksum, "a");
  EXPECT_TRUE(WaitFor([&] { return cache_->StatusOf("a")->state == ImageState::kVerified; }));
  EXPECT_EQ(cache_->Stats().bad_chunks, 1u);
  EXPECT_TRUE(cache_->Evict("a"));
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

}  // namespace
}  // namespace glintfs::testing
