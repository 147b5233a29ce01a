// The catalogue and a source that answers, and changes.
#include "tests/fuse/catalog_fixture.h"

namespace glintfs {
namespace {

using std::chrono::seconds;
using testing::Call;
using testing::CatalogTest;
using testing::LookupOutcome;
using testing::WaitFor;

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

TEST_F(CatalogTest, AnAliasIsTheImageItLeadsTo) {
  backend_.PutAlias("by-name/x", "a");
  const auto alias = Lookup("by-name/x"), own = Lookup("a");
  ASSERT_TRUE(alias);
  ASSERT_TRUE(own);
  EXPECT_EQ(alias->image, own->image);
  EXPECT_EQ(alias->row, own->row) << "kept once";
  EXPECT_EQ(cache_.OwnName("by-name/x"), "a");
  backend_.PutAlias("by-name/x", "dir/b");  // another image gets the name
  clock_.Advance(seconds(61));
  EXPECT_EQ(Lookup("by-name/x")->image, backend_.Info("dir/b"));
  EXPECT_EQ(cache_.OwnName("by-name/x"), "dir/b");
  EXPECT_TRUE(cache_.gone().empty()) << "the first image is still there";
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
  for (int i = 0; i < 300; ++i) EXPECT_FALSE(Lookup("missing-" + std::to_string(i)));
  EXPECT_LE(catalog_->names_known(), 100u);
  for (int i = 0; i < 300; ++i) {
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

}  // namespace
}  // namespace glintfs
