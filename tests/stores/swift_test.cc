// What only Swift has, on the real one: large objects of both kinds, Glance's way to keep images, access lists, paging by marker.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include <set>

#include "backends/swift/swift_backend.h"
#include "fs/base/percent.h"
#include "tests/backends/fetching.h"
#include "tests/stores/swift_environment.h"
#include "tests/stores/swift_store.h"

namespace glintfs::testing {
namespace {

constexpr char kUuid[] = "7f3c1c4e-1111-4222-8333-0123456789ab";

class SwiftTest : public ::testing::Test {
 protected:
  // Each test has a container of its own.
  SwiftTest() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    container_ = std::string("test-") + test->name();
    swift().MakeContainer(container_);
  }

  static Swift& swift() { return SharedSwift(); }
  std::string Path(const std::string& name) const { return fmt::format("/{}/{}", container_, PercentEncode(name)); }
  void Put(const std::string& name, const std::string& content, const std::vector<std::string>& headers = {}) {
    swift().Call("PUT", Path(name), content, headers);
  }
  // As Glance does: segments first.
  std::string PutDynamic(const std::string& name, const std::vector<std::string>& segments) {
    std::string whole;
    for (size_t i = 0; i < segments.size(); ++i) {
      Put(fmt::format("{}-{:05}", name, i + 1), segments[i]);
      whole += segments[i];
    }
    Put(name, "", {fmt::format("X-Object-Manifest: {}/{}-", container_, PercentEncode(name))});
    return whole;
  }
  std::string PutStatic(const std::string& name, const std::vector<std::string>& segments) {
    nlohmann::json manifest = nlohmann::json::array();
    std::string whole;
    for (size_t i = 0; i < segments.size(); ++i) {
      const std::string segment = fmt::format("{}_part{}", name, i);
      Put(segment, segments[i]);
      manifest.push_back({{"path", fmt::format("/{}/{}", container_, segment)}});
      whole += segments[i];
    }
    swift().Call("PUT", Path(name) + "?multipart-manifest=put", manifest.dump());
    return whole;
  }

  Backend& backend() {
    if (!backend_) backend_ = MakeWith(0);
    return *backend_;
  }
  // With pages of so many names; 0: as usual.
  std::unique_ptr<Backend> MakeWith(int page_limit, const std::string& prefix = "") {
    auto login = MakeSwiftLogin(SwiftOptions());
    if (!login) throw std::runtime_error(login.error().ToString());
    SwiftBackend::Options options;
    options.container = container_;
    options.prefix = prefix;
    options.login = std::move(*login);
    if (page_limit > 0) options.page_limit = page_limit;
    return std::make_unique<SwiftBackend>(std::move(options));
  }

  ImageInfo Info(const std::string& name) {
    const auto info = backend().Stat(name, {});
    if (!info) throw std::runtime_error(info.error().ToString());
    return info->image;
  }
  std::unique_ptr<ImageReader> Open(const std::string& name) { return std::move(*backend().Open(Info(name), {})); }
  // Names in the order they come, a directory with '/' at its end.
  static std::vector<std::string> List(Backend& backend, const std::string& directory = "") {
    std::vector<std::string> names;
    std::string cursor;
    do {
      const auto page = backend.List(directory, cursor, {});
      if (!page) throw std::runtime_error(page.error().ToString());
      for (const ListEntry& entry : page->entries) names.push_back(entry.name + (entry.is_directory ? "/" : ""));
      cursor = page->next_cursor;
    } while (!cursor.empty());
    return names;
  }
  std::string SumOf(const std::string& name) {
    const auto sum = backend().FindChecksum(Info(name), {});
    if (!sum) return sum.error().ToString();
    return *sum ? (*sum)->algorithm + ":" + (*sum)->hex : "none";
  }
  void ExpectEveryRange(const std::string& name, const std::string& whole, std::initializer_list<uint64_t> borders) {
    const auto reader = Open(name);
    ASSERT_EQ(reader->size(), whole.size());
    for (const uint64_t first : borders) {
      for (const uint64_t last : borders) {
        for (const uint64_t begin : {first - 1, first, first + 1}) {
          const uint64_t end = std::min<uint64_t>(last + 2, whole.size());
          if (begin >= end) continue;
          const auto text = FetchText(*reader, {begin, end - begin});
          ASSERT_OK(text);
          ASSERT_TRUE(*text == whole.substr(begin, end - begin)) << begin << "-" << end;
        }
      }
    }
    const auto all = FetchText(*reader, {0, whole.size()});
    ASSERT_OK(all);
    EXPECT_TRUE(*all == whole);
  }

  std::string container_;
  std::unique_ptr<Backend> backend_;
};

// ---- Dynamic large objects, as Glance writes them.

TEST_F(SwiftTest, ALargeImageOfGlanceIsOneFile) {
  const std::string whole =
      PutDynamic(kUuid, {PatternBytes(70'000, 1), PatternBytes(70'000, 2), PatternBytes(1, 3), PatternBytes(999, 4)});
  Put(std::string(kUuid) + "-00005", "");  // an empty one at its end changes nothing
  ExpectEveryRange(kUuid, whole, {1, 70'000, 140'000, 140'001, whole.size() - 2});
  const std::string etag = swift().Call("HEAD", Path(kUuid)).headers.at("etag");
  EXPECT_EQ("dlo:" + etag.substr(1, etag.size() - 2), Info(kUuid).id.version) << "as Swift itself makes it";
  EXPECT_EQ(SumOf(kUuid), "none");

  for (int page_limit : {1, 2, 0}) {
    EXPECT_EQ(List(*MakeWith(page_limit)), std::vector<std::string>{kUuid}) << "pages of " << page_limit;
    const auto paged = MakeWith(page_limit);
    const auto info = paged->Stat(kUuid, {});
    ASSERT_OK(info);
    EXPECT_EQ(info->image.id.version, Info(kUuid).id.version);
  }
  EXPECT_EQ(CodeOf(backend().Stat(std::string(kUuid) + "-00001", {})), "not found");
}

TEST_F(SwiftTest, SegmentsWithoutTheirManifestAreFiles) {
  const std::string segment = std::string(kUuid) + "-00001";
  Put(segment, "while it is uploaded");
  Put("x-00001", "something else");
  EXPECT_EQ(List(backend()), (std::vector<std::string>{segment, "x-00001"}));
  EXPECT_EQ(Info(segment).size, 20u);
  Put(kUuid, "a plain image of this name");
  EXPECT_EQ(List(backend()), (std::vector<std::string>{kUuid, segment, "x-00001"}));
  EXPECT_EQ(Info(segment).size, 20u);
}

TEST_F(SwiftTest, AReplacedSegmentMakesADynamicObjectStale) {
  const std::string whole = PutDynamic("disk", {PatternBytes(70'000, 1), PatternBytes(70'000, 2), PatternBytes(70'000, 3)});
  const ImageInfo old = Info("disk");
  const auto reader = Open("disk"), fresh = Open("disk");
  ASSERT_OK(FetchText(*reader, {0, 10}));
  Put("disk-00002", PatternBytes(70'000, 9));
  const auto first = FetchText(*reader, {0, 70'000});
  ASSERT_OK(first);
  EXPECT_TRUE(*first == whole.substr(0, 70'000)) << "what has not changed can still be read";
  StringSink sink;
  EXPECT_EQ(CodeOf(reader->Fetch({60'000, 100'000}, sink, {})), "stale");
  EXPECT_TRUE(sink.text == whole.substr(60'000, sink.text.size())) << "bytes of another version";
  EXPECT_EQ(CodeOf(FetchText(*fresh, {0, 10})), "stale") << "a reader that learns of the segments now";
  EXPECT_NE(Info("disk").id.version, old.id.version);
  ASSERT_OK(FetchText(*Open("disk"), {0, 210'000}));
}

TEST_F(SwiftTest, ASegmentThatChangesWhileItIsReadIsNeverMixedIn) {
  const std::string whole = PutDynamic("disk", {PatternBytes(4 << 20, 1), PatternBytes(4 << 20, 2)});
  const auto reader = Open("disk");
  std::string seen;
  class Sink final : public DataSink {
   public:
    Sink(std::string& text, std::function<void()> once) : text_(text), once_(std::move(once)) {}
    bool Write(std::span<const std::byte> data) override {
      if (text_.empty()) once_();
      text_.append(reinterpret_cast<const char*>(data.data()), data.size());
      return true;
    }

   private:
    std::string& text_;
    const std::function<void()> once_;
  } sink(seen, [&] { Put("disk-00002", PatternBytes(4 << 20, 7)); });
  EXPECT_EQ(CodeOf(reader->Fetch({0, whole.size()}, sink, {})), "stale");
  EXPECT_EQ(seen.size(), 4u << 20);
  EXPECT_TRUE(seen == whole.substr(0, seen.size()));
}

TEST_F(SwiftTest, SegmentsThatComeOrGo) {
  const std::string whole = PutDynamic("disk", {PatternBytes(70'000, 1), PatternBytes(70'000, 2)});
  const auto reader = Open("disk");
  ASSERT_OK(FetchText(*reader, {0, 1}));
  Put("disk-00003", "more");
  EXPECT_EQ(Info("disk").size, whole.size() + 4);
  const auto text = FetchText(*reader, {0, whole.size()});
  ASSERT_OK(text);
  EXPECT_TRUE(*text == whole) << "the version it was opened for is still there, byte for byte";
  swift().Call("DELETE", Path("disk-00002"));
  EXPECT_EQ(CodeOf(FetchText(*reader, {70'000, 10})), "stale");
  const ImageInfo now = Info("disk");
  const auto late = backend().Open(now, {});
  Put("disk", "now a plain object");
  EXPECT_EQ(CodeOf(FetchText(**late, {0, 10})), "stale");
  swift().Call("DELETE", Path("disk"));
  EXPECT_EQ(CodeOf(FetchText(**backend().Open(now, {}), {0, 10})), "not found");
}

// ---- Static large objects.

TEST_F(SwiftTest, AStaticLargeObjectIsOneFile) {
  const std::string whole = PutStatic("disk", {PatternBytes(70'000, 1), PatternBytes(70'000, 2), PatternBytes(999, 3)});
  ExpectEveryRange("disk", whole, {1, 70'000, 140'000, whole.size() - 2});
  EXPECT_TRUE(Info("disk").id.version.starts_with("slo:"));
  EXPECT_EQ(SumOf("disk"), "none");
  EXPECT_EQ(List(backend()), (std::vector<std::string>{"disk", "disk_part0", "disk_part1", "disk_part2"}));
}

TEST_F(SwiftTest, AStaticObjectWithAReplacedSegmentIsNotRead) {
  const std::string whole = PutStatic("disk", {PatternBytes(70'000, 1), PatternBytes(70'000, 2)});
  const auto reader = Open("disk");
  Put("disk_part1", PatternBytes(70'000, 9));
  EXPECT_EQ(CodeOf(FetchText(*reader, {80'000, 10})), "invalid");
  StringSink sink;
  EXPECT_NE(CodeOf(reader->Fetch({0, whole.size()}, sink, {})), "ok");
  EXPECT_TRUE(sink.text == whole.substr(0, sink.text.size()));
  PutStatic("disk", {PatternBytes(70'000, 5), PatternBytes(70'000, 6)});
  EXPECT_EQ(CodeOf(FetchText(*reader, {0, 10})), "stale");
}

// ---- Plain objects.

TEST_F(SwiftTest, ChecksumsAndTimes) {
  Put("plain", "hello world");
  EXPECT_EQ(SumOf("plain"), "md5:5eb63bbbe01eeed093cb22bb8f5acdc3");
  EXPECT_GT(Info("plain").mtime, std::chrono::hours(24 * 365 * 50));
  const ImageInfo before = Info("plain");
  const std::string sha256(64, 'c');
  swift().Call("POST", Path("plain"), "", {"X-Object-Meta-Sha256: " + sha256, "X-Object-Meta-Mtime: 1600000000.5"});
  EXPECT_EQ(Info("plain").id.version, before.id.version) << "what is said about an object is not the object";
  EXPECT_EQ(SumOf("plain"), "sha256:" + sha256);
  EXPECT_EQ(Info("plain").mtime, std::chrono::milliseconds(1'600'000'000'500));
  Put("plain", "another");
  EXPECT_EQ(CodeOf(backend().FindChecksum(before, {})), "stale");
  swift().Call("DELETE", Path("plain"));
  EXPECT_EQ(CodeOf(backend().FindChecksum(before, {})), "not found");
}

TEST_F(SwiftTest, PagesByMarker) {
  for (const char* directory : {"a", "b dir", "c+", "d%20"})
    for (int i = 0; i < 3; ++i) Put(fmt::format("{}/{}", directory, i), "x");
  for (const char* name : {"a", "a.x", "b", "c", "d", "z"}) Put(name, "x");
  std::set<std::string> expected = {"a", "a.x", "a/", "b", "b dir/", "c", "c+/", "d", "d%20/", "z"};
  for (int page_limit : {1, 2, 3, 0}) {
    const auto listed = List(*MakeWith(page_limit));
    std::set<std::string> names(listed.begin(), listed.end());
    names.insert("a/");  // left out where the image of that name is on the same page
    EXPECT_EQ(names, expected) << "pages of " << page_limit;
    EXPECT_EQ(List(*MakeWith(page_limit), "c+"), (std::vector<std::string>{"0", "1", "2"}));
  }
  EXPECT_FALSE(backend().Stat("a", {})->is_directory);
  EXPECT_EQ(CodeOf(backend().List("b", "", {})), "not a directory");
  EXPECT_EQ(CodeOf(backend().List("none", "", {})), "not found");
}

TEST_F(SwiftTest, ObjectsThatStandForDirectories) {
  Put("empty/", "", {"Content-Type: application/directory"});
  Put("marked", "", {"Content-Type: application/directory"});
  Put("marked/image", "x");
  Put("odd", "an image all the same", {"Content-Type: application/directory"});
  const auto listed = List(backend());
  EXPECT_EQ(std::set<std::string>(listed.begin(), listed.end()), (std::set<std::string>{"empty/", "marked/", "odd"}));
  for (const char* name : {"empty", "marked"}) {
    const auto info = backend().Stat(name, {});
    ASSERT_OK(info);
    EXPECT_TRUE(info->is_directory) << name;
  }
  EXPECT_TRUE(List(backend(), "empty").empty());
  EXPECT_EQ(List(backend(), "marked"), std::vector<std::string>{"image"});
  EXPECT_EQ(Info("odd").size, 21u);
}

TEST_F(SwiftTest, ContainersAndPrefixesOfAnyName) {
  const std::string container = "im ages+%41ü?#&=;";
  swift().MakeContainer(PercentEncode(container));
  swift().Call("PUT", "/" + PercentEncode(container) + "/dir%20%2B/sub%25/image", "hello");
  const auto whole = Make("swift://" + container, SwiftOptions());
  EXPECT_EQ(List(*whole), std::vector<std::string>{"dir +/"});
  const auto below = Make("swift://" + container + "/dir +/sub%", SwiftOptions());
  ASSERT_OK(below->Stat("", {}));
  EXPECT_EQ(List(*below), std::vector<std::string>{"image"});
  const auto info = below->Stat("image", {});
  ASSERT_OK(info);
  EXPECT_EQ(*FetchText(**below->Open(info->image, {}), {1, 3}), "ell");
  const auto none = Make("swift://" + container + "/dir", SwiftOptions());
  EXPECT_EQ(CodeOf(none->Stat("", {})), "not found") << "nothing begins with 'dir/'";
}

TEST_F(SwiftTest, GlanceImagesBelowAPrefix) {
  const std::string name = std::string("dir/") + kUuid;
  const std::string whole = PutDynamic(name, {"one", "two"});
  backend_ = MakeWith(1, "dir/");
  EXPECT_EQ(List(backend()), std::vector<std::string>{kUuid});
  EXPECT_EQ(*FetchText(*Open(kUuid), {0, 6}), "onetwo");
  EXPECT_EQ(CodeOf(backend().Stat(std::string(kUuid) + "-00002", {})), "not found");
}

// ---- Who may read.

TEST_F(SwiftTest, AGuestReadsWhatTheAccessListAllows) {
  Put("image", "hello");
  const SwiftEnvironment guest({{"ST_AUTH", swift().auth_url()}, {"ST_USER", Swift::kGuest}, {"ST_KEY", Swift::kGuestKey}});
  const auto backend = Make("swift://" + container_);
  const auto denied = backend->Stat("", {});
  EXPECT_EQ(CodeOf(denied), "access denied");
  EXPECT_NE(denied.error().message.find(Swift::kGuest), std::string::npos) << denied.error().message;
  swift().Call("POST", "/" + container_, "", {std::string("X-Container-Read: ") + Swift::kGuest});
  ASSERT_OK(backend->Stat("", {}));
  EXPECT_EQ(List(*backend), std::vector<std::string>{"image"});
  const auto info = backend->Stat("image", {});
  ASSERT_OK(info);
  EXPECT_EQ(*FetchText(**backend->Open(info->image, {}), {0, 5}), "hello");
}

TEST_F(SwiftTest, EverybodyReadsAPublicContainer) {
  Put("image", "hello");
  const SwiftEnvironment anonymous({{"OS_STORAGE_URL", swift().storage_url()}});
  const auto backend = Make("swift://" + container_);
  EXPECT_EQ(CodeOf(backend->Stat("", {})), "access denied");
  swift().Call("POST", "/" + container_, "", {"X-Container-Read: .r:*,.rlistings"});
  ASSERT_OK(backend->Stat("", {}));
  EXPECT_EQ(List(*backend), std::vector<std::string>{"image"});
}

TEST_F(SwiftTest, AMissingContainerIsNotFound) {
  const auto root = Make("swift://no-such-container", SwiftOptions())->Stat("", {});
  EXPECT_EQ(CodeOf(root), "not found");
  EXPECT_NE(root.error().message.find("no-such-container"), std::string::npos) << root.error().message;
}

}  // namespace
}  // namespace glintfs::testing
