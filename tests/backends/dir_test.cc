// DirBackend on a temporary directory. Each test of names runs with and without openat2.
#include "backends/dir/dir_backend.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "backends/dir/source_errno.h"
#include "tests/backends/fetching.h"
#include "tests/support/temp_dir.h"

namespace glintfs::testing {
namespace {

namespace fs = std::filesystem;

class DirTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(root_ + "/sub/deep");
    PutFile(root_ + "/disk.raw", content_);
    PutFile(root_ + "/sub/a.img", "aaa");
    PutFile(root_ + "/empty.img", "");
    PutFile(outer_ / "secret", "secret");
    backend_ = Make("dir://" + root_);
  }

  ImageInfo StatImage(const std::string& name) {
    auto info = backend_->Stat(name, {});
    if (!info) throw std::runtime_error(info.error().ToString());
    EXPECT_FALSE(info->is_directory);
    return info->image;
  }
  std::unique_ptr<ImageReader> Open(const ImageInfo& image) { return std::move(*backend_->Open(image, {})); }

  const std::string content_ = PatternBytes((3 << 20) + 17);
  TempDir outer_;
  const std::string root_ = outer_ / "root";
  std::unique_ptr<Backend> backend_;
};

TEST_F(DirTest, StatsFilesAndDirectories) {
  const ImageInfo image = StatImage("disk.raw");
  struct stat st{};
  ASSERT_EQ(::stat((root_ + "/disk.raw").c_str(), &st), 0);
  EXPECT_EQ(image.size, content_.size());
  EXPECT_EQ(image.id.source, "dir://" + root_);
  EXPECT_EQ(image.mtime, std::chrono::seconds(st.st_mtim.tv_sec) + Nanos(st.st_mtim.tv_nsec));
  EXPECT_EQ(StatImage("disk.raw"), image) << "the same version while nothing changes";
  EXPECT_EQ(StatImage("empty.img").size, 0u);
  for (const char* directory : {"", "sub", "sub/deep"})
    EXPECT_TRUE(backend_->Stat(directory, {})->is_directory) << directory;
  EXPECT_EQ(CodeOf(backend_->Stat("missing", {})), "not found");
  EXPECT_EQ(CodeOf(backend_->Stat("disk.raw/x", {})), "not found");
  EXPECT_EQ(CodeOf(backend_->Stat("sub/../disk.raw", {})), "invalid");
}

TEST_F(DirTest, EveryKindOfChangeIsANewVersion) {
  std::set<std::string> versions = {StatImage("disk.raw").id.version};
  const auto changed = [&] { return versions.insert(StatImage("disk.raw").id.version).second; };
  const timespec past[2] = {{1'000'000'000, 1}, {1'000'000'000, 1}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (root_ + "/disk.raw").c_str(), past, 0), 0);
  EXPECT_TRUE(changed()) << "mtime";
  fs::resize_file(root_ + "/disk.raw", 100);
  EXPECT_TRUE(changed()) << "size";
  PutFile(root_ + "/new", content_);
  fs::rename(root_ + "/new", root_ + "/disk.raw");
  EXPECT_TRUE(changed()) << "inode";
}

TEST_F(DirTest, QuickWritesOfEqualLengthAreTold) {
  std::set<std::string> versions;
  for (int i = 0; i < 20; ++i) {
    std::fstream out(root_ + "/sub/a.img", std::ios::in | std::ios::out | std::ios::binary);
    out << std::string(3, static_cast<char>('a' + i));
    out.close();
    EXPECT_TRUE(versions.insert(StatImage("sub/a.img").id.version).second) << "write " << i;
  }
}

TEST_F(DirTest, FetchesAndNoticesChanges) {
  const ImageInfo image = StatImage("disk.raw");
  auto reader = Open(image);
  for (const Extent extent : {Extent{0, 1}, Extent{0, image.size}, Extent{1 << 20, 5}, Extent{image.size - 1, 1}})
    EXPECT_EQ(*FetchText(*reader, extent), content_.substr(extent.offset, extent.length));

  PutFile(root_ + "/disk.raw", PatternBytes(content_.size(), 2));
  EXPECT_EQ(CodeOf(FetchText(*reader, {0, 10})), "stale");
  fs::remove(root_ + "/disk.raw");
  EXPECT_EQ(CodeOf(FetchText(*reader, {0, 10})), "not found");
}

TEST_F(DirTest, AChangeDuringAFetchIsNeverPassedOn) {
  auto reader = Open(StatImage("disk.raw"));
  std::string passed;
  CallbackSink sink([&](size_t seen) {
    if (passed.empty()) fs::resize_file(root_ + "/disk.raw", 2 << 20);
    passed.assign(seen, 'x');
    return true;
  });
  EXPECT_EQ(CodeOf(reader->Fetch({0, content_.size()}, sink, {})), "stale");
  EXPECT_EQ(passed.size(), 1u << 20) << "the piece that was read before the change";
}

TEST_F(DirTest, StopsInTheMiddle) {
  auto reader = Open(StatImage("disk.raw"));
  std::stop_source stop;
  CallbackSink sink([&](size_t) { return stop.request_stop(), true; });
  EXPECT_EQ(CodeOf(reader->Fetch({0, content_.size()}, sink, stop.get_token())), "cancelled");
}

TEST_F(DirTest, LinksWorkInsideAndAreRefusedOutside) {
  fs::create_symlink("disk.raw", root_ + "/relative");
  fs::create_symlink("../disk.raw", root_ + "/sub/up");
  fs::create_symlink(root_ + "/sub/a.img", root_ + "/absolute");
  fs::create_symlink("sub", root_ + "/dirlink");
  fs::create_symlink("../secret", root_ + "/escape");
  fs::create_symlink(outer_ / "secret", root_ + "/absolute-escape");
  fs::create_symlink("..", root_ + "/parent");
  fs::create_symlink("nowhere", root_ + "/dangling");
  fs::create_symlink("loop", root_ + "/loop");
  fs::create_symlink(root_ + "-sibling", root_ + "/prefix");
  fs::create_directory(root_ + "-sibling");
  for (const bool use_openat2 : {true, false}) {
    const DirRoot root(root_, use_openat2);
    for (const char* name : {"relative", "sub/up", "absolute", "dirlink", "dirlink/a.img", "disk.raw", ""})
      EXPECT_EQ(CodeOf(root.Resolve(name)), "ok") << name << use_openat2;
    for (const char* name : {"escape", "absolute-escape", "parent", "parent/secret", "prefix"})
      EXPECT_EQ(CodeOf(root.Resolve(name)), "access denied") << name << use_openat2;
    for (const char* name : {"dangling", "loop", "missing", "disk.raw/x"})
      EXPECT_EQ(CodeOf(root.Resolve(name)), "not found") << name << use_openat2;
  }
  EXPECT_EQ(StatImage("relative").size, content_.size());
  EXPECT_EQ(*FetchText(*Open(StatImage("absolute")), {0, 3}), "aaa");
}

TEST_F(DirTest, ListsFilesAndDirectoriesOnly) {
  fs::create_symlink("disk.raw", root_ + "/link");
  fs::create_symlink("../secret", root_ + "/escape");
  ASSERT_EQ(::mkfifo((root_ + "/fifo").c_str(), 0600), 0);
  PutFile(root_ + "/bad\nname", "");
  auto listing = backend_->List("", "", {});
  ASSERT_OK(listing);
  std::set<std::string> names;
  for (const ListEntry& entry : listing->entries) names.insert(entry.name + (entry.is_directory ? "/" : ""));
  EXPECT_EQ(names, (std::set<std::string>{"disk.raw", "empty.img", "link", "sub/"}));
  EXPECT_EQ(listing->next_cursor, "");
  EXPECT_EQ(CodeOf(backend_->Stat("fifo", {})), "not found");
  EXPECT_EQ(backend_->List("sub", "", {})->entries.size(), 2u);
  EXPECT_EQ(CodeOf(backend_->List("missing", "", {})), "not found");
  EXPECT_EQ(CodeOf(backend_->List("disk.raw", "", {})), "not a directory");
}

TEST_F(DirTest, ReportsHolesOfTheSource) {
  const std::string path = root_ + "/sparse.raw";
  PutFile(path, "");
  fs::resize_file(path, 8 << 20);
  {
    std::fstream out(path, std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(4 << 20);
    out << std::string(4096, 'x');
  }
  const ImageInfo image = StatImage("sparse.raw");
  auto holes = Open(image)->Holes({});
  ASSERT_OK(holes);
  ASSERT_FALSE(holes->empty()) << "the temporary directory's file system keeps no holes";
  uint64_t end = 0;
  for (const Extent& hole : *holes) {
    EXPECT_GE(hole.offset, end) << "in order and disjoint";
    EXPECT_GT(hole.length, 0u);
    end = hole.end();
    EXPECT_TRUE(hole.end() <= 4u << 20 || hole.offset >= (4u << 20) + 4096) << "data is no hole";
    EXPECT_EQ(*FetchText(*Open(image), hole), std::string(hole.length, '\0'));
  }
  EXPECT_LE(end, image.size);
  EXPECT_TRUE(Open(StatImage("disk.raw"))->Holes({})->empty());
}

TEST_F(DirTest, AMissingRootIsNoAnswerAboutNames) {
  const ImageInfo image = StatImage("disk.raw");
  fs::rename(root_, root_ + ".away");
  EXPECT_EQ(CodeOf(backend_->Stat("", {})), "not found") << "refused at mount time";
  EXPECT_EQ(CodeOf(backend_->Stat("disk.raw", {})), "unavailable");
  EXPECT_EQ(CodeOf(backend_->List("sub", "", {})), "unavailable");
  EXPECT_EQ(CodeOf(FetchText(*Open(image), {0, 1})), "unavailable");
  fs::rename(root_ + ".away", root_);
  EXPECT_EQ(CodeOf(backend_->Stat("disk.raw", {})), "ok");
}

TEST_F(DirTest, AnUnmountedRootIsNoAnswerAboutNames) {
  const std::string mountpoint = outer_ / "mnt";
  fs::create_directory(mountpoint);
  if (::mount("none", mountpoint.c_str(), "tmpfs", 0, nullptr) != 0) GTEST_SKIP() << "needs the right to mount";
  PutFile(mountpoint + "/a.img", "a");
  auto backend = Make(mountpoint);
  EXPECT_EQ(CodeOf(backend->Stat("a.img", {})), "ok");
  ASSERT_EQ(::umount2(mountpoint.c_str(), MNT_DETACH), 0);
  EXPECT_EQ(CodeOf(backend->Stat("a.img", {})), "unavailable");
}

TEST(SourceErrno, NetworkTroubleIsUnavailable) {
  for (const int err : {EIO, ESTALE, ENOTCONN, EHOSTDOWN, ETIMEDOUT})
    EXPECT_EQ(SourceErrno(err, "x").code, Errc::kUnavailable) << err;
  EXPECT_EQ(SourceErrno(ENOENT, "x").code, Errc::kNotFound);
  EXPECT_EQ(SourceErrno(EACCES, "x").code, Errc::kAccessDenied);
}

}  // namespace
}  // namespace glintfs::testing
