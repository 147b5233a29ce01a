// Scratch: the area by itself, on a real directory.
#include "fs/fuse/scratch.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "tests/support/temp_dir.h"

namespace glintfs {
namespace {

using testing::TempDir;

constexpr char kId[] = "11111111-2222-3333-4444-555555555555";

class ScratchTest : public ::testing::Test {
 protected:
  void SetUp() override { Open(); }
  void Open(Scratch::Limits limits = {}) {
    scratch_.reset();
    auto scratch = Scratch::Open(path(), limits, clock_);
    ASSERT_TRUE(scratch) << scratch.error().ToString();
    scratch_ = std::move(*scratch);
  }
  std::string path(const std::string& more = "") { return dir_ / "scratch" + (more.empty() ? "" : "/" + more); }
  NodeId Node(const std::string& name, NodeId directory = kRootNode) {
    ScratchStat stat;
    EXPECT_EQ(scratch_->Lookup(directory, name, stat), 0) << name;
    return stat.node;
  }
  NodeId Create(const std::string& name, NodeId directory = kRootNode, int flags = 0) {
    ScratchStat stat;
    EXPECT_EQ(scratch_->Create(directory, name, flags, stat), 0) << name;
    return stat.node;
  }
  int LookupError(const std::string& name, NodeId directory = kRootNode) {
    ScratchStat stat;
    return scratch_->Lookup(directory, name, stat);
  }
  int CreateError(const std::string& name, NodeId directory = kRootNode, int flags = 0) {
    ScratchStat stat;
    return scratch_->Create(directory, name, flags, stat);
  }
  int Write(NodeId node, uint64_t offset, const std::string& text) {
    return scratch_->Write(node, offset, std::as_bytes(std::span(text)));
  }
  std::string Read(NodeId node, uint64_t offset = 0, size_t size = 1000) {
    std::string text(size, '?');
    size_t got = 0;
    EXPECT_EQ(scratch_->Read(node, offset, std::as_writable_bytes(std::span(text)), got), 0);
    return text.substr(0, got);
  }
  uint64_t Size(NodeId node) {
    ScratchStat stat;
    EXPECT_EQ(scratch_->Stat(node, stat), 0);
    return stat.size;
  }
  std::string List(NodeId directory = kRootNode) {
    std::vector<ListEntry> entries;
    EXPECT_EQ(scratch_->List(directory, entries), 0);
    std::vector<std::string> names;
    for (const ListEntry& entry : entries) names.push_back(entry.name);
    std::sort(names.begin(), names.end());
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "" : " ") + name;
    return text;
  }

  TempDir dir_;
  FakeClock clock_;
  std::unique_ptr<Scratch> scratch_;
};

TEST(IsImageIdTest, UuidsOnly) {
  EXPECT_TRUE(IsImageId(kId));
  EXPECT_TRUE(IsImageId("abcdefAB-CDEF-0123-4567-89abcdefABCD"));
  for (const char* name : {"", "cache.db", "11111111-2222-3333-4444-55555555555", "11111111-2222-3333-4444-5555555555555",
                           "111111112222333344445555555555555555", "11111111-2222-3333-4444-55555555555g",
                           "11111111-2222-3333-4444_555555555555", "11111111-2222-3333-4444-55555555555/"})
    EXPECT_FALSE(IsImageId(name)) << name;
}

TEST_F(ScratchTest, FilesAreWrittenReadAndRemoved) {
  const NodeId node = Create("cache.db");
  EXPECT_TRUE(IsScratchNode(node));
  EXPECT_EQ(Write(node, 0, "hello"), 0);
  EXPECT_EQ(Write(node, 7, "x"), 0);
  EXPECT_EQ(Read(node), std::string("hello\0\0x", 8));
  EXPECT_EQ(Read(node, 3, 2), "lo");
  EXPECT_EQ(Read(node, 100), "");
  EXPECT_EQ(Size(node), 8u);
  EXPECT_EQ(scratch_->use().bytes, 8u);
  EXPECT_EQ(Node("cache.db"), node) << "one file, one node";
  EXPECT_EQ(scratch_->Truncate(node, 3), 0);
  EXPECT_EQ(Read(node), "hel");
  EXPECT_EQ(scratch_->Sync(node), 0);
  EXPECT_EQ(scratch_->Sync(kRootNode), 0);
  EXPECT_EQ(List(), "cache.db");
  EXPECT_EQ(scratch_->Unlink(kRootNode, "cache.db"), 0);
  EXPECT_EQ(List(), "");
  EXPECT_EQ(LookupError("cache.db"), ENOENT);
  EXPECT_EQ(scratch_->Unlink(kRootNode, "cache.db"), ENOENT);
}

TEST_F(ScratchTest, CreateHonoursExcl) {
  const NodeId node = Create("checkme");
  EXPECT_EQ(Write(node, 0, "kept"), 0);
  EXPECT_EQ(CreateError("checkme", kRootNode, O_EXCL), EEXIST);
  EXPECT_EQ(Create("checkme"), node);
  EXPECT_EQ(Read(node), "kept");
}

TEST_F(ScratchTest, AFileThatWasUnlinkedGoesOnWhileItIsKnownAndItsNameIsFree) {
  const NodeId old = Create("journal");
  EXPECT_EQ(Write(old, 0, "old"), 0);
  EXPECT_EQ(scratch_->Unlink(kRootNode, "journal"), 0);
  const NodeId fresh = Create("journal");
  EXPECT_NE(fresh, old);
  EXPECT_EQ(Write(fresh, 0, "fresh"), 0);
  EXPECT_EQ(Write(old, 3, "er"), 0);
  EXPECT_EQ(Read(old), "older");
  EXPECT_EQ(Read(fresh), "fresh");
  EXPECT_EQ(scratch_->use().bytes, 10u) << "counts as long as it takes room";
  scratch_->Forget(old, 1);
  EXPECT_EQ(scratch_->use().bytes, 5u);
  ScratchStat stat;
  EXPECT_EQ(scratch_->Stat(old, stat), ESTALE);
  EXPECT_EQ(scratch_->Write(old, 0, {}), ESTALE);
}

TEST_F(ScratchTest, LookupsAreCounted) {
  const NodeId node = Create("a");
  Node("a");
  scratch_->Forget(node, 1);
  EXPECT_EQ(Size(node), 0u);
  scratch_->Forget(node, 5);
  ScratchStat stat;
  EXPECT_EQ(scratch_->Stat(node, stat), ESTALE);
  EXPECT_NE(Node("a"), node) << "ids are not given out twice";
  scratch_->Forget(kScratchBit | 12'345, 1);
}

TEST_F(ScratchTest, RenamesInsideTheArea) {
  const NodeId queue = Node("queue"), invalid = Node("invalid");
  const NodeId node = Create("a", queue), other = Create("b", invalid);
  EXPECT_EQ(Write(node, 0, "aa"), 0);
  EXPECT_EQ(Write(other, 0, "bbb"), 0);
  EXPECT_EQ(scratch_->Rename(queue, "a", invalid, "b", RENAME_NOREPLACE), EEXIST);
  EXPECT_EQ(scratch_->Rename(queue, "a", invalid, "b", RENAME_EXCHANGE), EINVAL);
  EXPECT_EQ(scratch_->Rename(queue, "a", invalid, "b", 0), 0);
  EXPECT_EQ(List(queue), "");
  EXPECT_EQ(Node("b", invalid), node) << "the node goes with the file";
  scratch_->Forget(other, 1);
  EXPECT_EQ(scratch_->use().bytes, 2u);
  EXPECT_EQ(scratch_->Rename(invalid, "b", kRootNode, kId, 0), EPERM);
  EXPECT_EQ(scratch_->Rename(invalid, "b", kRootNode, "queue", 0), EPERM);
  EXPECT_EQ(scratch_->Rename(kRootNode, "queue", kRootNode, "x", 0), EPERM);
  EXPECT_EQ(scratch_->Rename(invalid, "nothing", queue, "x", 0), ENOENT);
  EXPECT_EQ(scratch_->Rename(invalid, "b", node, "x", 0), ENOTDIR);
}

TEST_F(ScratchTest, NamesThatAreNone) {
  const NodeId queue = Node("queue");
  for (const std::string& name : {std::string(""), std::string("."), std::string(".."), std::string("../x"), std::string("a/b"), std::string("/etc/passwd"),
                                  std::string("a\0b", 3)}) {
    EXPECT_EQ(CreateError(name, queue), EINVAL) << name;
    EXPECT_EQ(scratch_->Unlink(queue, name), EINVAL) << name;
    EXPECT_EQ(scratch_->Rename(queue, name, queue, "x", 0), EINVAL) << name;
    EXPECT_NE(LookupError(name, queue), 0) << name;
  }
  EXPECT_EQ(CreateError(std::string(256, 'n'), queue), ENAMETOOLONG);
  EXPECT_EQ(LookupError(std::string(256, 'n'), queue), ENAMETOOLONG);
  Create(std::string(255, 'n'), queue);
  Create("odd \xff\n name", queue);
  EXPECT_EQ(LookupError("odd \xff\n name", queue), 0);
}

TEST_F(ScratchTest, ImagesAndDirectoriesAreNotMade) {
  EXPECT_EQ(CreateError(kId), EPERM);
  EXPECT_EQ(LookupError(kId), ENOENT);
  EXPECT_EQ(CreateError("incomplete"), EPERM);
  EXPECT_EQ(scratch_->MakeDirectory(kRootNode, "incomplete"), EEXIST);
  EXPECT_EQ(scratch_->MakeDirectory(kRootNode, "other"), EPERM);
  const NodeId queue = Node("queue");
  EXPECT_EQ(scratch_->MakeDirectory(queue, "queue"), EPERM);
  Create(kId, queue);
  EXPECT_EQ(List(queue), kId);
}

TEST_F(ScratchTest, EveryImageIsBeingWrittenBySomebodyElse) {
  const NodeId incomplete = Node("incomplete");
  const NodeId image = Node(kId, incomplete);
  EXPECT_EQ(Size(image), 0u);
  EXPECT_EQ(Read(image), "");
  EXPECT_EQ(List(incomplete), "");
  EXPECT_EQ(LookupError("x", incomplete), ENOENT);
  EXPECT_EQ(scratch_->Open(image, O_RDONLY), 0);
  EXPECT_EQ(scratch_->Open(image, O_WRONLY), EPERM);
  EXPECT_EQ(scratch_->Open(image, O_RDONLY | O_TRUNC), EPERM);
  EXPECT_EQ(Write(image, 0, "x"), EPERM);
  EXPECT_EQ(scratch_->Truncate(image, 0), EPERM);
  EXPECT_EQ(CreateError(kId, incomplete), EPERM);
  EXPECT_EQ(CreateError("x", incomplete), EPERM);
  EXPECT_EQ(scratch_->Unlink(incomplete, kId), EPERM);
  EXPECT_EQ(scratch_->Rename(incomplete, kId, Node("invalid"), kId, 0), EPERM);
}

TEST_F(ScratchTest, TheLimitHoldsForAllFilesTogether) {
  Open({.bytes = 1'000, .files = 4});
  const NodeId a = Create("a"), b = Create("b", Node("queue"));
  EXPECT_EQ(Write(a, 0, std::string(600, 'a')), 0);
  EXPECT_EQ(Write(b, 0, std::string(401, 'b')), ENOSPC);
  EXPECT_EQ(Write(b, 0, std::string(400, 'b')), 0);
  EXPECT_EQ(Write(b, 400, "x"), ENOSPC);
  EXPECT_EQ(Write(a, 0, std::string(600, 'A')), 0) << "what is there can be written over";
  EXPECT_EQ(scratch_->Truncate(a, 601), ENOSPC);
  EXPECT_EQ(Write(a, uint64_t{1} << 40, "x"), ENOSPC) << "holes count";
  EXPECT_EQ(Write(a, INT64_MAX, "xy"), EFBIG);
  EXPECT_EQ(scratch_->use().bytes, 1'000u);
  EXPECT_EQ(scratch_->Truncate(a, 100), 0);
  EXPECT_EQ(Write(b, 400, std::string(500, 'b')), 0);
  EXPECT_EQ(scratch_->Unlink(kRootNode, "a"), 0);
  EXPECT_EQ(Write(b, 900, "x"), ENOSPC) << "it is still open";
  scratch_->Forget(a, 1);
  EXPECT_EQ(Write(b, 900, std::string(100, 'b')), 0);
  for (const char* name : {"1", "2", "3"}) Create(name);
  EXPECT_EQ(CreateError("4"), ENOSPC);
  Open({.bytes = 999, .files = 4});
  EXPECT_EQ(scratch_->use().bytes, 1'000u) << "counted at the start";
  EXPECT_EQ(Write(Node("1"), 0, "x"), ENOSPC);
  EXPECT_EQ(scratch_->Unlink(Node("queue"), "b"), 0);
  EXPECT_EQ(Write(Node("1"), 0, "x"), 0);
}

TEST_F(ScratchTest, SurvivesARestartWithOtherNodesForFilesAndTheSameForDirectories) {
  const NodeId file = Create("cache.db"), queue = Node("queue"), incomplete = Node("incomplete");
  EXPECT_EQ(Write(file, 0, "rows"), 0);
  clock_.Advance(std::chrono::seconds(1));
  Open();
  EXPECT_EQ(Node("queue"), queue);
  EXPECT_EQ(Node("incomplete"), incomplete);
  ScratchStat stat;
  EXPECT_EQ(scratch_->Stat(file, stat), ESTALE);
  const NodeId again = Node("cache.db");
  EXPECT_NE(again, file);
  EXPECT_EQ(Read(again), "rows");
}

TEST_F(ScratchTest, WhatIsNoPlainFileIsNotThere) {
  std::ofstream(dir_ / "secret") << "secret";
  std::filesystem::create_symlink(dir_ / "secret", path("root/link"));
  std::filesystem::create_symlink(dir_ / "nowhere", path("root/dangling"));
  std::filesystem::create_directory(path("root/directory"));
  std::filesystem::create_hard_link(dir_ / "secret", path("root/hard"));
  ASSERT_EQ(::mkfifo(path("root/fifo").c_str(), 0600), 0);
  for (const char* name : {"link", "dangling", "directory", "hard", "fifo"}) {
    EXPECT_EQ(LookupError(name), ENOENT) << name;
    EXPECT_EQ(CreateError(name), EPERM) << name;
    EXPECT_NE(scratch_->Unlink(kRootNode, name), 0) << name;
  }
  EXPECT_FALSE(std::filesystem::exists(dir_ / "nowhere"));
  Create("a");
  EXPECT_EQ(scratch_->Rename(kRootNode, "a", kRootNode, "link", 0), EPERM);
  EXPECT_EQ(List(), "a");
}

TEST_F(ScratchTest, ADirectoryThatIsALinkIsRefusedAtTheStart) {
  scratch_.reset();
  std::filesystem::remove_all(path("queue"));
  std::filesystem::create_symlink(dir_.path(), path("queue"));
  const auto opened = Scratch::Open(path(), {}, clock_);
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find(path("queue")), std::string::npos) << opened.error().message;
}

// A file there has the device of its layer, and would not be found again by what was seen of it.
TEST_F(ScratchTest, AnOverlayOverSeveralFileSystemsIsRefusedAtTheStart) {
  const auto make = [this](const char* name) {
    std::filesystem::create_directory(dir_ / name);
    return dir_ / name;
  };
  const std::string lower = make("lower"), layer = make("layer"), overlay = make("overlay");
  bool mounted = ::mount("none", lower.c_str(), "tmpfs", 0, nullptr) == 0 && ::mount("none", layer.c_str(), "tmpfs", 0, nullptr) == 0;
  std::filesystem::create_directories(layer + "/upper");
  std::filesystem::create_directories(layer + "/work");
  const std::string options = "xino=off,lowerdir=" + lower + ",upperdir=" + layer + "/upper,workdir=" + layer + "/work";
  mounted = mounted && ::mount("overlay", overlay.c_str(), "overlay", 0, options.c_str()) == 0;
  if (mounted) {
    const auto opened = Scratch::Open(overlay + "/scratch", {}, clock_);
    EXPECT_TRUE(!opened && opened.error().message.find("-o cache=") != std::string::npos);
    EXPECT_TRUE(std::filesystem::is_empty(overlay + "/scratch/root"));
  }
  for (const std::string& place : {overlay, layer, lower}) ::umount2(place.c_str(), MNT_DETACH);
  if (!mounted) GTEST_SKIP() << "needs the right to mount";
}

TEST_F(ScratchTest, IsForItsOwnerOnly) {
  Create("a");
  for (const char* name : {"", "root", "queue", "invalid"}) {
    struct stat st{};
    ASSERT_EQ(::stat(path(name).c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777, 0700u) << name;
  }
  struct stat st{};
  ASSERT_EQ(::stat(path("root/a").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
}

TEST_F(ScratchTest, XattrsOfUsers) {
  const NodeId node = Create("checkme");
  const int err = scratch_->SetXattr(node, "user.hits", "1", 0);
  if (err == EOPNOTSUPP) GTEST_SKIP() << "the file system of " << dir_.path() << " has no user.* xattrs";
  ASSERT_EQ(err, 0);
  std::string value;
  EXPECT_EQ(scratch_->GetXattr(node, "user.hits", value), 0);
  EXPECT_EQ(value, "1");
  EXPECT_EQ(scratch_->ListXattr(node, value), 0);
  EXPECT_EQ(value, std::string("user.hits\0", 10));
  EXPECT_EQ(scratch_->RemoveXattr(node, "user.hits"), 0);
  EXPECT_EQ(scratch_->GetXattr(node, "user.hits", value), ENODATA);
  EXPECT_EQ(scratch_->SetXattr(node, "trusted.x", "1", 0), EOPNOTSUPP);
  EXPECT_EQ(scratch_->SetXattr(node, "security.capability", "1", 0), EOPNOTSUPP);
  EXPECT_EQ(scratch_->GetXattr(node, "security.capability", value), ENODATA);
  EXPECT_EQ(scratch_->SetXattr(node, "user.big", std::string(5'000, 'x'), 0), ENOSPC);
}

TEST_F(ScratchTest, TimesCanBeSet) {
  const NodeId node = Create("a");
  EXPECT_EQ(scratch_->SetTimes(node, std::chrono::seconds(5), std::nullopt), 0);
  EXPECT_EQ(scratch_->SetTimes(node, std::nullopt, std::chrono::seconds(7)), 0);
  ScratchStat stat;
  EXPECT_EQ(scratch_->Stat(node, stat), 0);
  EXPECT_EQ(stat.accessed, std::chrono::seconds(5));
  EXPECT_EQ(stat.modified, std::chrono::seconds(7));
}

// Many threads at the same few names, of which one at a time changes them, as the kernel has it: nothing is lost of the count.
TEST_F(ScratchTest, ManyAtOnce) {
  Open({.bytes = 10'000, .files = 100});
  std::mutex names;
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const std::string name = "f" + std::to_string((t + i) % 4);
        ScratchStat stat;
        const auto create = [&] {
          const std::lock_guard<std::mutex> lock(names);
          return scratch_->Create(kRootNode, name, 0, stat);
        };
        if (create() == 0) {
          const std::string text(static_cast<size_t>(1 + i % 50), 'x');
          (void)scratch_->Write(stat.node, 0, std::as_bytes(std::span(text)));
          if (i % 7 == 0) (void)scratch_->Truncate(stat.node, 0);
          {
            const std::lock_guard<std::mutex> lock(names);
            if (i % 5 == 0) (void)scratch_->Rename(kRootNode, name, kRootNode, "f9", 0);
            if (i % 3 == 0) (void)scratch_->Unlink(kRootNode, name);
          }
          scratch_->Forget(stat.node, 1);
        }
        std::vector<ListEntry> entries;
        (void)scratch_->List(kRootNode, entries);
      }
    });
  for (std::thread& thread : threads) thread.join();
  std::vector<ListEntry> entries;
  ASSERT_EQ(scratch_->List(kRootNode, entries), 0);
  for (const ListEntry& entry : entries) EXPECT_EQ(scratch_->Unlink(kRootNode, entry.name), 0);
  EXPECT_EQ(scratch_->use().bytes, 0u);
}

}  // namespace
}  // namespace glintfs
