// The catalogue and a source that fails and hangs: "cannot ask" is not "deleted", and nobody waits longer than needed.
#include <random>

#include "tests/fuse/catalog_fixture.h"

namespace glintfs {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::Call;
using testing::CatalogTest;
using testing::ListOutcome;
using testing::LookupOutcome;
using testing::WaitFor;

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
  EXPECT_EQ(next->get().error().message.find("not asked for: "), 0u) << "what failed was about another name";
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
