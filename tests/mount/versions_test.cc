// A new version at the source: when it shows, and what open handles read.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>

#include "fs/base/unique_fd.h"
#include "tests/mount/harness.h"
#include "tests/support/nginx.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

using namespace std::chrono_literals;

class Versions : public MountTest {
 protected:
  // Replaces an image the way a careful publisher does: a new file under the old name.
  std::string Replace(const std::string& name, size_t size, unsigned seed) {
    const std::string content = Pattern(size, seed);
    WriteFile(source_ / ".new", content);
    // nginx makes its ETag of seconds and size, so a version of the same second would be the same version.
    const auto now = std::filesystem::last_write_time(source_ / ".new");
    std::filesystem::last_write_time(source_ / ".new", now + std::chrono::seconds(++published_));
    std::filesystem::rename(source_ / ".new", source_ / name);
    return content;
  }

  int published_ = 0;
  std::string got_ = std::string(4096, '\0');
};

TEST_F(Versions, ShowsAfterAttrTtl) {
  const std::string old_content = Put("disk.raw", 1'000'000, 1);
  GlintfsMount mount(source(), "attr_ttl=1s");
  mount.Start();
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == old_content);
  const std::string new_content = Replace("disk.raw", 1'200'000, 2);
  EXPECT_TRUE(WaitFor([&] { return std::filesystem::file_size(mount / "disk.raw") == 1'200'000; }));
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == new_content);
}

TEST_F(Versions, OfTheSameSizeShowsToo) {
  const std::string old_content = Put("disk.raw", 1'000'000, 1);
  GlintfsMount mount(source(), "attr_ttl=1s");
  mount.Start();
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == old_content);
  const std::string version = Xattr(mount / "disk.raw", "user.glintfs.version").value_or("");
  const std::string new_content = Replace("disk.raw", 1'000'000, 2);
  EXPECT_TRUE(WaitFor([&] { return Xattr(mount / "disk.raw", "user.glintfs.version") != version; }));
  EXPECT_TRUE(WaitFor([&] { return ReadFile(mount / "disk.raw") == new_content; }));
}

TEST_F(Versions, IsNotAskedForBeforeAttrTtl) {
  Put("disk.raw", 1000, 1);
  auto nginx = Nginx::Start(source_.path());
  GlintfsMount mount(nginx->url(), "attr_ttl=1h,negative_ttl=1h");
  mount.Start();
  struct stat info;
  ASSERT_EQ(::stat((mount / "disk.raw").c_str(), &info), 0);
  ASSERT_NE(::stat((mount / "none").c_str(), &info), 0);
  const uint64_t asked = nginx->Requests("/disk.raw") + nginx->Requests("/none");
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(::stat((mount / "disk.raw").c_str(), &info), 0);
    EXPECT_NE(::stat((mount / "none").c_str(), &info), 0);
  }
  EXPECT_EQ(nginx->Requests("/disk.raw") + nginx->Requests("/none"), asked);
}

TEST_F(Versions, MissingNamesAreAskedForAgainAfterNegativeTtl) {
  GlintfsMount mount(source(), "attr_ttl=1s,negative_ttl=1s");
  mount.Start();
  EXPECT_FALSE(std::filesystem::exists(mount / "late.raw"));
  const std::string content = Put("late.raw", 1000, 3);
  EXPECT_TRUE(WaitFor([&] { return std::filesystem::exists(mount / "late.raw"); }));
  EXPECT_TRUE(ReadFile(mount / "late.raw") == content);
}

TEST_F(Versions, RemovedNamesGoAfterAttrTtl) {
  Put("disk.raw", 1000, 1);
  GlintfsMount mount(source(), "attr_ttl=1s");
  mount.Start();
  ReadFile(mount / "disk.raw");
  std::filesystem::remove(source_ / "disk.raw");
  EXPECT_TRUE(WaitFor([&] { return !std::filesystem::exists(mount / "disk.raw"); }));
}

TEST_F(Versions, OpenHandlesKeepTheirVersionOrGetEstale) {
  const std::string old_content = Put("disk.raw", 40'000'000, 1);
  // nginx's ETag is size and mtime in whole seconds: two versions of one second look alike.
  std::filesystem::last_write_time(source_ / "disk.raw", std::filesystem::file_time_type::clock::now() - 1h);
  auto nginx = Nginx::Start(source_.path());
  GlintfsMount mount(nginx->url(), "attr_ttl=1s,fill=demand");
  mount.Start();
  UniqueFd fd(::open((mount / "disk.raw").c_str(), O_RDONLY));
  ASSERT_GE(fd.get(), 0);
  ASSERT_EQ(ReadAt(fd.get(), 0, 1'000'000), old_content.substr(0, 1'000'000));
  const std::string new_content = Replace("disk.raw", 40'000'000, 2);
  ASSERT_TRUE(WaitFor([&] { return ReadAt(mount / "disk.raw", 0, 1000) == new_content.substr(0, 1000); }));
  // What was cached of the old version is still read through the old handle …
  ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
  EXPECT_EQ(ReadAt(fd.get(), 0, 1'000'000), old_content.substr(0, 1'000'000));
  // … and what was not is ESTALE, never a byte of the new one.
  for (uint64_t at = 0; at + 4096 < old_content.size(); at += 1'000'000) {
    std::string got(4096, '\0');
    const ssize_t n = ::pread(fd.get(), got.data(), got.size(), static_cast<off_t>(at));
    if (n < 0) {
      EXPECT_EQ(errno, ESTALE) << at;
    } else {
      EXPECT_EQ(got, old_content.substr(at, 4096)) << at;
    }
  }
  const int at_end = ::pread(fd.get(), got_.data(), got_.size(), 39'000'000) < 0 ? errno : 0;
  EXPECT_EQ(at_end, ESTALE);
}

TEST_F(Versions, TheOldOneIsRemovedOnceClosed) {
  Put("disk.raw", 2'000'000, 1);
  GlintfsMount mount(source(), "attr_ttl=1s,clean_interval=1s");
  mount.Start();
  ReadFile(mount / "disk.raw");
  const std::string new_content = Replace("disk.raw", 100'000, 2);
  ASSERT_TRUE(WaitFor([&] { return ReadFile(mount / "disk.raw") == new_content; }));
  EXPECT_TRUE(WaitFor([&] { return mount.Get("/v1/images")["images"].size() == 1; }));
  auto used = [&] {
    uint64_t bytes = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(mount.cache() + "/data"))
      if (entry.is_regular_file()) bytes += entry.file_size();
    return bytes;
  };
  EXPECT_TRUE(WaitFor([&] { return used() < 2'000'000; }));
}

TEST_F(Versions, APublisherWhoWritesInPlaceMixesNoBytes) {
  // Half of the old version is cached when the source's file is rewritten under the reader.
  const std::string old_content = Put("disk.raw", 20'000'000, 1);
  GlintfsMount mount(source(), "attr_ttl=1h,fill=demand");
  mount.Start();
  UniqueFd fd(::open((mount / "disk.raw").c_str(), O_RDONLY));
  ASSERT_EQ(ReadAt(fd.get(), 0, 300'000), old_content.substr(0, 300'000));
  Put("disk.raw", 20'000'000, 2);
  const ssize_t n = ::pread(fd.get(), got_.data(), got_.size(), 19'000'000);
  EXPECT_EQ(n < 0 ? errno : 0, ESTALE);
}

}  // namespace
}  // namespace glintfs::testing
