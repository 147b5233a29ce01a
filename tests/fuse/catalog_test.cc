// The catalogue against a source that changes, fails and hangs.
#include "fs/catalog/catalog.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "tests/support/fake_backend.h"
#include "tests/support/fake_cache.h"
#include "tests/support/wait.h"

namespace glintfs {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::Call;
using testing::FakeBackend;
using testing::FakeCache;
using testing::WaitFor;

// One request's outcome. Shared with its callback.
template <typename T>
struct Outcome {
  Mutex mu;
  int calls GUARDED_BY(mu) = 0;
  std::optional<Result<T>> result GUARDED_BY(mu);

  bool done() {
    MutexLock lock(mu);
    return calls > 0;
  }
  int count() {
    MutexLock lock(mu);
    return calls;
  }
  Result<T> get() {
    MutexLock lock(mu);
    return result ? *result : Result<T>(Errc::kBusy, "no answer yet");
  }
  void Set(Result<T> r) {
    MutexLock lock(mu);
    ++calls;
    result.emplace(std::move(r));
  }
};
using LookupOutcome = std::shared_ptr<Outcome<CatalogEntry>>;
using ListOutcome = std::shared_ptr<Outcome<ListingPtr>>;

class CatalogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    backend_.Put("a", 100);
    backend_.Put("dir/b", 200);
    Restart();
  }
  void TearDown() override { backend_.ReleaseAll(); }

  void Restart() {
    catalog_.reset();
    catalog_ = std::make_unique<Catalog>(options_, backend_, cache_, clock_);
  }

  LookupOutcome Start(const std::string& name, RequestId id = 0) {
    auto outcome = std::make_shared<Outcome<CatalogEntry>>();
    catalog_->Lookup(name, id != 0 ? id : catalog_->NewRequestId(), [outcome](auto r) { outcome->Set(std::move(r)); });
    return outcome;
  }
  Result<CatalogEntry> Lookup(const std::string& name) {
    const LookupOutcome outcome = Start(name);
    EXPECT_TRUE(WaitFor([&] { return outcome->done(); })) << name;
    return outcome->get();
  }
  ListOutcome StartList(const std::string& directory) {
    auto outcome = std::make_shared<Outcome<ListingPtr>>();
    catalog_->List(directory, catalog_->NewRequestId(), [outcome](auto r) { outcome->Set(std::move(r)); });
    return outcome;
  }
  // "a dir/ …", or the name of the error.
  std::string List(const std::string& directory) {
    const ListOutcome outcome = StartList(directory);
    EXPECT_TRUE(WaitFor([&] { return outcome->done(); })) << directory;
    return Text(outcome->get());
  }
  static std::string Text(const Result<ListingPtr>& listing) {
    if (!listing) return std::string(ErrcName(listing.error().code));
    std::string text;
    for (const ListEntry& entry : **listing)
      text += (text.empty() ? "" : " ") + entry.name + (entry.is_directory ? "/" : "");
    return text;
  }
  static Errc Code(const Result<CatalogEntry>& r) { return r ? Errc::kBusy : r.error().code; }
  int Stats(const std::string& name) { return backend_.Count(Call::kStat, name); }
  static std::set<std::string> Set(const std::vector<std::string>& v) { return {v.begin(), v.end()}; }

  FakeClock clock_;
  FakeBackend backend_;
  FakeCache cache_;
  CatalogOptions options_;
  std::unique_ptr<Catalog> catalog_;
};

TEST_F(CatalogTest, AnswersAreKeptForTheirTimeToLive) {
  const auto first = Lookup("a");
  ASSERT_TRUE(first);
  EXPECT_FALSE(first->is_directory);
  EXPECT_EQ(first->image, backend_.Info("a"));
  EXPECT_EQ(first->valid_for, seconds(60));
  clock_.Advance(seconds(59));
  const auto again = Start("a");
  ASSERT_TRUE(again->done()) << "a known name is answered inline";
  EXPECT_EQ(again->get()->valid_for, seconds(1));
  EXPECT_EQ(again->get()->row, first->row);
  EXPECT_EQ(Stats("a"), 1);
  clock_.Advance(seconds(2));
  EXPECT_TRUE(Lookup("a"));
  EXPECT_EQ(Stats("a"), 2);
}

TEST_F(CatalogTest, MissingNamesAreKeptForFiveSeconds) {
  EXPECT_EQ(Code(Lookup("new")), Errc::kNotFound);
  backend_.Put("new", 1);
  clock_.Advance(seconds(4));
  EXPECT_EQ(Code(Lookup("new")), Errc::kNotFound);
  EXPECT_EQ(Stats("new"), 1);
  clock_.Advance(seconds(2));
  EXPECT_TRUE(Lookup("new"));
}

TEST_F(CatalogTest, NamesThatNoImageCanHaveAreNotAskedFor) {
  EXPECT_EQ(Code(Lookup("a/../b")), Errc::kNotFound);
  EXPECT_EQ(Code(Lookup("bad\nname")), Errc::kNotFound);
  EXPECT_EQ(backend_.Count(Call::kStat), 0);
}

TEST_F(CatalogTest, OneQuestionForManyWhoAskTheSame) {
  backend_.Hang(Call::kStat);
  std::vector<LookupOutcome> outcomes;
  for (int i = 0; i < 50; ++i) outcomes.push_back(Start("a"));
  ASSERT_TRUE(WaitFor([&] { return backend_.Hanging(Call::kStat) == 1; }));
  backend_.Release(Call::kStat);
  for (const auto& outcome : outcomes) {
    ASSERT_TRUE(WaitFor([&] { return outcome->done(); }));
    EXPECT_EQ(outcome->get()->image.size, 100u);
  }
  EXPECT_EQ(Stats("a"), 1);
}

TEST_F(CatalogTest, TheCacheIsToldOfNewVersions) {
  const RowId row = Lookup("a")->row;
  EXPECT_EQ(cache_.superseded(), (std::vector<std::string>{"a@v1"})) << "seen for the first time";
  clock_.Advance(seconds(61));
  EXPECT_EQ(Lookup("a")->row, row);
  EXPECT_EQ(cache_.superseded().size(), 1u) << "nothing new";
  backend_.Put("a", 101, "v2");
  clock_.Advance(seconds(61));
  const auto changed = Lookup("a");
  EXPECT_NE(changed->row, row);
  EXPECT_EQ(changed->image.size, 101u);
  EXPECT_EQ(cache_.superseded(), (std::vector<std::string>{"a@v1", "a@v2"}));
}

TEST_F(CatalogTest, TheCacheIsToldOfNamesThatAreGone) {
  EXPECT_EQ(Code(Lookup("never")), Errc::kNotFound);
  EXPECT_TRUE(cache_.gone().empty()) << "it was never there";
  ASSERT_TRUE(Lookup("a"));
  backend_.Remove("a");
  clock_.Advance(seconds(61));
  EXPECT_EQ(Code(Lookup("a")), Errc::kNotFound);
  EXPECT_EQ(cache_.gone(), (std::vector<std::string>{"a"}));

  ImageInfo left = backend_.Info("dir/b");
  left.id.name = "cached-before";
  cache_.PutCached(left);
  EXPECT_EQ(Code(Lookup("cached-before")), Errc::kNotFound);
  EXPECT_EQ(cache_.gone().back(), "cached-before");
}

TEST_F(CatalogTest, AnImageThatBecameADirectoryIsGone) {
  ASSERT_TRUE(Lookup("a"));
  backend_.Remove("a");
  backend_.Put("a/x", 1);
  clock_.Advance(seconds(61));
  EXPECT_TRUE(Lookup("a")->is_directory);
  EXPECT_EQ(cache_.gone(), (std::vector<std::string>{"a"}));
}

class CannotAskTest : public CatalogTest, public ::testing::WithParamInterface<Errc> {};

TEST_P(CannotAskTest, IsNotDeleted) {
  ASSERT_TRUE(Lookup("a"));
  ASSERT_TRUE(Lookup("dir"));
  const auto told = cache_.superseded();
  backend_.FailAll(Error{GetParam(), "no"});
  clock_.Advance(seconds(61));
  const auto offline = Lookup("a");
  ASSERT_TRUE(offline);
  EXPECT_EQ(offline->image.size, 100u);
  EXPECT_LE(offline->valid_for, seconds(1)) << "for a moment only";
  EXPECT_TRUE(Lookup("dir")->is_directory);
  EXPECT_EQ(Code(Lookup("unknown")), GetParam() == Errc::kAccessDenied ? Errc::kAccessDenied : Errc::kUnavailable);
  EXPECT_TRUE(cache_.gone().empty());
  EXPECT_EQ(cache_.superseded(), told);
}
INSTANTIATE_TEST_SUITE_P(Codes, CannotAskTest,
                         ::testing::Values(Errc::kUnavailable, Errc::kTimedOut, Errc::kAccessDenied));

TEST_F(CatalogTest, AFirstFailureIsReportedAsItIs) {
  backend_.FailAll(Error{Errc::kTimedOut, "no"});
  EXPECT_EQ(Code(Lookup("a")), Errc::kTimedOut);
}

TEST_F(CatalogTest, WhatIsCachedIsServedAcrossARestart) {
  cache_.PutCached(backend_.Info("a"));
  cache_.PutCached(backend_.Info("dir/b"));
  backend_.FailAll(Error{Errc::kUnavailable, "down"});
  const auto image = Lookup("a");
  ASSERT_TRUE(image);
  EXPECT_EQ(image->image, backend_.Info("a"));
  EXPECT_TRUE(Lookup("dir")->is_directory);
  EXPECT_EQ(Lookup("dir/b")->image.size, 200u);
  EXPECT_EQ(List(""), "a dir/");
  EXPECT_EQ(List("dir"), "b");
  EXPECT_TRUE(cache_.superseded().empty());
}

TEST_F(CatalogTest, AHangingSourceDelaysKnownNamesOnceByPatience) {
  ASSERT_TRUE(Lookup("a"));
  clock_.Advance(seconds(61));
  backend_.HangAll();
  const auto first = Start("a");
  ASSERT_TRUE(WaitFor([&] { return backend_.Hanging(Call::kStat) == 1; }));
  EXPECT_FALSE(first->done());
  clock_.Advance(milliseconds(251));
  ASSERT_TRUE(WaitFor([&] { return first->done(); }));
  EXPECT_EQ(first->get()->image.size, 100u);
  for (int i = 0; i < 10; ++i) {
    clock_.Advance(seconds(2));
    EXPECT_TRUE(Start("a")->done()) << "now in trouble: at once";
  }
  EXPECT_EQ(Stats("a"), 1 + 1) << "the question under way is enough";
  EXPECT_FALSE(catalog_->health().reachable);
  EXPECT_NE(catalog_->health().error, "");

  backend_.Put("a", 102, "v2");
  backend_.ReleaseAll();
  ASSERT_TRUE(WaitFor([&] { return catalog_->health().reachable; }));
  EXPECT_TRUE(WaitFor([&] { return Lookup("a")->image.size == 102; })) << "the late answer counts";
}

TEST_F(CatalogTest, AHangingSourceAfterARestartServesWhatIsCached) {
  cache_.PutCached(backend_.Info("a"));
  backend_.HangAll();
  const auto first = Start("a");
  const auto unknown = Start("unknown");
  const auto listing = StartList("");
  ASSERT_TRUE(WaitFor([&] { return backend_.Hanging(Call::kStat) == 2; }));
  clock_.Advance(milliseconds(251));
  ASSERT_TRUE(WaitFor([&] { return first->done() && listing->done(); }));
  EXPECT_EQ(first->get()->image.size, 100u);
  EXPECT_EQ(Text(listing->get()), "a");
  EXPECT_FALSE(unknown->done()) << "nothing is known about it: only the source can tell";
  clock_.Advance(seconds(31));
  ASSERT_TRUE(WaitFor([&] { return unknown->done(); })) << "but not for ever";
  EXPECT_EQ(Code(unknown->get()), Errc::kTimedOut);
}

TEST_F(CatalogTest, UnknownNamesFailFastRightAfterAFailure) {
  backend_.FailAll(Error{Errc::kUnavailable, "down"});
  EXPECT_EQ(Code(Lookup("x")), Errc::kUnavailable);
  const auto next = Start("y");
  ASSERT_TRUE(next->done());
  EXPECT_EQ(Code(next->get()), Errc::kUnavailable);
  EXPECT_EQ(Stats("y"), 0);
}

TEST_F(CatalogTest, ASourceInTroubleIsProbedUntilItAnswers) {
  backend_.FailAll(Error{Errc::kUnavailable, "connection refused"});
  EXPECT_FALSE(Lookup("a"));
  EXPECT_FALSE(catalog_->health().reachable);
  EXPECT_NE(catalog_->health().error.find("connection refused"), std::string::npos);
  EXPECT_GT(catalog_->health().since.count(), 0);
  ASSERT_TRUE(WaitFor([&] {
    clock_.Advance(seconds(1));
    return Stats("") >= 3;
  })) << "without anyone asking";
  backend_.Heal();
  ASSERT_TRUE(WaitFor([&] {
    clock_.Advance(seconds(1));
    return catalog_->health().reachable;
  }));
  EXPECT_TRUE(Lookup("a"));
}

TEST_F(CatalogTest, TroubleIsNoticedAlsoWhenEveryoneHasLeft) {
  backend_.Hang(Call::kStat, "a");
  const RequestId id = catalog_->NewRequestId();
  Start("a", id);
  ASSERT_TRUE(WaitFor([&] { return backend_.Hanging(Call::kStat) == 1; }));
  catalog_->Cancel(id);
  backend_.Fail(Call::kStat, Error{Errc::kUnavailable, "down"}, "a");
  std::this_thread::sleep_for(3 * options_.patience);  // nobody waits: the timer may sleep
  backend_.ReleaseAll();
  ASSERT_TRUE(WaitFor([&] { return !catalog_->health().reachable || Stats("") > 0; }));
  EXPECT_TRUE(WaitFor([&] {
    clock_.Advance(seconds(1));
    return catalog_->health().reachable;
  })) << "probed without anyone asking";
}

TEST_F(CatalogTest, OneHangingNameIsNoTroubleWhileOthersAreAnswered) {
  backend_.Hang(Call::kStat, "dir/b");
  const auto hanging = Start("dir/b");
  ASSERT_TRUE(WaitFor([&] { return backend_.Hanging(Call::kStat) == 1; }));
  clock_.Advance(milliseconds(10));
  ASSERT_TRUE(Lookup("a"));
  clock_.Advance(seconds(61));
  backend_.Put("a", 7, "v2");
  EXPECT_EQ(Lookup("a")->image.size, 7u) << "asked anew, not served from what was known";
  EXPECT_TRUE(catalog_->health().reachable);
}

TEST_F(CatalogTest, CancelAnswersTheOneAndLeavesTheOthers) {
  backend_.Hang(Call::kStat);
  const RequestId id = catalog_->NewRequestId();
  const auto cancelled = Start("a", id);
  const auto other = Start("a");
  EXPECT_TRUE(catalog_->Cancel(id));
  ASSERT_TRUE(cancelled->done());
  EXPECT_EQ(Code(cancelled->get()), Errc::kCancelled);
  EXPECT_FALSE(catalog_->Cancel(id));
  EXPECT_FALSE(other->done());
  backend_.Release(Call::kStat);
  ASSERT_TRUE(WaitFor([&] { return other->done(); }));
  EXPECT_TRUE(other->get());
  EXPECT_EQ(cancelled->count(), 1);
}

TEST_F(CatalogTest, ListsAllPagesSortedAndKeepsThem) {
  for (const char* name : {"z", "m", "k/1", "k/2"}) backend_.Put(name, 1);
  backend_.SetPageSize(2);
  EXPECT_EQ(List(""), "a dir/ k/ m z");
  const int asked = backend_.Count(Call::kList);
  EXPECT_EQ(asked, 3);
  EXPECT_TRUE(StartList("")->done());
  EXPECT_EQ(backend_.Count(Call::kList), asked);
  backend_.Put("new", 1);
  clock_.Advance(seconds(61));
  EXPECT_EQ(List(""), "a dir/ k/ m new z");
  EXPECT_EQ(List("a"), "not a directory");
  EXPECT_EQ(List("nowhere"), "not found");
}

TEST_F(CatalogTest, AListingInTroubleIsWhatWasKnownAndWhatIsCached) {
  EXPECT_EQ(List(""), "a dir/");
  ImageInfo cached = backend_.Info("a");
  cached.id.name = "only-cached";
  cache_.PutCached(cached);
  clock_.Advance(seconds(61));
  backend_.HangAll();
  const auto first = StartList("");
  ASSERT_TRUE(WaitFor([&] { return backend_.Hanging(Call::kList) == 1; }));
  clock_.Advance(milliseconds(251));
  ASSERT_TRUE(WaitFor([&] { return first->done(); }));
  EXPECT_EQ(Text(first->get()), "a dir/ only-cached");
  const auto second = StartList("");
  ASSERT_TRUE(second->done());
  EXPECT_EQ(Text(second->get()), "a dir/ only-cached");
}

TEST_F(CatalogTest, NothingKnownIsNoEmptyDirectory) {
  backend_.FailAll(Error{Errc::kUnavailable, "down"});
  EXPECT_EQ(List(""), "unavailable");
}

TEST_F(CatalogTest, ASourceThatCannotListShowsWhatIsKnown) {
  backend_.SetListable(false);
  EXPECT_EQ(List(""), "") << "nothing yet, but that is an answer";
  ASSERT_TRUE(Lookup("a"));
  ASSERT_TRUE(Lookup("dir"));
  ASSERT_TRUE(Lookup("dir/b"));
  EXPECT_FALSE(Lookup("missing"));
  ImageInfo cached = backend_.Info("a");
  cached.id.name = "x/cached";
  cache_.PutCached(cached);
  clock_.Advance(seconds(2));
  EXPECT_EQ(List(""), "a dir/ x/");
  EXPECT_EQ(List("dir"), "b");
}

TEST_F(CatalogTest, MemoryIsBounded) {
  options_.max_names = 100;
  Restart();
  for (int i = 0; i < 1'000; ++i) EXPECT_FALSE(Lookup("missing-" + std::to_string(i)));
  EXPECT_LE(catalog_->names_known(), 100u);
  for (int i = 0; i < 1'000; ++i) {
    backend_.Put("there-" + std::to_string(i), 1);
    ASSERT_TRUE(Lookup("there-" + std::to_string(i)));
  }
  EXPECT_LE(catalog_->names_known(), 100u);
  EXPECT_TRUE(Lookup("there-0")) << "asked again";
}

TEST_F(CatalogTest, AnInvalidatedNameIsAskedAgain) {
  const auto entry = Lookup("a");
  EXPECT_FALSE(catalog_->IsOutdated(entry->image.id));
  catalog_->Invalidate("a");
  EXPECT_TRUE(catalog_->IsOutdated(entry->image.id));
  backend_.Put("a", 9, "v2");
  EXPECT_EQ(Lookup("a")->image.size, 9u);
  EXPECT_TRUE(catalog_->IsOutdated(entry->image.id)) << "another version now";
  EXPECT_FALSE(catalog_->IsOutdated(Lookup("a")->image.id));
  ImageId unknown = entry->image.id;
  unknown.name = "never-asked";
  EXPECT_FALSE(catalog_->IsOutdated(unknown));
}

TEST_F(CatalogTest, AnInvalidatedNameIsCurrentAgainWhenTheSourceIsAway) {
  const auto entry = Lookup("a");
  backend_.FailAll(Error{Errc::kUnavailable, "down"});
  catalog_->Invalidate("a");
  ASSERT_TRUE(Lookup("a"));
  EXPECT_FALSE(catalog_->IsOutdated(entry->image.id)) << "the best there is; an open must succeed";
}

TEST_F(CatalogTest, LookupAndWaitWaitsUntilStopped) {
  std::stop_source stop;
  EXPECT_EQ(catalog_->LookupAndWait("a", stop.get_token())->image.size, 100u);
  backend_.Hang(Call::kStat);
  std::optional<Result<CatalogEntry>> result;
  Thread waiter("waiter", [&](std::stop_token) { result.emplace(catalog_->LookupAndWait("dir/b", stop.get_token())); });
  ASSERT_TRUE(WaitFor([&] { return backend_.Hanging(Call::kStat) == 1; }));
  stop.request_stop();
  waiter.Join();
  ASSERT_TRUE(result);
  EXPECT_EQ(Code(*result), Errc::kCancelled);
  EXPECT_EQ(Code(catalog_->LookupAndWait("dir/b", stop.get_token())), Errc::kCancelled) << "stopped before it began";
}

TEST_F(CatalogTest, StopAnswersEveryoneAndDoesNotHang) {
  backend_.HangAll();
  std::vector<LookupOutcome> outcomes;
  for (int i = 0; i < 30; ++i) outcomes.push_back(Start("n" + std::to_string(i)));
  const auto listing = StartList("");
  catalog_->Stop();
  for (const auto& outcome : outcomes) {
    ASSERT_TRUE(outcome->done());
    EXPECT_EQ(Code(outcome->get()), Errc::kCancelled);
  }
  EXPECT_TRUE(listing->done());
  EXPECT_EQ(Code(Lookup("a")), Errc::kCancelled);
}

// Every callback is called exactly once, whatever happens meanwhile.
TEST_F(CatalogTest, RandomTroubleAnswersEveryRequestOnce) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  options_ = CatalogOptions{.attr_ttl = milliseconds(2),
                            .negative_ttl = milliseconds(1),
                            .offline_ttl = milliseconds(1),
                            .patience = milliseconds(2),
                            .give_up = milliseconds(500),
                            .probe_interval = milliseconds(1),
                            .ask_threads = 4,
                            .max_names = 20,
                            .max_listings = 4};
  catalog_ = std::make_unique<Catalog>(options_, backend_, cache_);
  constexpr int kThreads = 4, kRequests = 1'500;
  std::vector<std::vector<LookupOutcome>> lookups(kThreads);
  std::vector<std::vector<ListOutcome>> lists(kThreads);
  {
    std::vector<Thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back("client", [&, t](std::stop_token) {
        std::mt19937 random(seed + static_cast<unsigned>(t));
        for (int i = 0; i < kRequests; ++i) {
          const std::string name = "n" + std::to_string(random() % 40);
          const RequestId id = catalog_->NewRequestId();
          if (random() % 8 == 0) lists[t].push_back(StartList(random() % 2 == 0 ? "" : "dir"));
          lookups[t].push_back(Start(name, id));
          if (random() % 4 == 0) catalog_->Cancel(id);
          if (random() % 16 == 0) catalog_->Invalidate(name);
        }
      });
    }
    threads.emplace_back("trouble", [&](std::stop_token) {
      std::mt19937 random(seed + 99);
      for (int i = 0; i < 300; ++i) {
        const std::string name = "n" + std::to_string(random() % 40);
        switch (random() % 6) {
          case 0: backend_.Put(name, 1, "v" + std::to_string(i)); break;
          case 1: backend_.Remove(name); break;
          case 2: backend_.Hang(Call::kStat, random() % 2 == 0 ? name : ""); break;
          case 3: backend_.Fail(Call::kStat, Error{Errc::kUnavailable, "x"}, "", 3); break;
          case 4: backend_.ReleaseAll(); break;
          case 5: backend_.Heal(); break;
        }
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
      backend_.ReleaseAll();
      backend_.Heal();
    });
  }
  for (const auto& all : lookups)
    for (const auto& outcome : all) {
      ASSERT_TRUE(WaitFor([&] { return outcome->done(); }));
      EXPECT_EQ(outcome->count(), 1);
    }
  for (const auto& all : lists)
    for (const auto& outcome : all) ASSERT_TRUE(WaitFor([&] { return outcome->done(); }));
  EXPECT_TRUE(WaitFor([&] { return catalog_->health().reachable; }));
  EXPECT_LE(catalog_->names_known(), 20u + 64u) << "names being asked for may exceed the limit";
}

}  // namespace
}  // namespace glintfs
