// The cache as a whole: the queue of images to be cached on request.
#include "tests/unit/cache_fixture.h"

namespace glintfs::testing {
namespace {

using namespace std::chrono_literals;

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

}  // namespace
}  // namespace glintfs::testing
