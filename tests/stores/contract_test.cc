// What every backend keeps (backends/backend.h), tried on the real store behind each. Tests share the store of their program, so
// each has names of its own and mends what it breaks.
#include <atomic>
#include <set>
#include <thread>

#include "backends/deadline.h"
#include "tests/backends/fetching.h"
#include "tests/stores/store.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(ContractTest);

void ContractTest::SetUp() {
  store_ = &SharedStore(GetParam());
  backend_ = Make(store_->source(), store_->options());
}

ImageInfo ContractTest::Info(const std::string& name) {
  auto info = backend().Stat(name, {});
  EXPECT_TRUE(info.has_value()) << name << ": " << info.error().ToString();
  if (!info) return {};
  EXPECT_FALSE(info->is_directory) << name;
  return info->image;
}

std::unique_ptr<ImageReader> ContractTest::OpenNow(const std::string& name) {
  auto reader = backend().Open(Info(name), {});
  if (!reader) throw std::runtime_error(name + ": " + reader.error().ToString());
  return std::move(*reader);
}

void ContractTest::ExpectBytes(ImageReader& reader, Extent extent, const Content& content) {
  const auto text = FetchText(reader, extent);
  ASSERT_TRUE(text.has_value()) << text.error().ToString();
  EXPECT_TRUE(*text == content.Bytes(extent)) << "wrong bytes in " << extent.offset << "+" << extent.length;
}

namespace {

constexpr uint64_t kMi = 1 << 20;
constexpr uint64_t kChunk = 256 << 10;

std::string CodeName(Errc code) { return std::string(ErrcName(code)); }

// ---- Names and bytes.

TEST_P(ContractTest, TheRootIsADirectory) {
  const auto root = backend().Stat("", {});
  ASSERT_OK(root);
  EXPECT_TRUE(root->is_directory);
}

TEST_P(ContractTest, AMissingNameIsNotFound) {
  EXPECT_EQ(CodeOf(backend().Stat("no-such-image", {})), CodeName(Errc::kNotFound));
  EXPECT_EQ(CodeOf(backend().Stat("7f3c1c4e-0000-4000-8000-00000000dead", {})), CodeName(Errc::kNotFound));
}

TEST_P(ContractTest, AnEmptyImageHasNoBytes) {
  const std::string name = store().Put("empty", Content{});
  EXPECT_EQ(Info(name).size, 0u);
  ASSERT_NE(OpenNow(name), nullptr);
}

TEST_P(ContractTest, AnImageOfOneByte) {
  const Content content = Content::Of("x");
  const std::string name = store().Put("one", content);
  EXPECT_EQ(Info(name).size, 1u);
  ExpectBytes(*OpenNow(name), {0, 1}, content);
}

TEST_P(ContractTest, TheSameImageHasTheSameVersion) {
  const std::string name = store().Put("same", Content::Of(PatternBytes(5000)));
  const ImageInfo first = Info(name);
  EXPECT_FALSE(first.id.version.empty());
  EXPECT_EQ(first, Info(name));
  backend_ = Make(store().source(), store().options());  // as after a restart
  EXPECT_EQ(first, Info(name));
}

TEST_P(ContractTest, OddSizesAndRangesAroundBorders) {
  const uint64_t object = store().traits().object_size;
  for (const uint64_t size : {kChunk - 1, kChunk + 1, object - 1, object, object + 1, 2 * object + 4097}) {
    const Content content = Content::Of(PatternBytes(size, size));
    const std::string name = store().Put("odd-" + std::to_string(size), content);
    EXPECT_EQ(Info(name).size, size);
    const auto reader = OpenNow(name);
    ExpectBytes(*reader, {0, size}, content);
    if (!store().traits().ranges) continue;
    ExpectBytes(*reader, {size - 1, 1}, content);
    ExpectBytes(*reader, {size / 2, size - size / 2}, content);
    for (const uint64_t border : {kChunk, object, 2 * object})
      if (border + 2 <= size) ExpectBytes(*reader, {border - 3, 5}, content);
  }
}

TEST_P(ContractTest, ASparseImageOfFiveGiB) {
  if (!store().traits().sparse_put) GTEST_SKIP() << "this store has no images of this size";
  constexpr uint64_t kSize = 5ull << 30;
  const Content content{kSize,
                        {{0, PatternBytes(kMi, 1)}, {(4ull << 30) - 1000, PatternBytes(2000, 2)}, {kSize - 77, PatternBytes(77, 3)}}};
  const std::string name = store().Put("sparse", content);
  EXPECT_EQ(Info(name).size, kSize);
  const auto reader = OpenNow(name);
  if (store().traits().ranges) {
    for (const Extent extent : {Extent{0, 2 * kMi}, Extent{(4ull << 30) - 4096, 8192}, Extent{kSize - 5000, 5000}})
      ExpectBytes(*reader, extent, content);
  }
  const auto holes = reader->Holes({});
  ASSERT_OK(holes);
  uint64_t zeros = 0, after = 0;
  for (const Extent& hole : *holes) {
    EXPECT_GE(hole.offset, after) << "in order and disjoint";
    after = hole.end();
    zeros += hole.length;
    for (const Piece& piece : content.pieces)
      EXPECT_TRUE(hole.end() <= piece.offset || hole.offset >= piece.offset + piece.bytes.size())
          << "the hole " << hole.offset << "+" << hole.length << " has data";
  }
  EXPECT_LE(after, kSize);
  if (store().traits().holes) {
    EXPECT_GE(zeros, kSize - 8 * store().traits().object_size);
  }
}

TEST_P(ContractTest, OddNames) {
  if (!store().traits().free_names) GTEST_SKIP() << "the store chooses the names";
  const std::string names[] = {"with space", "a+b", "ünïcode-日本", "100%25", "~tilde", "quote'\"", "hash#?q", "amp&=;",
                               "-dash", ".hidden", std::string(90, 'n'), "back\\slash", "c:olon", "[bracket]", "star*"};
  for (const std::string& name : names) {
    const Content content = Content::Of("content of " + name);
    store().Put(name, content);
    EXPECT_EQ(Info(name).size, content.size) << name;
    ExpectBytes(*OpenNow(name), {0, content.size}, content);
  }
  std::set<std::string> listed;
  std::string cursor;
  do {
    const auto page = backend().List("", cursor, {});
    ASSERT_OK(page);
    for (const ListEntry& entry : page->entries) listed.insert(entry.name);
    cursor = page->next_cursor;
  } while (!cursor.empty());
  for (const std::string& name : names)
    EXPECT_EQ(listed.contains(name), store().traits().lists_dot_names || name[0] != '.') << name;
}

TEST_P(ContractTest, DirectoriesAreWhatNamesImply) {
  if (!store().traits().directories) GTEST_SKIP() << "names have no '/' here";
  const Content content = Content::Of("deep");
  store().Put("deep/er/image", content);
  store().Put("deep/image", content);
  for (const char* directory : {"deep", "deep/er"}) {
    const auto info = backend().Stat(directory, {});
    ASSERT_OK(info);
    EXPECT_TRUE(info->is_directory) << directory;
  }
  const auto page = backend().List("deep", "", {});
  ASSERT_OK(page);
  std::set<std::pair<std::string, bool>> listed;
  for (const ListEntry& entry : page->entries) listed.emplace(entry.name, entry.is_directory);
  EXPECT_EQ(listed, (std::set<std::pair<std::string, bool>>{{"er", true}, {"image", false}}));
  ExpectBytes(*OpenNow("deep/er/image"), {0, 4}, content);
  EXPECT_EQ(CodeOf(backend().Stat("deep/er/missing", {})), CodeName(Errc::kNotFound));
  EXPECT_EQ(CodeOf(backend().Stat("dee", {})), CodeName(Errc::kNotFound)) << "the beginning of a name is no name";
  const std::string below = CodeOf(backend().Stat("deep/image/below", {}));
  EXPECT_TRUE(below == CodeName(Errc::kNotFound) || below == CodeName(Errc::kNotDirectory)) << below;
}

TEST_P(ContractTest, AListingHasMoreThanOnePage) {
  const std::string directory = store().traits().directories ? "many" : "";
  std::vector<std::string> wishes;
  for (int i = 0; i < 2500; ++i)
    wishes.push_back((directory.empty() ? "many-" : "many/") + std::to_string(10000 + i));
  const std::vector<std::string> names = store().PutMany(wishes);
  ASSERT_EQ(names.size(), wishes.size());
  std::set<std::string> listed;
  std::string cursor;
  int pages = 0;
  do {
    const auto page = backend().List(directory, cursor, {});
    ASSERT_OK(page);
    for (const ListEntry& entry : page->entries)
      EXPECT_TRUE(listed.insert(directory.empty() ? entry.name : directory + "/" + entry.name).second)
          << entry.name << " came twice";
    cursor = page->next_cursor;
    ASSERT_LE(++pages, 2500) << "no end";
  } while (!cursor.empty());
  for (const std::string& name : names) ASSERT_TRUE(listed.contains(name)) << name;
  ExpectBytes(*OpenNow(names[1234]), {0, 1}, Content::Of("x"));
}

// ---- Fetches side by side and cut off.

TEST_P(ContractTest, FetchesRunSideBySide) {
  const Content content = Content::Of(PatternBytes(12 * kMi, 7));
  const std::string name = store().Put("side", content);
  const std::shared_ptr<ImageReader> shared = OpenNow(name);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&, i] {
      const auto own = backend().Open(Info(name), {});
      const uint64_t begin = store().traits().ranges ? static_cast<uint64_t>(i) * 2 * kMi : 0;
      const Extent extent{begin, std::min<uint64_t>(3 * kMi + 11, content.size - begin)};
      for (ImageReader* reader : {shared.get(), own ? own->get() : nullptr}) {
        const auto text = reader == nullptr ? Result<std::string>(Error{Errc::kIo, ""}) : FetchText(*reader, extent);
        if (!text || *text != content.Bytes(extent)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_P(ContractTest, AFetchIsCancelledInTheMiddle) {
  const Content content = Content::Of(PatternBytes(16 * kMi, 8));
  const std::string name = store().Put("cancel", content);
  const auto reader = OpenNow(name);
  std::stop_source stop;
  size_t seen = 0;
  CallbackSink sink([&](size_t bytes) {
    seen = bytes;
    if (bytes >= kMi) stop.request_stop();
    return true;
  });
  EXPECT_EQ(CodeOf(reader->Fetch({0, content.size}, sink, stop.get_token())), CodeName(Errc::kCancelled));
  EXPECT_LT(seen, content.size);
  EXPECT_EQ(CodeOf(backend().Stat(name, stop.get_token())), CodeName(Errc::kCancelled));
  ExpectBytes(*reader, {0, 3 * kMi}, content);
}

TEST_P(ContractTest, ASinkThatHasEnoughEndsTheFetch) {
  const Content content = Content::Of(PatternBytes(16 * kMi, 9));
  const std::string name = store().Put("enough", content);
  const auto reader = OpenNow(name);
  StringSink sink(100'000);
  ASSERT_OK(reader->Fetch({0, content.size}, sink, {}));
  EXPECT_LT(sink.text.size(), content.size);
  EXPECT_TRUE(sink.text == content.Bytes({0, sink.text.size()}));
}

// ---- Change.

TEST_P(ContractTest, ANewVersionIsStaleForReadersOfTheOld) {
  if (!store().traits().replace) GTEST_SKIP() << "images never change here";
  const Content before = Content::Of(PatternBytes(9 * kMi, 10)), after = Content::Of(PatternBytes(9 * kMi, 11));
  const std::string name = store().Put("changing", before);
  const ImageInfo old = Info(name);
  const auto reader = OpenNow(name);
  ExpectBytes(*reader, {0, kMi}, before);
  store().Put("changing", after);
  StringSink sink;
  const auto fetched = reader->Fetch({4 * kMi, 5 * kMi}, sink, {});
  EXPECT_EQ(CodeOf(fetched), CodeName(Errc::kStale)) << (fetched ? "" : fetched.error().message);
  EXPECT_TRUE(sink.text == before.Bytes({4 * kMi, sink.text.size()})) << "bytes of another version";
  EXPECT_NE(Info(name).id.version, old.id.version);
  ExpectBytes(*OpenNow(name), {0, after.size}, after);
  const auto late = backend().Open(old, {});  // as from a cache that knows the old version only
  EXPECT_EQ(late ? CodeOf(FetchText(**late, {0, kMi})) : CodeOf(late), CodeName(Errc::kStale));
}

TEST_P(ContractTest, AnImageThatGoesWhileItIsRead) {
  const Content content = Content::Of(PatternBytes(9 * kMi, 12));
  const std::string name = store().Put("going", content);
  const auto reader = OpenNow(name);
  ExpectBytes(*reader, {0, kMi}, content);
  store().Remove("going");
  StringSink sink;
  EXPECT_EQ(CodeOf(reader->Fetch({store().traits().ranges ? 4 * kMi : 0, 5 * kMi}, sink, {})), CodeName(Errc::kNotFound));
  EXPECT_EQ(CodeOf(backend().Stat(name, {})), CodeName(Errc::kNotFound));
}

// ---- Credentials.

TEST_P(ContractTest, WrongCredentialsAreDenied) {
  const auto access = store().WrongCredentials();
  if (!access) GTEST_SKIP() << "the store knows no credentials";
  const auto wrong = MakeBackend(store().source(), access->options);
  ASSERT_OK(wrong);
  const auto root = (*wrong)->Stat("", {});
  ASSERT_FALSE(root.has_value());
  EXPECT_EQ(CodeOf(root), CodeName(Errc::kAccessDenied)) << root.error().message;
  EXPECT_FALSE(root.error().message.empty());
  EXPECT_EQ(root.error().message.find('\n'), std::string::npos) << root.error().message;
  if (!access->secret.empty()) {
    EXPECT_EQ(root.error().message.find(access->secret), std::string::npos);
  }
}

TEST_P(ContractTest, ExpiredCredentialsAreRenewed) {
  const Content content = Content::Of(PatternBytes(2 * kMi, 13));
  const std::string name = store().Put("renewed", content);
  const auto reader = OpenNow(name);
  if (!store().ExpireCredentials()) GTEST_SKIP() << "credentials do not expire here";
  ExpectBytes(*reader, {0, content.size}, content);
  EXPECT_EQ(Info(name).size, content.size);
  ASSERT_OK(backend().List("", "", {}));
}

// ---- The server ends, or hangs.

TEST_P(ContractTest, AStoppedServerCannotBeAskedAndIsBackByItself) {
  if (!store().traits().breakable) GTEST_SKIP() << "there is no server";
  backend_ = Make(store().source(), GivingUpSoon(store().options()));
  const Content content = Content::Of(PatternBytes(3 * kMi, 14));
  const std::string name = store().Put("outage", content);
  const auto reader = OpenNow(name);
  ExpectBytes(*reader, {0, kMi}, content);
  store().Stop();
  const std::string stat = CodeOf(backend().Stat(name, {})), missing = CodeOf(backend().Stat("never-was", {}));
  const std::string listing = CodeOf(backend().List("", "", {})), fetch = CodeOf(FetchText(*reader, {0, kMi}));
  store().Start();
  for (const std::string& code : {stat, listing, fetch})
    EXPECT_TRUE(code == CodeName(Errc::kUnavailable) || code == CodeName(Errc::kTimedOut)) << code;
  EXPECT_NE(missing, "ok");
  if (store().traits().free_names) {
    EXPECT_NE(missing, CodeName(Errc::kNotFound)) << "cannot ask is not deleted";
  }
  EXPECT_TRUE(WaitFor([&] { return backend().Stat(name, {}).has_value(); }, std::chrono::seconds(60)));
  EXPECT_TRUE(WaitFor([&] { return FetchText(*reader, {0, kMi}).has_value(); }, std::chrono::seconds(60)));
  ExpectBytes(*reader, {0, content.size}, content);
}

TEST_P(ContractTest, AHungServerTimesOutAndCallsEndWhenToldTo) {
  if (!store().traits().breakable) GTEST_SKIP() << "there is no server";
  backend_ = Make(store().source(), GivingUpSoon(store().options()));
  const Content content = Content::Of(PatternBytes(3 * kMi, 15));
  const std::string name = store().Put("hung", content);
  const auto reader = OpenNow(name);
  ExpectBytes(*reader, {0, kMi}, content);
  store().Freeze();
  std::string fetch;
  std::stop_source stop;
  std::thread cancelled([&] {
    StringSink sink;
    fetch = CodeOf(reader->Fetch({0, 2 * kMi}, sink, stop.get_token()));
  });
  (void)SleepUnlessStopped(std::chrono::milliseconds(100), {});  // let it get going; nothing depends on how far
  stop.request_stop();
  cancelled.join();
  const std::string stat = CodeOf(backend().Stat(name, {}));
  const std::string late = CodeOf(FetchText(*reader, {0, 2 * kMi}));
  store().Thaw();
  EXPECT_EQ(fetch, CodeName(Errc::kCancelled));
  for (const std::string& code : {stat, late})
    EXPECT_TRUE(code == CodeName(Errc::kUnavailable) || code == CodeName(Errc::kTimedOut)) << code;
  EXPECT_TRUE(WaitFor([&] { return FetchText(*reader, {0, kMi}).has_value(); }, std::chrono::seconds(60)));
  ExpectBytes(*reader, {0, content.size}, content);
  EXPECT_EQ(Info(name).size, content.size);
}

TEST_P(ContractTest, ABackendEndsWhileTheServerHangs) {
  if (!store().traits().breakable) GTEST_SKIP() << "there is no server";
  backend_ = Make(store().source(), GivingUpSoon(store().options()));
  const Content content = Content::Of(PatternBytes(2 * kMi, 16));
  const std::string name = store().Put("ending", content);
  auto reader = OpenNow(name);
  store().Freeze();
  std::stop_source stop;
  std::thread asking([&] {
    StringSink sink;
    (void)reader->Fetch({0, content.size}, sink, stop.get_token());
  });
  (void)SleepUnlessStopped(std::chrono::milliseconds(100), {});  // let it get going; nothing depends on how far
  stop.request_stop();
  asking.join();
  reader.reset();
  backend_.reset();
  store().Thaw();
  backend_ = Make(store().source(), store().options());
  EXPECT_TRUE(WaitFor([&] { return backend().Stat(name, {}).has_value(); }, std::chrono::seconds(60)));
}

}  // namespace
}  // namespace glintfs::testing
