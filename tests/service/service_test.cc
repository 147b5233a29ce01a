// What the control API asks, over a real cache and catalogue and a source that is steered.
#include "fs/service.h"

#include <gtest/gtest.h>

#include "fs/cache/cached_image.h"
#include "fs/cache_events.h"
#include "tests/support/fake_backend.h"
#include "tests/support/sync_read.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace glintfs {
namespace {

using namespace glintfs::testing;

constexpr uint64_t kMiB = 1 << 20;

class ServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    CacheOptions options;
    options.directory = dir_.path();
    options.limits.min_free = 0;
    auto cache = Cache::Open(options, backend_, Clock::System());
    ASSERT_TRUE(cache) << cache.error().ToString();
    cache_ = std::move(*cache);
    CatalogOptions catalog;
    catalog.on_health = [this](const Health& health) {
      events_.Add(health.reachable ? ServiceEvent::Kind::kSourceBack : ServiceEvent::Kind::kSourceAway, "", health.error);
    };
    catalog_ = std::make_unique<Catalog>(std::move(catalog), backend_, *cache_, Clock::System());
    cache_->SetEventHandler(PassOnCacheEvents(events_, *catalog_));
    service_ = std::make_unique<DaemonService>(settings_, events_, backend_, *cache_, *catalog_, Clock::System());
  }
  void TearDown() override {
    backend_.ReleaseAll();
    Close();
  }
  void Close() {
    if (cache_) cache_->SetEventHandler(nullptr);
    service_.reset();
    catalog_.reset();
    cache_.reset();
  }
  std::vector<std::string> Told(const std::string& name) {  // kinds, in order
    std::vector<std::string> kinds;
    for (const ServiceEvent& event : service_->Events(0, 1000).events)
      if (event.name == name) kinds.emplace_back(EventKindName(event.kind));
    return kinds;
  }
  bool IsComplete(const std::string& name) {
    const auto image = service_->Image(name);
    return image && image->state == ImageState::kComplete;
  }
  std::vector<std::string> Queued() {
    std::vector<std::string> names;
    for (const QueueEntry& entry : service_->Queue()) names.push_back(entry.name);
    return names;
  }
  std::string Running() {
    for (const QueueEntry& entry : service_->Queue())
      if (entry.running) return entry.name;
    return "";
  }

  TempDir dir_;
  FakeBackend backend_;
  RunningSettings settings_{Options()};
  EventLog events_{Clock::System()};
  std::unique_ptr<Cache> cache_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<DaemonService> service_;
};

TEST_F(ServiceTest, NowOvertakesWhatIsBeingCached) {
  backend_.SetBlockSize(64 * 1024);
  for (const char* name : {"a", "b", "c"}) backend_.Put(name, 8 * kMiB);
  backend_.Hang(Call::kFetch, "a", kMiB / 2);
  ASSERT_TRUE(service_->QueueImage("a", false));
  ASSERT_TRUE(service_->QueueImage("b", false));
  ASSERT_TRUE(WaitFor([&] { return Running() == "a" && backend_.Hanging(Call::kFetch) > 0; }));
  backend_.Hang(Call::kFetch, "c", kMiB / 2);
  ASSERT_TRUE(service_->QueueImage("c", true));
  ASSERT_TRUE(WaitFor([&] { return Running() == "c"; }));
  EXPECT_EQ(Queued(), (std::vector<std::string>{"c", "a", "b"}));
  for (const QueueEntry& entry : service_->Queue()) EXPECT_EQ(entry.attempts, 0) << entry.name << ": " << entry.error;
  backend_.Release(Call::kFetch, "c");
  backend_.Release(Call::kFetch, "a");
  ASSERT_TRUE(WaitFor([&] { return Queued().empty(); }));
  for (const char* name : {"a", "b", "c"}) {
    EXPECT_TRUE(IsComplete(name)) << name;
    EXPECT_EQ(backend_.DistinctBytes(name), 8 * kMiB) << name;
  }
  EXPECT_LT(backend_.DeliveredBytes("a"), 9 * kMiB) << "it went on where it stood";
}

TEST_F(ServiceTest, NowIsFirstAfterARestartToo) {
  for (const char* name : {"a", "b", "c"}) backend_.Put(name, kMiB);
  backend_.Hang(Call::kFetch);
  for (const char* name : {"a", "b"}) ASSERT_TRUE(service_->QueueImage(name, false));
  ASSERT_TRUE(service_->QueueImage("c", true));
  ASSERT_TRUE(service_->QueueImage("b", true));  // it was queued already
  EXPECT_EQ(Queued(), (std::vector<std::string>{"b", "c", "a"}));
  Close();
  SetUp();
  EXPECT_EQ(Queued(), (std::vector<std::string>{"b", "c", "a"}));
}

TEST_F(ServiceTest, TheQueueKnowsTheSizesOfWhatWaits) {
  backend_.Put("a", 8 * kMiB);
  backend_.Put("b", 3 * kMiB);
  backend_.Hang(Call::kFetch, "a");
  for (const char* name : {"a", "b"}) ASSERT_TRUE(service_->QueueImage(name, false));
  const auto queue = service_->Queue();
  ASSERT_EQ(queue.size(), 2u);
  EXPECT_EQ(queue[0].size, 8 * kMiB);
  EXPECT_EQ(queue[1].size, 3 * kMiB);
}

TEST_F(ServiceTest, AFillOnRequestIsCancelled) {
  backend_.Put("a", 8 * kMiB);
  backend_.Hang(Call::kFetch, "a", kMiB / 2);
  ASSERT_TRUE(service_->QueueImage("a", false));
  ASSERT_TRUE(WaitFor([&] { return backend_.Hanging(Call::kFetch) > 0; }));
  ASSERT_TRUE(service_->CancelFill("a"));
  backend_.ReleaseAll();
  EXPECT_TRUE(Queued().empty());
  ASSERT_TRUE(WaitFor([&] { return backend_.RunningFetches() == 0 && !service_->Image("a")->filling; }));
  EXPECT_FALSE(IsComplete("a"));
  EXPECT_GT(service_->Image("a")->cached_bytes, 0u) << "what is cached stays";
  EXPECT_EQ(service_->CancelFill("a").error().code, Errc::kNotFound);
  EXPECT_EQ(service_->Image("a")->error, "") << "it was wanted";
}

TEST_F(ServiceTest, WhatIsTakenOffTheQueueIsTold) {
  for (const char* name : {"a", "b", "c", "d"}) {
    backend_.Put(name, kMiB);
    backend_.Hang(Call::kFetch, name);
    ASSERT_TRUE(service_->QueueImage(name, false));
  }
  ASSERT_TRUE(service_->CancelFill("b"));
  ASSERT_TRUE(service_->Evict("c"));
  service_->ClearQueue();
  for (const char* name : {"a", "b", "c", "d"}) EXPECT_EQ(Told(name), (std::vector<std::string>{"queued", "cancelled"})) << name;
}

TEST_F(ServiceTest, AFillOfAReaderIsCancelledUntilTheNextOpen) {
  backend_.Put("a", 64 * kMiB);
  backend_.SetBytesPerSecond(16 * kMiB);
  auto opened = cache_->OpenImage(backend_.Info("a"));
  ASSERT_TRUE(opened);
  ASSERT_TRUE(ReadNow(**opened, 0, 4096));
  ASSERT_TRUE(WaitFor([&] { return service_->Image("a")->filling; }));
  ASSERT_TRUE(service_->CancelFill("a"));
  ASSERT_TRUE(WaitFor([&] { return !service_->Image("a")->filling && backend_.RunningFetches() == 0; }));
  ASSERT_TRUE(ReadNow(**opened, 60 * kMiB, 4096)) << "reads go on";
  EXPECT_FALSE(service_->Image("a")->filling) << "and start no fill";
  backend_.SetBytesPerSecond(0);
  auto again = cache_->OpenImage(backend_.Info("a"));
  ASSERT_TRUE(again);
  ASSERT_TRUE(ReadNow(**again, 40 * kMiB, 4096));
  EXPECT_TRUE(WaitFor([&] { return IsComplete("a"); }));
}

TEST_F(ServiceTest, ShowsWhatIsBeingFetched) {
  EXPECT_TRUE(service_->Current().fetches.empty());
  backend_.Put("a", 8 * kMiB);
  backend_.Hang(Call::kFetch, "a", kMiB / 4);
  ASSERT_TRUE(service_->QueueImage("a", false));
  ASSERT_TRUE(WaitFor([&] {
    const Activity now = service_->Current();
    return !now.fetches.empty() && now.fetches[0].received == kMiB / 4 && !now.fills.empty();
  }));
  const Activity now = service_->Current();
  EXPECT_EQ(now.fetches[0].name, "a");
  EXPECT_EQ(now.fetches[0].offset, 0u);
  EXPECT_EQ(now.fetches[0].urgency, "queued");
  EXPECT_GT(now.fetches[0].age.count(), 0);
  ASSERT_EQ(now.fills.size(), 1u);
  EXPECT_EQ(now.fills[0].size, 8 * kMiB);
  EXPECT_EQ(now.fills[0].cached_bytes, kMiB / 4);
  EXPECT_TRUE(now.fills[0].queued);
  backend_.ReleaseAll();
  ASSERT_TRUE(WaitFor([&] { return IsComplete("a"); }));
  EXPECT_TRUE(WaitFor([&] { return service_->Current().fetches.empty() && service_->Current().fills.empty(); }));
}

TEST_F(ServiceTest, ListsTheSource) {
  backend_.Put("dir/a", 1);
  backend_.Put("dir/sub/b", 1);
  backend_.Put("c", 1);
  auto root = service_->SourceEntries("");
  ASSERT_TRUE(root) << root.error().ToString();
  ASSERT_EQ(root->entries.size(), 2u);
  EXPECT_EQ(root->entries.at(0).name, "c");
  EXPECT_FALSE(root->entries.at(0).is_directory);
  auto dir = service_->SourceEntries("dir");
  ASSERT_TRUE(dir) << dir.error().ToString();
  ASSERT_EQ(dir->entries.size(), 2u);
  EXPECT_EQ(dir->entries.at(0).name, "dir/a");
  EXPECT_EQ(dir->entries.at(1).name, "dir/sub");
  EXPECT_TRUE(dir->entries.at(1).is_directory);
  EXPECT_EQ(service_->SourceEntries("none").error().code, Errc::kNotFound);
}

TEST_F(ServiceTest, AListingOfWhatIsKnownSaysSo) {
  backend_.Put("a", 1);
  const auto whole = service_->SourceEntries("");
  ASSERT_TRUE(whole);
  EXPECT_TRUE(whole->complete);
  ASSERT_TRUE(ReadNow(**cache_->OpenImage(backend_.Info("a")), 0, 1));
  ASSERT_TRUE(WaitFor([&] { return cache_->StatusOf("a")->state == ImageState::kComplete; }));  // a read is answered before that
  ASSERT_TRUE(cache_->Checkpoint());
  Close();
  backend_.FailAll(Error{Errc::kUnavailable, "down"});
  SetUp();
  const auto known = service_->SourceEntries("");
  ASSERT_TRUE(known) << known.error().ToString();
  EXPECT_EQ(known->entries.size(), 1u);
  EXPECT_FALSE(known->complete);
}

TEST_F(ServiceTest, ASourceThatCannotListSaysSo) {
  backend_.SetListable(false);
  const auto known = service_->SourceEntries("");
  ASSERT_TRUE(known) << known.error().ToString();
  EXPECT_FALSE(known->complete);
}

TEST_F(ServiceTest, AListingThatHangsEndsWithTheService) {
  backend_.Hang(Call::kList);
  Thread waits("lists", [&](std::stop_token) {
    EXPECT_EQ(service_->SourceEntries("").error().code, Errc::kCancelled);
  });
  ASSERT_TRUE(WaitFor([&] { return backend_.Hanging(Call::kList) == 1; }));
  service_->Cancel();
  waits.Join();
}

// Nobody looks a name up: what fails is fetched, filled, queued or scrubbed.
TEST_F(ServiceTest, WhatTheCacheCannotAskIsTroubleOfTheSource) {
  const Error down{Errc::kUnavailable, "connection refused"};
  for (const char* name : {"a", "b"}) backend_.Put(name, 8 * kMiB);
  auto opened = cache_->OpenImage(backend_.Info("a"));
  ASSERT_TRUE(opened);
  for (const std::string what : {"a fetch", "a question of the queue"}) {
    SCOPED_TRACE(what);
    backend_.FailAll(down);
    if (what == "a fetch") {
      EXPECT_FALSE(ReadNow(**opened, 0, 4096));
    } else {
      ASSERT_TRUE(cache_->Enqueue(backend_.Info("b")));
    }
    ASSERT_TRUE(WaitFor([&] { return !service_->Status().source_reachable; }));
    EXPECT_NE(service_->Status().source_error.find("connection refused"), std::string::npos);
    backend_.Heal();
    ASSERT_TRUE(WaitFor([&] { return service_->Status().source_reachable; })) << "comes back by itself";
  }
  EXPECT_TRUE(WaitFor([&] { return Told("").size() >= 2; }));
  EXPECT_EQ(Told("")[0], "source-away");
  EXPECT_EQ(Told("")[1], "source-back");
}

TEST_F(ServiceTest, OneImageThatDoesNotComeIsNoTroubleOfTheSource) {
  for (const char* name : {"slow", "a"}) backend_.Put(name, kMiB);
  backend_.Fail(Call::kFetch, Error{Errc::kTimedOut, "too slow"}, "slow");
  auto opened = cache_->OpenImage(backend_.Info("slow"));
  ASSERT_TRUE(opened);
  EXPECT_FALSE(ReadNow(**opened, 0, 4096));
  ASSERT_TRUE(WaitFor([&] { return backend_.Count(Call::kStat, "") > 0; })) << "the source itself is asked";
  EXPECT_TRUE(service_->Status().source_reachable);
  EXPECT_TRUE(Told("").empty());
}

TEST_F(ServiceTest, TellsOfTheProcess) {
  const ProcessStats process = service_->Status().process;
  const Nanos now = Clock::System().WallNow();
  EXPECT_LT(process.started, now);
  EXPECT_GT(process.started, now - std::chrono::hours(1));
  EXPECT_GT(process.cpu_seconds, 0);
  EXPECT_GT(process.open_fds, 2u);
  EXPECT_GE(process.max_fds, process.open_fds);
  EXPECT_GT(process.resident_bytes, kMiB);
  EXPECT_GT(process.virtual_bytes, process.resident_bytes);
}

}  // namespace
}  // namespace glintfs
