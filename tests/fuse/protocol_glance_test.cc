// layout=glance-cache against a fake kernel: which requests go to the images and which to the scratch area, and what is refused.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/fuse/protocol_fixture.h"
#include "tests/support/temp_dir.h"

namespace glintfs {
namespace {

using testing::Bytes;
using testing::CString;
using testing::KernelReply;
using testing::ProtocolTest;
using testing::WaitFor;

constexpr char kId[] = "11111111-2222-3333-4444-555555555555";
constexpr char kOther[] = "99999999-2222-3333-4444-555555555555";

class GlanceProtocolTest : public ProtocolTest {
 protected:
  void SetUp() override {
    fs_options_.scratch = OpenScratch();
    backend_.Put(kId, 300'000);
    backend_.Put(kOther, 10);
    ProtocolTest::SetUp();
  }
  std::shared_ptr<Scratch> OpenScratch() {
    auto scratch = Scratch::Open(dir_ / "scratch", {.bytes = 1'000'000, .files = 100});
    EXPECT_TRUE(scratch);
    return std::move(*scratch);
  }
  KernelReply Create(const std::string& name, uint64_t parent = 1, uint32_t flags = O_RDWR) {
    fuse_create_in in{};
    in.flags = flags;
    in.mode = 0644;
    return kernel_.Call(FUSE_CREATE, parent, Bytes(in) + CString(name));
  }
  uint64_t Created(const std::string& name, uint64_t parent = 1) {
    const KernelReply reply = Create(name, parent);
    EXPECT_EQ(reply.error, 0) << name;
    return reply.As<fuse_entry_out>().nodeid;
  }
  KernelReply Write(uint64_t node, uint64_t offset, const std::string& text) {
    fuse_write_in in{};
    in.offset = offset;
    in.size = static_cast<uint32_t>(text.size());
    return kernel_.Call(FUSE_WRITE, node, Bytes(in) + text);
  }
  int SetAttr(uint64_t node, uint32_t valid, uint64_t size = 0, uint32_t mode = 0) {
    fuse_setattr_in in{};
    in.valid = valid;
    in.size = size;
    in.mode = mode;
    return -kernel_.Call(FUSE_SETATTR, node, Bytes(in)).error;
  }
  int SetXattr(uint64_t node, const std::string& name, const std::string& value) {
    std::string in(8, '\0');  // struct fuse_setxattr_in before 7.33: size, flags
    in[0] = static_cast<char>(value.size());
    return -kernel_.Call(FUSE_SETXATTR, node, in + CString(name) + value).error;
  }
  KernelReply GetXattr(uint64_t node, const std::string& name) {
    fuse_getxattr_in in{};
    in.size = 100;
    return kernel_.Call(FUSE_GETXATTR, node, Bytes(in) + CString(name));
  }
  int Refused(uint32_t opcode, uint64_t node, const std::string& body) { return -kernel_.Call(opcode, node, body).error; }
  int Rename(const std::string& from, const std::string& to, uint64_t new_parent = 1, uint64_t parent = 1) {
    fuse_rename_in in{};
    in.newdir = new_parent;
    return Refused(FUSE_RENAME, parent, Bytes(in) + CString(from) + CString(to));
  }

  testing::TempDir dir_;
};

TEST_F(GlanceProtocolTest, ImagesAreFoundByIdAndListedOnceTheyAreWhole) {
  const fuse_entry_out entry = Lookup(kId);
  EXPECT_EQ(entry.attr.size, 300'000u);
  EXPECT_EQ(entry.attr.mode, S_IFREG | 0644u);
  EXPECT_EQ(Names(ReadDirectory(1, OpenDirectory(1), 0)), ". .. incomplete invalid queue");
  cache_.PutCached(backend_.Info(kId), ImageState::kPartial);
  EXPECT_EQ(Names(ReadDirectory(1, OpenDirectory(1), 0)), ". .. incomplete invalid queue");
  cache_.PutCached(backend_.Info(kId), ImageState::kVerified);
  cache_.PutCached(backend_.Info(kOther), ImageState::kComplete);
  cache_.PutCached(backend_.Info("a"), ImageState::kComplete);
  Created("cache.db");
  EXPECT_EQ(Names(ReadDirectory(1, OpenDirectory(1), 0)),
            ". .. " + std::string(kId) + " " + kOther + " cache.db incomplete invalid queue");
  const auto open = Open(entry.nodeid);
  EXPECT_EQ(Read(entry.nodeid, 1000, 100, open).body, Expected(kId, 1000, 100));
}

TEST_F(GlanceProtocolTest, OnlyIdsAreLookedForAtTheSource) {
  for (const char* name : {"a", "dir", "cache.db-journal", "checkme"}) EXPECT_EQ(LookupError(name), ENOENT) << name;
  EXPECT_EQ(backend_.Count(testing::Call::kStat, "a"), 0);
  EXPECT_EQ(backend_.Count(testing::Call::kStat, "cache.db-journal"), 0);
  EXPECT_EQ(LookupError("00000000-2222-3333-4444-555555555555"), ENOENT);
  EXPECT_EQ(backend_.Count(testing::Call::kStat, "00000000-2222-3333-4444-555555555555"), 1);
}

TEST_F(GlanceProtocolTest, ImagesStayAsTheyAre) {
  const uint64_t node = Lookup(kId).nodeid;
  EXPECT_EQ(Open(node, O_WRONLY).error, -EROFS);
  EXPECT_EQ(Open(node, O_RDWR).error, -EROFS);
  EXPECT_EQ(Open(node, O_RDONLY | O_TRUNC).error, -EROFS);
  EXPECT_EQ(Write(node, 0, "x").error, -EROFS);
  EXPECT_EQ(SetAttr(node, FATTR_SIZE, 0), EROFS);
  EXPECT_EQ(SetAttr(node, FATTR_MTIME | FATTR_MTIME_NOW), EROFS);
  EXPECT_EQ(SetAttr(node, FATTR_MODE, 0, 0600), EPERM);
  EXPECT_EQ(SetAttr(node, FATTR_MODE, 0, S_IFREG | 0644), 0) << "as it is";
  EXPECT_EQ(SetAttr(node, FATTR_UID), EPERM);
  EXPECT_EQ(SetAttr(1, FATTR_MODE, 0, 0777), EPERM);
  EXPECT_EQ(Rename(kId, "x"), EPERM);
  Created("x");
  EXPECT_EQ(Rename("x", kId), EPERM);
  EXPECT_EQ(Create(kId).error, -EPERM);
  EXPECT_EQ(Create("00000000-2222-3333-4444-555555555555").error, -EPERM);
  EXPECT_EQ(Refused(FUSE_FALLOCATE, node, Bytes(fuse_fallocate_in{})), EPERM);
  EXPECT_EQ(Refused(FUSE_LINK, 1, Bytes(fuse_link_in{node}) + CString("b")), EPERM);
  EXPECT_EQ(Refused(FUSE_SYMLINK, 1, CString("l") + CString("a")), EPERM);
  EXPECT_EQ(Refused(FUSE_MKNOD, 1, Bytes(fuse_mknod_in{}) + CString("m")), EPERM);
  EXPECT_EQ(Refused(FUSE_MKDIR, 1, Bytes(fuse_mkdir_in{}) + CString("d")), EPERM);
  EXPECT_EQ(Refused(FUSE_MKDIR, 1, Bytes(fuse_mkdir_in{}) + CString("queue")), EEXIST);
  EXPECT_EQ(Refused(FUSE_RMDIR, 1, CString("queue")), EPERM);
  EXPECT_EQ(Refused(FUSE_FSYNC, node, Bytes(fuse_fsync_in{})), 0);
  EXPECT_EQ(Refused(FUSE_FSYNCDIR, 1, Bytes(fuse_fsync_in{})), 0);
}

TEST_F(GlanceProtocolTest, UnlinkOfAnImageEvictsItAndNeverFails) {
  cache_.PutCached(backend_.Info(kId), ImageState::kComplete);
  Lookup(kId);
  EXPECT_EQ(Refused(FUSE_UNLINK, 1, CString(kId)), 0);
  EXPECT_FALSE(cache_.FindNewest(kId));
  EXPECT_EQ(Lookup(kId).attr.size, 300'000u) << "there as before";
  EXPECT_EQ(Refused(FUSE_UNLINK, 1, CString(kId)), 0) << "nothing cached";
  cache_.PutCached(backend_.Info(kId), ImageState::kComplete);
  cache_.FailEvict(Error{Errc::kBusy, "it is open"});
  EXPECT_EQ(Refused(FUSE_UNLINK, 1, CString(kId)), 0);
  EXPECT_TRUE(cache_.FindNewest(kId));
}

TEST_F(GlanceProtocolTest, ScratchFiles) {
  const uint64_t node = Created("cache.db");
  EXPECT_TRUE(IsScratchNode(node));
  EXPECT_EQ(Write(node, 0, "0123456789").As<fuse_write_out>().size, 10u);
  EXPECT_EQ(Read(node, 2, 3).body, "234");
  EXPECT_EQ(Read(node, 8, 100).body, "89");
  EXPECT_EQ(SetAttr(node, FATTR_SIZE, 4), 0);
  const fuse_entry_out entry = Lookup("cache.db");
  EXPECT_EQ(entry.nodeid, node);
  EXPECT_EQ(entry.attr.size, 4u);
  EXPECT_EQ(entry.attr.mode, S_IFREG | 0644u);
  EXPECT_EQ(entry.attr.uid, 12u);
  EXPECT_NE(entry.attr.ino, 0u);
  EXPECT_EQ(SetAttr(node, FATTR_MODE, 0, 0600), EPERM);
  EXPECT_EQ(Refused(FUSE_FSYNC, node, Bytes(fuse_fsync_in{})), 0);
  EXPECT_EQ(Open(node, O_RDWR).error, 0);
  const uint64_t queue = Lookup("queue").nodeid;
  EXPECT_EQ(Rename("cache.db", "moved", queue), 0);
  EXPECT_EQ(LookupError("cache.db"), ENOENT);
  EXPECT_EQ(Names(ReadDirectory(queue, OpenDirectory(queue), 0)), ". .. moved");
  EXPECT_EQ(Refused(FUSE_UNLINK, queue, CString("moved")), 0);
  EXPECT_EQ(Read(node, 0, 100).body, "0123") << "still open";
  fuse_forget_in forget{};
  forget.nlookup = 2;
  kernel_.Send(FUSE_FORGET, node, Bytes(forget));
  EXPECT_TRUE(WaitFor([&] { return kernel_.Call(FUSE_GETATTR, node, Bytes(fuse_getattr_in{})).error == -ESTALE; }));
  EXPECT_EQ(Write(node, 0, "x").error, -ESTALE);
  EXPECT_EQ(kernel_.Call(FUSE_OPENDIR, node, Bytes(fuse_open_in{})).error, -ENOTDIR);
}

TEST_F(GlanceProtocolTest, ALargeWrite) {
  const uint64_t node = Created("checkme");
  const std::string text(128 * 1024, 'w');
  EXPECT_EQ(Write(node, 5, text).As<fuse_write_out>().size, text.size());
  EXPECT_EQ(Read(node, 5, 128 * 1024).body, text);
  EXPECT_EQ(Write(node, 900'000, text).error, -ENOSPC);
  EXPECT_EQ(Write(node, UINT64_MAX, "x").error, -EINVAL);
}

TEST_F(GlanceProtocolTest, DirectoriesMeanTheSameToALaterDaemonAndFilesAreStale) {
  const uint64_t file = Created("cache.db"), queue = Lookup("queue").nodeid;
  session_.reset();
  filesystem_.reset();
  fs_options_.scratch.reset();
  ASSERT_TRUE(WaitFor([&] {  // ids rise with the clock
    fs_options_.scratch = OpenScratch();
    ScratchStat stat;
    return fs_options_.scratch->Lookup(kRootNode, "cache.db", stat) == 0 && stat.node > file;
  }));
  kernel_ = testing::FakeKernel();
  Start();
  kernel_.Init();
  EXPECT_EQ(kernel_.Call(FUSE_GETATTR, file, Bytes(fuse_getattr_in{})).error, -ESTALE);
  EXPECT_EQ(Read(file, 0, 10).error, -ESTALE);
  EXPECT_EQ(kernel_.Call(FUSE_GETATTR, queue, Bytes(fuse_getattr_in{})).error, 0);
  EXPECT_EQ(LookupError("x", queue), ENOENT);
}

TEST_F(GlanceProtocolTest, AnImageIsBeingWrittenBySomebodyElse) {
  const uint64_t incomplete = Lookup("incomplete").nodeid;
  const fuse_entry_out entry = Lookup(kId, incomplete);
  EXPECT_EQ(entry.attr.size, 0u);
  EXPECT_EQ(Lookup("00000000-2222-3333-4444-555555555555", incomplete).nodeid, entry.nodeid) << "of the source or not";
  EXPECT_EQ(Open(entry.nodeid, O_WRONLY).error, -EPERM);
  EXPECT_EQ(SetAttr(entry.nodeid, FATTR_SIZE, 0), EPERM);
  EXPECT_EQ(Create("x", incomplete).error, -EPERM);
  EXPECT_EQ(Rename(kId, kId, Lookup("invalid").nodeid, incomplete), EPERM);
  EXPECT_EQ(Names(ReadDirectory(incomplete, OpenDirectory(incomplete), 0)), ". ..");
}

TEST_F(GlanceProtocolTest, HitsAreReadAndNotWritten) {
  const uint64_t node = Lookup(kId).nodeid;
  EXPECT_EQ(GetXattr(node, "user.hits").body, "0");
  EXPECT_EQ(SetXattr(node, "user.hits", "7"), 0);
  EXPECT_EQ(GetXattr(node, "user.hits").body, "0") << "our own count";
  EXPECT_EQ(SetXattr(node, "user.other", "7"), EPERM);
  EXPECT_EQ(Refused(FUSE_REMOVEXATTR, node, CString("user.hits")), EPERM);
  EXPECT_EQ(SetXattr(1, "user.hits", "7"), EPERM);
}

TEST_F(GlanceProtocolTest, WithTheSourceAwayOnlyWholeImagesAreThere) {
  Lookup(kId);
  Lookup(kOther);
  cache_.PutCached(backend_.Info(kId), ImageState::kComplete);
  cache_.PutCached(backend_.Info(kOther), ImageState::kPartial);
  backend_.FailAll(Error{Errc::kUnavailable, "it is away"});
  catalog_->CannotAsk(Error{Errc::kUnavailable, "it is away"});
  EXPECT_EQ(Lookup(kId).attr.size, 300'000u);
  EXPECT_EQ(LookupError(kOther), EHOSTDOWN);
  EXPECT_EQ(LookupError("cache.db"), ENOENT) << "depends on no source";
  Created("cache.db");
}

// A Glance whose store lost an image still calls it active, and answers its download with 204.
TEST_F(GlanceProtocolTest, AnImageWhoseSourceHasNoDataIsNotThereForAWhile) {
  const uint64_t node = Lookup(kId).nodeid;
  opener_.FailReads(Error{Errc::kNotFound, "Glance has the image, but its store not the data"});
  EXPECT_NE(Read(node, 0, 4096).error, 0);
  EXPECT_EQ(LookupError(kId), ENOENT);
  EXPECT_EQ(Lookup(kOther).attr.size, 10u);
  backend_.Put(kId, 300'000, "another");
  catalog_->Invalidate(kId);
  EXPECT_EQ(LookupError(kId), 0) << "another version";
}

}  // namespace
}  // namespace glintfs
