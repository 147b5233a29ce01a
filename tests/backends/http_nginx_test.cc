// HttpBackend against a real nginx.
#include <sys/stat.h>

#include <filesystem>

#include "tests/backends/fetching.h"
#include "tests/support/nginx.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

class HttpNginxTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(dir_ / "sub/deep");
    PutFile(dir_ / "disk.raw", content_);
    PutFile(dir_ / "sub/odd name %20+&;'\"é.img", "odd");
    PutFile(dir_ / "empty.img", "");
    nginx_ = Nginx::Start(dir_.path());
    backend_ = Make(nginx_->url());
  }

  ImageInfo StatImage(const std::string& name) {
    auto info = backend_->Stat(name, {});
    if (!info) throw std::runtime_error(info.error().ToString());
    EXPECT_FALSE(info->is_directory);
    return info->image;
  }

  const std::string content_ = PatternBytes(3 << 20);
  TempDir dir_;
  std::unique_ptr<Nginx> nginx_;
  std::unique_ptr<Backend> backend_;
};

TEST_F(HttpNginxTest, StatsFilesAndDirectories) {
  const ImageInfo image = StatImage("disk.raw");
  EXPECT_EQ(image.size, content_.size());
  EXPECT_EQ(image.id.source, nginx_->url());
  EXPECT_TRUE(image.id.version.starts_with("etag:\"")) << image.id.version;
  struct stat st{};
  ASSERT_EQ(::stat((dir_ / "disk.raw").c_str(), &st), 0);
  EXPECT_EQ(image.mtime, std::chrono::seconds(st.st_mtim.tv_sec));

  for (const char* directory : {"", "sub", "sub/deep"}) {
    auto info = backend_->Stat(directory, {});
    ASSERT_OK(info);
    EXPECT_TRUE(info->is_directory) << directory;
  }
  EXPECT_EQ(CodeOf(backend_->Stat("missing", {})), "not found");
  EXPECT_EQ(CodeOf(backend_->Stat("sub/missing", {})), "not found");
  EXPECT_EQ(CodeOf(backend_->Stat("disk.raw/below", {})), "not found");
}

TEST_F(HttpNginxTest, FetchesRanges) {
  const ImageInfo image = StatImage("disk.raw");
  auto reader = backend_->Open(image, {});
  ASSERT_OK(reader);
  for (const Extent extent :
       {Extent{0, 1}, Extent{0, image.size}, Extent{100'000, 262'144}, Extent{image.size - 1, 1}}) {
    auto text = FetchText(**reader, extent);
    ASSERT_OK(text);
    EXPECT_EQ(*text, content_.substr(extent.offset, extent.length));
  }
  EXPECT_EQ(CodeOf(FetchText(**reader, {image.size, 1})), "invalid");
  EXPECT_EQ(CodeOf(FetchText(**reader, {0, 0})), "invalid");
}

TEST_F(HttpNginxTest, ListsHtml) {
  auto listing = backend_->List("", "", {});
  ASSERT_OK(listing);
  ASSERT_EQ(listing->entries.size(), 3u);
  EXPECT_EQ(listing->next_cursor, "");
  auto sub = backend_->List("sub", "", {});
  ASSERT_OK(sub);
  ASSERT_EQ(sub->entries.size(), 2u);
  EXPECT_EQ(sub->entries[0].name, "deep");
  EXPECT_TRUE(sub->entries[0].is_directory);
  EXPECT_EQ(sub->entries[1].name, "odd name %20+&;'\"é.img");
  EXPECT_FALSE(sub->entries[1].is_directory);
  EXPECT_EQ(StatImage("sub/" + sub->entries[1].name).size, 3u);
  EXPECT_EQ(CodeOf(backend_->List("missing", "", {})), "not found");
  EXPECT_EQ(CodeOf(backend_->List("disk.raw", "", {})), "not a directory");
}

TEST_F(HttpNginxTest, ListsJson) {
  auto nginx = Nginx::Start(dir_.path(), "autoindex_format json;");
  auto backend = Make(nginx->url());
  auto sub = backend->List("sub", "", {});
  ASSERT_OK(sub);
  ASSERT_EQ(sub->entries.size(), 2u);
  EXPECT_EQ(sub->entries[0].name, "deep");
  EXPECT_TRUE(sub->entries[0].is_directory);
  EXPECT_EQ(sub->entries[1].name, "odd name %20+&;'\"é.img");
}

TEST_F(HttpNginxTest, ListingSwitchedOffAtTheServer) {
  auto nginx = Nginx::Start(dir_.path(), "autoindex off;");
  auto backend = Make(nginx->url());
  EXPECT_EQ(CodeOf(backend->List("", "", {})), "not supported");
  EXPECT_TRUE(backend->Stat("", {})->is_directory);
  EXPECT_TRUE(backend->Stat("sub", {})->is_directory);
  EXPECT_EQ(CodeOf(backend->Stat("disk.raw", {})), "ok") << "names resolve without listings";
  EXPECT_EQ(CodeOf(Make(nginx->url() + "missing/")->Stat("", {})), "not found");
}

TEST_F(HttpNginxTest, AChangedFileIsStale) {
  auto reader = backend_->Open(StatImage("disk.raw"), {});
  ASSERT_OK(reader);
  PutFile(dir_ / "new", PatternBytes(content_.size() + 1, 2));
  std::filesystem::rename(dir_ / "new", dir_ / "disk.raw");
  EXPECT_EQ(CodeOf(FetchText(**reader, {0, 10})), "stale");
  EXPECT_TRUE(WaitFor([&] { return nginx_->AccessLog().back().status == 412; })) << "asked with If-Match";
  std::filesystem::remove(dir_ / "disk.raw");
  EXPECT_EQ(CodeOf(FetchText(**reader, {0, 10})), "not found");
}

TEST_F(HttpNginxTest, EmptyImage) {
  EXPECT_EQ(StatImage("empty.img").size, 0u);
}

TEST_F(HttpNginxTest, OneConnectionIsKeptAliveAndBytesAreCounted) {
  auto reader = backend_->Open(StatImage("disk.raw"), {});
  ASSERT_OK(reader);
  for (uint64_t offset = 0; offset < content_.size(); offset += 256 << 10)
    EXPECT_EQ(*FetchText(**reader, {offset, 256 << 10}), content_.substr(offset, 256 << 10));
  ASSERT_TRUE(WaitFor([&] { return nginx_->Requests("/disk.raw") == 1 + content_.size() / (256 << 10); }));
  EXPECT_EQ(nginx_->BytesSent("/disk.raw"), content_.size());
  for (const Nginx::LogEntry& entry : nginx_->AccessLog())
    EXPECT_EQ(entry.connection, nginx_->AccessLog().front().connection);
}

TEST_F(HttpNginxTest, BasicAuthAndRestart) {
  PutFile(dir_ / "htpasswd", "user:{PLAIN}secret\n");
  auto nginx = Nginx::Start(dir_.path(), "auth_basic x; auth_basic_user_file " + (dir_ / "htpasswd") + ";");
  EXPECT_EQ(CodeOf(Make(nginx->url())->Stat("disk.raw", {})), "access denied");
  PutFile(dir_ / "user", "user:secret\n");
  BackendOptions options = QuickOptions();
  options.user_file = dir_ / "user";
  auto backend = Make(nginx->url(), options);
  EXPECT_EQ(CodeOf(backend->Stat("disk.raw", {})), "ok");
  nginx->Stop();
  EXPECT_EQ(CodeOf(backend->Stat("disk.raw", {})), "unavailable");
  nginx->Restart();
  EXPECT_EQ(CodeOf(backend->Stat("disk.raw", {})), "ok");
}

TEST_F(HttpNginxTest, FindsSidecarChecksums) {
  const std::string hex(64, 'a');
  PutFile(dir_ / "SHA256SUMS", hex + "  disk.raw\n");
  auto sum = backend_->FindChecksum(StatImage("disk.raw"), {});
  ASSERT_OK(sum);
  ASSERT_TRUE(sum->has_value());
  EXPECT_EQ(**sum, (Checksum{"sha256", hex}));
}

TEST_F(HttpNginxTest, AFrozenServerTimesOutAndComesBack) {
  BackendOptions options = QuickOptions();
  options.ask_deadline = std::chrono::seconds(2);
  auto backend = Make(nginx_->url(), options);
  EXPECT_EQ(CodeOf(backend->Stat("disk.raw", {})), "ok");
  nginx_->Freeze();
  EXPECT_EQ(CodeOf(backend->Stat("disk.raw", {})), "timed out");
  nginx_->Thaw();
  EXPECT_TRUE(WaitFor([&] { return backend->Stat("disk.raw", {}).has_value(); }));
}

}  // namespace
}  // namespace glintfs::testing
