// The flip: a complete image is read by the kernel itself, while what was opened before goes on as it was.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "fs/base/unique_fd.h"
#include "tests/mount/harness.h"
#include "tests/support/nginx.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

namespace stdfs = std::filesystem;
constexpr size_t kBlock = 4096;

// Linux has passthrough since 6.9; there the daemon must use it, elsewhere there is nothing to test.
bool KernelHasPassthrough() {
  utsname name{};
  ::uname(&name);
  int major = 0, minor = 0;
  std::sscanf(name.release, "%d.%d", &major, &minor);
  return major > 6 || (major == 6 && minor >= 9);
}

class Flip : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (!IsSkipped() && !KernelHasPassthrough()) GTEST_SKIP() << "Linux before 6.9 has no passthrough";
  }

  static UniqueFd Open(const std::string& path, int flags = 0) {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags));
    EXPECT_TRUE(fd.valid()) << path << ": " << std::strerror(errno);
    return fd;
  }

  // Do new handles on these read past the daemon? Found by whether it counts a read past the page cache.
  static bool PassThrough(const GlintfsMount& mount, const std::vector<std::string>& names) {
    std::vector<UniqueFd> fds;
    for (const std::string& name : names) {
      fds.emplace_back(::open((mount / name).c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
      if (!fds.back().valid()) throw std::runtime_error("open " + name + ": " + std::strerror(errno));
    }
    return ReadPast(mount, fds);
  }
  static bool ReadPast(const GlintfsMount& mount, const std::vector<UniqueFd>& direct) {
    alignas(kBlock) static thread_local char buffer[kBlock];
    const auto before = Counter(mount, "bytes_read");
    for (const UniqueFd& fd : direct)
      if (::pread(fd.get(), buffer, kBlock, 0) < 0) throw std::runtime_error(std::strerror(errno));
    return Counter(mount, "bytes_read") == before;
  }
  static bool PassesThrough(const GlintfsMount& mount, const std::string& name) { return PassThrough(mount, {name}); }
  static uint64_t Counter(const GlintfsMount& mount, const std::string& name) {
    return mount.Get("/v1/status")["counters"][name].get<uint64_t>();
  }
  static bool WaitUntilPassesThrough(const GlintfsMount& mount, const std::string& name) {
    return WaitFor([&] { return PassesThrough(mount, name); });
  }
};

TEST_F(Flip, ACompleteImagePassesThroughUnderTheSameInodeNumber) {
  const std::string content = Put("dir/disk.raw", 3'000'001, 1);
  GlintfsMount mount(source());
  mount.Start();
  EXPECT_TRUE(WaitFor([&] { return mount.Get("/v1/status")["passthrough"]["on"] == true; }));
  struct stat before{}, after{};
  ASSERT_EQ(::stat((mount / "dir/disk.raw").c_str(), &before), 0);
  EXPECT_TRUE(ReadFile(mount / "dir/disk.raw") == content);
  ASSERT_TRUE(WaitUntilPassesThrough(mount, "dir/disk.raw"));
  EXPECT_TRUE(ReadFile(mount / "dir/disk.raw") == content);
  ASSERT_EQ(::stat((mount / "dir/disk.raw").c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
  EXPECT_EQ(before.st_size, after.st_size);
  EXPECT_EQ(before.st_mtime, after.st_mtime);
  EXPECT_EQ(Xattr(mount / "dir/disk.raw", "user.glintfs.state"), "complete");
  EXPECT_EQ(::open((mount / "dir/disk.raw").c_str(), O_RDWR), -1);
  EXPECT_EQ(errno, EROFS);
}

TEST_F(Flip, PassesThroughAfterARestart) {
  const std::string content = Put("disk.raw", 3'000'000, 1);
  GlintfsMount mount(source());
  mount.Start();
  ReadFile(mount / "disk.raw");
  ASSERT_TRUE(WaitUntilPassesThrough(mount, "disk.raw"));
  ASSERT_EQ(mount.Stop(), 0);
  mount.Start();
  EXPECT_TRUE(WaitUntilPassesThrough(mount, "disk.raw"));
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == content);
}

// What was on disk when the daemon was killed is checked before the kernel may read it by itself.
TEST_F(Flip, PassesThroughAfterSigkillOnceAllIsChecked) {
  const std::string content = Put("disk.raw", 5'000'000, 1);
  GlintfsMount mount(source());
  mount.Start();
  ReadFile(mount / "disk.raw");
  ASSERT_TRUE(WaitUntilPassesThrough(mount, "disk.raw"));
  mount.Kill();
  mount.Start();
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == content);
  EXPECT_TRUE(WaitUntilPassesThrough(mount, "disk.raw"));
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == content);
}

TEST_F(Flip, AnImageWithAChecksumWaitsForTheVerdict) {
  Put("good.raw", 5'000'000, 1);
  Put("bad.raw", 5'000'000, 2);
  const CommandResult sum = RunCommand({"sha256sum", source_ / "good.raw"});
  WriteFile(source_ / "SHA256SUMS", sum.out.substr(0, 64) + "  good.raw\n" + std::string(64, '0') + "  bad.raw\n");
  GlintfsMount mount(source());
  mount.Start();
  ReadErrno(mount / "bad.raw", 0);
  ASSERT_TRUE(mount.WaitForState("bad.raw", "invalid"));
  EXPECT_EQ(ReadErrno(mount / "bad.raw", 0), EIO);
  ReadFile(mount / "good.raw");
  ASSERT_TRUE(WaitUntilPassesThrough(mount, "good.raw"));
  EXPECT_EQ(mount.State("good.raw"), "verified");
}

TEST_F(Flip, AnOpenReaderGoesOnAcrossIt) {
  const std::string content = Put("disk.raw", 20'000'000, 1);
  GlintfsMount mount(source());
  mount.Start();
  const UniqueFd fd = Open(mount / "disk.raw");
  std::vector<UniqueFd> direct;
  direct.push_back(Open(mount / "disk.raw", O_DIRECT));
  EXPECT_TRUE(ReadAt(fd.get(), 0, 1000) == content.substr(0, 1000));
  ASSERT_TRUE(WaitUntilPassesThrough(mount, "disk.raw"));
  EXPECT_FALSE(ReadPast(mount, direct)) << "the handle from before the flip";
  EXPECT_TRUE(ReadAt(fd.get(), 0, content.size()) == content);
  const UniqueFd late = Open(mount / "disk.raw");
  EXPECT_TRUE(ReadAt(late.get(), 0, content.size()) == content);
  EXPECT_TRUE(ReadAt(fd.get(), 7'000'000, 5000) == content.substr(7'000'000, 5000));
  // By the descriptor: the same node, read as it was.
  EXPECT_TRUE(ReadFile("/proc/self/fd/" + std::to_string(fd.get())) == content);
}

TEST_F(Flip, AMappingGoesOnAcrossIt) {
  const std::string content = Put("disk.raw", 20'000'000, 1);
  GlintfsMount mount(source());
  mount.Start();
  const UniqueFd fd = Open(mount / "disk.raw");
  void* const map = ::mmap(nullptr, content.size(), PROT_READ, MAP_SHARED, fd.get(), 0);
  ASSERT_NE(map, MAP_FAILED);
  const std::string_view mapped(static_cast<const char*>(map), content.size());
  EXPECT_EQ(mapped[0], content[0]);  // the first fault starts the fill
  ASSERT_TRUE(WaitUntilPassesThrough(mount, "disk.raw"));
  EXPECT_TRUE(mapped == content);
  const UniqueFd late = Open(mount / "disk.raw");
  void* const second = ::mmap(nullptr, content.size(), PROT_READ, MAP_PRIVATE, late.get(), 0);
  ASSERT_NE(second, MAP_FAILED);
  EXPECT_TRUE(std::string_view(static_cast<const char*>(second), content.size()) == content);
  ::munmap(second, content.size());
  ::munmap(map, content.size());
}

TEST_F(Flip, OpensRacingItReadTheRightBytes) {
  GlintfsMount mount(source());
  mount.Start();
  for (unsigned round = 0; round < 10; ++round) {
    const std::string name = "disk" + std::to_string(round);
    const std::string content = Put(name, 2'000'000, round);
    std::atomic<bool> over{false};
    std::atomic<int> wrong{0}, failed{0};
    std::vector<std::thread> readers;
    for (int i = 0; i < 4; ++i)
      readers.emplace_back([&] {
        while (!over) {
          try {
            if (ReadFile(mount / name) != content) ++wrong;
          } catch (const std::exception&) {
            ++failed;
          }
        }
      });
    EXPECT_TRUE(WaitUntilPassesThrough(mount, name));
    over = true;
    for (std::thread& reader : readers) reader.join();
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(failed, 0);
  }
}

TEST_F(Flip, AThousandInARow) {
  const int rounds = kSanitized ? 2 : 10;
  constexpr int kImages = 100;
  std::vector<std::string> contents;
  std::vector<std::string> names;
  for (int i = 0; i < kImages; ++i) {
    names.push_back(std::to_string(i));
    contents.push_back(Put(names.back(), 20'000 + i, i));
  }
  GlintfsMount mount(source());
  mount.Start();
  for (int round = 0; round < rounds; ++round) {
    std::vector<UniqueFd> before, after;
    for (int i = 0; i < kImages; ++i) {
      before.push_back(Open(mount / names[i]));
      ASSERT_TRUE(ReadAt(before.back().get(), 0, 100'000) == contents[i]);
    }
    ASSERT_TRUE(WaitFor([&] { return PassThrough(mount, names); })) << round;
    for (int i = 0; i < kImages; ++i) {
      after.push_back(Open(mount / names[i]));
      ASSERT_TRUE(ReadAt(after.back().get(), 0, 100'000) == contents[i]);
      ASSERT_TRUE(ReadAt(before[i].get(), 0, 100'000) == contents[i]);
    }
    before.clear();
    after.clear();
    ASSERT_TRUE(WaitFor([&] {
      mount.Ctl({"evict", "--all"});
      return mount.Get("/v1/status")["images"]["total"] == 0;
    })) << mount.Get("/v1/status").dump();
  }
}

TEST_F(Flip, LoopMountedExt4GoesOnAcrossIt) {
  TempDir dir;
  for (int i = 0; i < 20; ++i)
    WriteFile(dir / ("tree/d" + std::to_string(i % 3) + "/f" + std::to_string(i)), Pattern(700'001, i));
  stdfs::create_directory(dir / "images");
  ASSERT_TRUE(RunCommand({"truncate", "-s", "64M", dir / "images/disk.raw"}).ok());
  ASSERT_TRUE(RunCommand({"mkfs.ext4", "-q", "-F", "-d", dir / "tree", dir / "images/disk.raw"}).ok());
  auto nginx = Nginx::Start(dir / "images", "limit_rate 4m;");
  GlintfsMount mount(nginx->url());
  mount.Start();
  for (const char* when : {"before", "after"}) {
    const std::string place = dir / when;
    stdfs::create_directory(place);
    const CommandResult mounted = RunCommand({"mount", "-o", "ro,loop,noload", mount / "disk.raw", place});
    ASSERT_TRUE(mounted.ok()) << mounted.err;
    ASSERT_TRUE(WaitUntilPassesThrough(mount, "disk.raw"));
    RunCommand({"sh", "-c", "echo 1 > /proc/sys/vm/drop_caches"});
    const CommandResult diff = RunCommand({"diff", "-r", "--exclude=lost+found", dir / "tree", place});
    EXPECT_EQ(diff.status, 0) << when << ": " << diff.out.substr(0, 1000) << diff.err;
  }
  for (const char* when : {"before", "after"}) EXPECT_TRUE(RunCommand({"umount", dir / when}).ok());
}

TEST_F(Flip, WhatIsOpenStaysAndCounts) {
  const std::string content = Put("disk.raw", 3'000'000, 1);
  GlintfsMount mount(source(), "attr_ttl=0s");
  mount.Start();
  ReadFile(mount / "disk.raw");
  ASSERT_TRUE(WaitUntilPassesThrough(mount, "disk.raw"));
  UniqueFd fd = Open(mount / "disk.raw");
  const uint64_t used = mount.Get("/v1/status")["use"]["used_bytes"];
  EXPECT_EQ(mount.Get("/v1/images/disk.raw")["open_count"], 1);
  EXPECT_NE(mount.Ctl({"evict", "disk.raw"}).status, 0);
  EXPECT_EQ(mount.Ctl({"prune", "--to", "0"}).status, 0);
  EXPECT_EQ(mount.Get("/v1/status")["use"]["used_bytes"], used);
  // A new version: the open handle keeps the old one, whose bytes count until it is closed.
  const std::string newer = Put("disk.raw", 2'000'000, 2);
  EXPECT_TRUE(WaitFor([&] { return ReadFile(mount / "disk.raw") == newer; }));
  mount.Ctl({"clean"});
  EXPECT_TRUE(ReadAt(fd.get(), 0, content.size()) == content);
  EXPECT_GE(mount.Get("/v1/status")["use"]["used_bytes"], used);
  fd.Reset();
  EXPECT_TRUE(WaitFor([&] {
    mount.Ctl({"clean"});
    return mount.Get("/v1/status")["use"]["used_bytes"] < used;
  }));
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == newer);
}

TEST_F(Flip, AnEvictedImageIsFetchedAgain) {
  const std::string content = Put("disk.raw", 3'000'000, 1);
  GlintfsMount mount(source());
  mount.Start();
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(ReadFile(mount / "disk.raw") == content);
    ASSERT_TRUE(WaitUntilPassesThrough(mount, "disk.raw"));
    EXPECT_TRUE(WaitFor([&] { return mount.Ctl({"evict", "disk.raw"}).status == 0; }));
  }
}

TEST_F(Flip, OpensCountAsHits) {
  Put("disk.raw", 3'000'000, 1);
  GlintfsMount mount(source());
  mount.Start();
  ReadFile(mount / "disk.raw");
  ASSERT_TRUE(WaitUntilPassesThrough(mount, "disk.raw"));
  const auto before = mount.Get("/v1/images/disk.raw");
  const UniqueFd first = Open(mount / "disk.raw"), second = Open(mount / "disk.raw");
  const auto after = mount.Get("/v1/images/disk.raw");
  EXPECT_EQ(after["hits"].get<int>(), before["hits"].get<int>() + 2);
  EXPECT_GT(after["last_access"], before["last_access"]);
  EXPECT_EQ(after["open_count"], 2);
}

TEST_F(Flip, CanBeTurnedOff) {
  const std::string content = Put("disk.raw", 3'000'000, 1);
  GlintfsMount mount(source(), "passthrough=off");
  mount.Start();
  ReadFile(mount / "disk.raw");
  ASSERT_TRUE(mount.WaitForState("disk.raw", "complete"));
  EXPECT_FALSE(PassesThrough(mount, "disk.raw"));
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == content);
  EXPECT_TRUE(WaitFor([&] { return mount.Get("/v1/status")["passthrough"]["refused"] == "turned off"; }));
  EXPECT_TRUE(WaitFor([&] { return mount.LogText().find("passthrough off: turned off") != std::string::npos; }));
  EXPECT_THAT(mount.Ctl({"status"}).out, ::testing::HasSubstr("off: turned off"));
}

// The handles of a mount that is taken away lazily read on.
TEST_F(Flip, AnOpenHandleOutlivesTheMount) {
  const std::string content = Put("disk.raw", 3'000'000, 1);
  GlintfsMount mount(source());
  mount.Start();
  ReadFile(mount / "disk.raw");
  ASSERT_TRUE(WaitUntilPassesThrough(mount, "disk.raw"));
  const UniqueFd fd = Open(mount / "disk.raw");
  EXPECT_EQ(mount.Stop(), 0);
  EXPECT_TRUE(ReadAt(fd.get(), 0, content.size()) == content);
}

}  // namespace
}  // namespace glintfs::testing
