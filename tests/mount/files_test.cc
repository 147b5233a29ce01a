// What the mount shows: names, attributes, bytes, xattrs; and that it is read-only.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#include <filesystem>

#include "fs/base/unique_fd.h"
#include "tests/mount/harness.h"
#include "tests/support/nginx.h"

namespace glintfs::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Files : public MountTest {};

TEST_F(Files, ReadsAreTheImagesBytes) {
  const std::string content = Put("disk.raw", 5'000'001, 1);
  GlintfsMount mount(source());
  mount.Start();
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == content);
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == content) << "from the cache";
  EXPECT_EQ(ReadAt(mount / "disk.raw", 4'999'990, 100), content.substr(4'999'990));
  EXPECT_EQ(ReadAt(mount / "disk.raw", 6'000'000, 100), "");
  EXPECT_EQ(ReadAt(mount / "disk.raw", 262'143, 2), content.substr(262'143, 2)) << "over a chunk's edge";
}

TEST_F(Files, EmptyImage) {
  Put("empty", "");
  GlintfsMount mount(source());
  mount.Start();
  EXPECT_EQ(ReadFile(mount / "empty"), "");
}

TEST_F(Files, NestedNamesAreDirectories) {
  const std::string content = Put("a/b/c.img", 300'000, 2);
  Put("a/x.img", "x");
  Put("top.img", "t");
  GlintfsMount mount(source());
  mount.Start();
  EXPECT_THAT(Names(mount.mountpoint()), ElementsAre("a", "top.img"));
  EXPECT_THAT(Names(mount / "a"), ElementsAre("b", "x.img"));
  EXPECT_TRUE(std::filesystem::is_directory(mount / "a/b"));
  EXPECT_TRUE(ReadFile(mount / "a/b/c.img") == content);
  EXPECT_FALSE(std::filesystem::exists(mount / "a/none"));
  EXPECT_FALSE(std::filesystem::exists(mount / "none/none"));
}

TEST_F(Files, Attributes) {
  Put("disk.raw", 700'001, 3);
  Put("d/e", "e");
  const timespec times[2] = {{1'600'000'000, 0}, {1'600'000'000, 123'456'789}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (source_ / "disk.raw").c_str(), times, 0), 0);
  GlintfsMount mount(source(), "uid=1234,gid=4321,mode=0440");
  mount.Start();
  struct stat file, again, directory;
  ASSERT_EQ(::stat((mount / "disk.raw").c_str(), &file), 0);
  EXPECT_EQ(file.st_mode, static_cast<mode_t>(S_IFREG | 0440));
  EXPECT_EQ(file.st_uid, 1234u);
  EXPECT_EQ(file.st_gid, 4321u);
  EXPECT_EQ(file.st_size, 700'001);
  EXPECT_EQ(file.st_blksize, 1 << 20);
  EXPECT_EQ(file.st_mtim.tv_sec, 1'600'000'000);
  EXPECT_EQ(file.st_mtim.tv_nsec, 123'456'789);
  ASSERT_EQ(::stat((mount / "d").c_str(), &directory), 0);
  EXPECT_EQ(directory.st_mode, static_cast<mode_t>(S_IFDIR | 0550));
  EXPECT_EQ(directory.st_uid, 1234u);
  // The inode number is the same after the image is complete, and after a restart.
  ReadFile(mount / "disk.raw");
  ASSERT_TRUE(mount.WaitForState("disk.raw", "complete"));
  ASSERT_EQ(mount.Stop(), 0);
  mount.Start();
  ASSERT_EQ(::stat((mount / "disk.raw").c_str(), &again), 0);
  EXPECT_EQ(again.st_ino, file.st_ino);
}

TEST_F(Files, OtherUsersReadWhatModeAllows) {
  Put("disk.raw", "content");
  {
    GlintfsMount mount(source(), "mode=0440");
    std::filesystem::permissions(std::filesystem::path(mount.mountpoint()).parent_path(), std::filesystem::perms(0755));
    mount.Start();
    EXPECT_FALSE(RunCommand({"cat", mount / "disk.raw"}, {.user = 65534}).ok());
  }
  GlintfsMount mount(source());
  std::filesystem::permissions(std::filesystem::path(mount.mountpoint()).parent_path(), std::filesystem::perms(0755));
  mount.Start();
  EXPECT_EQ(RunCommand({"cat", mount / "disk.raw"}, {.user = 65534}).out, "content");
}

TEST_F(Files, WritesCreatesAndRenamesGetErofs) {
  Put("disk.raw", "content");
  Put("d/e", "e");
  GlintfsMount mount(source());
  mount.Start();
  const std::string file = mount / "disk.raw";
  auto errno_of = [](int result) { return result < 0 ? errno : 0; };
  EXPECT_EQ(errno_of(::open(file.c_str(), O_WRONLY)), EROFS);
  EXPECT_EQ(errno_of(::open(file.c_str(), O_RDWR)), EROFS);
  EXPECT_EQ(errno_of(::open(file.c_str(), O_RDONLY | O_TRUNC)), EROFS);
  EXPECT_EQ(errno_of(::open((mount / "new").c_str(), O_WRONLY | O_CREAT, 0644)), EROFS);
  EXPECT_EQ(errno_of(::mkdir((mount / "new").c_str(), 0755)), EROFS);
  EXPECT_EQ(errno_of(::rename(file.c_str(), (mount / "other").c_str())), EROFS);
  EXPECT_EQ(errno_of(::unlink(file.c_str())), EROFS);
  EXPECT_EQ(errno_of(::rmdir((mount / "d").c_str())), EROFS);
  EXPECT_EQ(errno_of(::symlink("a", (mount / "link").c_str())), EROFS);
  EXPECT_EQ(errno_of(::link(file.c_str(), (mount / "hard").c_str())), EROFS);
  EXPECT_EQ(errno_of(::chmod(file.c_str(), 0600)), EROFS);
  EXPECT_EQ(errno_of(::truncate(file.c_str(), 0)), EROFS);
  EXPECT_EQ(errno_of(::setxattr(file.c_str(), "user.x", "1", 1, 0)), EROFS);
  EXPECT_EQ(errno_of(::access(file.c_str(), W_OK)), EROFS);
  EXPECT_EQ(ReadFile(file), "content");
}

TEST_F(Files, XattrsTellTheState) {
  const std::string content = Put("disk.raw", 3'000'000, 4);
  GlintfsMount mount(source(), "fill=demand");
  mount.Start();
  const std::string path = mount / "disk.raw";
  EXPECT_EQ(Xattr(path, "user.glintfs.state"), "absent");
  EXPECT_EQ(Xattr(path, "user.glintfs.cached_bytes"), "0");
  EXPECT_EQ(Xattr(path, "user.glintfs.source"), source());
  EXPECT_FALSE(Xattr(path, "user.glintfs.version").value_or("").empty());
  ReadAt(path, 0, 1);
  EXPECT_TRUE(mount.WaitForState("disk.raw", "partial"));
  EXPECT_GE(std::stoull(Xattr(path, "user.glintfs.cached_bytes").value_or("0")), 262'144u);
  EXPECT_TRUE(ReadFile(path) == content);
  EXPECT_TRUE(mount.WaitForState("disk.raw", "complete"));
  EXPECT_EQ(Xattr(path, "user.glintfs.cached_bytes"), "3000000");
  EXPECT_EQ(Xattr(path, "user.other"), std::nullopt);
  char list[512];
  const ssize_t n = ::listxattr(path.c_str(), list, sizeof list);
  ASSERT_GT(n, 0);
  const std::string names(list, static_cast<size_t>(n));
  for (const char* name :
       {"user.glintfs.state", "user.glintfs.cached_bytes", "user.glintfs.version", "user.glintfs.source"})
    EXPECT_NE(names.find(name), std::string::npos) << name;
}

TEST_F(Files, StatfsTellsSizeAndUseOfTheCache) {
  Put("disk.raw", std::string(2'000'000, 'x'));
  GlintfsMount mount(source(), "max_size=64Mi,min_free=0");
  mount.Start();
  struct statvfs before, after;
  ASSERT_EQ(::statvfs(mount.mountpoint().c_str(), &before), 0);
  EXPECT_EQ(before.f_blocks * before.f_frsize, 64u << 20);
  EXPECT_TRUE(before.f_flag & ST_RDONLY);
  ReadFile(mount / "disk.raw");
  ASSERT_TRUE(mount.WaitForState("disk.raw", "complete"));  // the last bytes are answered before they are stored
  ASSERT_EQ(::statvfs(mount.mountpoint().c_str(), &after), 0);
  EXPECT_GE((before.f_bfree - after.f_bfree) * after.f_frsize, 2'000'000u);
}

TEST_F(Files, NamesResolveWithoutAListing) {
  const std::string content = Put("a/disk.raw", 100'000, 5);
  auto nginx = Nginx::Start(source_.path());
  GlintfsMount mount(nginx->url(), "listing=none");
  mount.Start();
  EXPECT_TRUE(ReadFile(mount / "a/disk.raw") == content);
  EXPECT_EQ(nginx->Requests("/", "GET"), 0u);
  EXPECT_EQ(nginx->Requests("/a/", "GET"), 0u);
}

TEST_F(Files, OddNames) {
  for (const char* name : {"with space.img", "ümläut.img", "a+b%20c.img", "q?x#y.img", "-dash", "quote'\".img", "latin1-\xe9.img", "back\\slash", " "})
    Put(name, name);
  auto nginx = Nginx::Start(source_.path());
  for (const std::string& from : {source(), nginx->url()}) {
    GlintfsMount mount(from);
    mount.Start();
    for (const std::string& name : Names(source_.path())) EXPECT_EQ(ReadFile(mount / name), name) << from;
    EXPECT_EQ(Names(mount.mountpoint()), Names(source_.path())) << from;
  }
}

TEST_F(Files, NamesWithControlCharactersAreLeftOut) {
  Put("plain.img", "plain");
  Put("d/plain.img", "plain");
  const std::vector<std::string> bad = {"new\nline.img", "tab\t.img", "esc\x1b[31m.img", "del\x7f.img", "one\x01.img"};
  for (const std::string& name : bad) Put(name, "bad");
  Put("d/new\nline.img", "bad");
  Put("dir\n/plain.img", "bad");
  auto nginx = Nginx::Start(source_.path());
  for (const std::string& from : {source(), nginx->url()}) {
    GlintfsMount mount(from);
    mount.Start();
    EXPECT_THAT(Names(mount.mountpoint()), ElementsAre("d", "plain.img")) << from;
    EXPECT_THAT(Names(mount / "d"), ElementsAre("plain.img")) << from;
    for (const std::string& name : bad) EXPECT_EQ(ReadErrno(mount / name, 0), ENOENT) << from;
    EXPECT_EQ(ReadErrno(mount / "dir\n/plain.img", 0), ENOENT) << from;
    EXPECT_EQ(ReadFile(mount / "plain.img"), "plain");
    // Told, with nothing in the line that a terminal would obey.
    EXPECT_THAT(mount.LogText(), HasSubstr("6 names cannot be shown and are left out"));
    EXPECT_THAT(mount.LogText(), HasSubstr("1 names cannot be shown and are left out"));
    EXPECT_EQ(mount.LogText().find('\x1b'), std::string::npos);
  }
}

}  // namespace
}  // namespace glintfs::testing
