// The checks of backend.cc, against an implementation that does whatever it is told.
#include "tests/backends/fetching.h"

namespace glintfs::testing {
namespace {

TEST(IsValidName, AcceptsPathsBelowAMount) {
  for (const std::string& name :
       {std::string("a"), std::string("a/b/c.img"), std::string("...", 3), std::string("é ü/%20?#"),
        std::string(255, 'x'), std::string(255, 'x') + "/" + std::string(255, 'y'), std::string(".hidden"),
        std::string("a..b")})
    EXPECT_TRUE(IsValidName(name)) << name;
}

TEST(IsValidName, RefusesEverythingElse) {
  std::string long_name;
  while (long_name.size() <= 1024) long_name += "abcdefg/";
  long_name += "x";
  for (const std::string& name :
       {std::string(), std::string("/a"), std::string("a/"), std::string("a//b"), std::string("."), std::string(".."),
        std::string("a/../b"), std::string("a/."), std::string("a\0b", 3), std::string("a\nb"), std::string("\x7f"),
        std::string(256, 'x'), long_name})
    EXPECT_FALSE(IsValidName(name)) << name;
}

class LyingReader final : public ImageReader {
 public:
  LyingReader(uint64_t size, std::string body, Result<void> end)
      : ImageReader(size), body_(std::move(body)), end_(std::move(end)) {}

 private:
  Result<void> DoFetch(Extent, DataSink& sink, std::stop_token) override {
    const auto bytes = std::as_bytes(std::span(body_));
    const size_t half = bytes.size() / 2;
    if (sink.Write(bytes.first(half))) sink.Write(bytes.subspan(half));
    return end_;
  }
  const std::string body_;
  const Result<void> end_;
};

class LyingBackend final : public Backend {
 public:
  LyingBackend() : Backend("lie://") {}
  NameInfo info;
  Listing listing;
  uint64_t reader_size = 10;
  std::optional<Checksum> checksum;

 private:
  Result<NameInfo> DoStat(std::string_view, std::stop_token) override { return info; }
  Result<Listing> DoList(std::string_view, std::string_view, std::stop_token) override { return listing; }
  Result<std::unique_ptr<ImageReader>> DoOpen(const ImageInfo&, std::stop_token) override {
    return std::unique_ptr<ImageReader>(std::make_unique<LyingReader>(reader_size, "0123456789", Result<void>()));
  }
  Result<std::optional<Checksum>> DoFindChecksum(const ImageInfo&, std::stop_token) override { return checksum; }
};

ImageInfo GoodImage() { return {.id = {"lie://", "a", "v"}, .size = 10, .mtime = Nanos(0)}; }

TEST(FrontDoor, StatChecksTheAnswer) {
  LyingBackend backend;
  backend.info.image = GoodImage();
  EXPECT_EQ(CodeOf(backend.Stat("a", {})), "ok");
  EXPECT_EQ(CodeOf(backend.Stat("b", {})), "invalid") << "answered for another name";
  EXPECT_EQ(CodeOf(backend.Stat("../a", {})), "invalid");
  EXPECT_EQ(CodeOf(backend.Stat("", {})), "not a directory") << "the root is an image";
  backend.info.image.id.version = "";
  EXPECT_EQ(CodeOf(backend.Stat("a", {})), "invalid");
  backend.info.image = GoodImage();
  backend.info.image.size = UINT64_MAX;
  EXPECT_EQ(CodeOf(backend.Stat("a", {})), "invalid");
  backend.info.is_directory = true;
  EXPECT_EQ(CodeOf(backend.Stat("", {})), "ok");
}

TEST(FrontDoor, ListLeavesOutWhatCannotBeShown) {
  LyingBackend backend;
  backend.listing.entries = {{"good", false}, {"..", true},      {"a/b", false}, {"ctrl\n", false},
                             {"", false},     {"good", false}, {std::string(256, 'x'), false}, {"dir", true}};
  backend.listing.next_cursor = "more";
  auto listing = backend.List("", "", {});
  ASSERT_OK(listing);
  ASSERT_EQ(listing->entries.size(), 2u);
  EXPECT_EQ(listing->entries[0].name, "good");
  EXPECT_EQ(listing->entries[1].name, "dir");
  EXPECT_TRUE(listing->entries[1].is_directory);
  EXPECT_EQ(listing->next_cursor, "more");
  EXPECT_EQ(CodeOf(backend.List("a//b", "", {})), "invalid");
}

TEST(FrontDoor, OpenChecksImageAndReader) {
  LyingBackend backend;
  EXPECT_EQ(CodeOf(backend.Open(GoodImage(), {})), "ok");
  ImageInfo other = GoodImage();
  other.id.source = "lie://elsewhere";
  EXPECT_EQ(CodeOf(backend.Open(other, {})), "invalid");
  backend.reader_size = 11;
  EXPECT_EQ(CodeOf(backend.Open(GoodImage(), {})), "invalid");
}

TEST(FrontDoor, FetchChecksExtentAndLength) {
  LyingReader exact(20, "0123456789", {});
  EXPECT_EQ(*FetchText(exact, {5, 10}), "0123456789");
  EXPECT_EQ(CodeOf(FetchText(exact, {11, 10})), "invalid");
  EXPECT_EQ(CodeOf(FetchText(exact, {UINT64_MAX, 2})), "invalid");
  EXPECT_EQ(CodeOf(FetchText(exact, {1, UINT64_MAX})), "invalid");
  EXPECT_EQ(CodeOf(FetchText(exact, {0, 11})), "unavailable") << "too short";

  StringSink sink;
  EXPECT_EQ(CodeOf(exact.Fetch({0, 9}, sink, {})), "invalid") << "too long";
  EXPECT_EQ(sink.text, "012345678") << "never more than asked for";
}

TEST(FrontDoor, EnoughIsSuccess) {
  LyingReader reader(10, "0123456789", Error{Errc::kUnavailable, "cut off"});
  StringSink sink(5);
  EXPECT_EQ(CodeOf(reader.Fetch({0, 10}, sink, {})), "ok");
  EXPECT_EQ(sink.text, "01234");
  StringSink all;
  EXPECT_EQ(CodeOf(reader.Fetch({0, 10}, all, {})), "unavailable");
}

TEST(FrontDoor, StoppedCallsAreCancelled) {
  LyingBackend backend;
  backend.info.image = GoodImage();
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(CodeOf(backend.Stat("a", stop.get_token())), "cancelled");
  EXPECT_EQ(CodeOf(backend.List("", "", stop.get_token())), "cancelled");
  EXPECT_EQ(CodeOf(backend.Open(GoodImage(), stop.get_token())), "cancelled");
  EXPECT_EQ(CodeOf(backend.FindChecksum(GoodImage(), stop.get_token())), "cancelled");
  LyingReader reader(10, "0123456789", {});
  EXPECT_EQ(CodeOf(FetchText(reader, {0, 10}, stop.get_token())), "cancelled");
}

TEST(FrontDoor, MalformedChecksumsAreIgnored) {
  LyingBackend backend;
  backend.checksum = Checksum{"md5", std::string(32, 'a')};
  EXPECT_EQ(*backend.FindChecksum(GoodImage(), {}), backend.checksum);
  for (const Checksum& bad : {Checksum{"md5", std::string(31, 'a')}, Checksum{"md5", std::string(32, 'A')},
                              Checksum{"crc", std::string(32, 'a')}, Checksum{"sha256", std::string(63, '0') + "x"}}) {
    backend.checksum = bad;
    EXPECT_EQ(*backend.FindChecksum(GoodImage(), {}), std::nullopt) << bad.algorithm << bad.hex;
  }
}

}  // namespace
}  // namespace glintfs::testing
