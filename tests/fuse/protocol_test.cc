// Session and adapter against a fake kernel, raw requests in, raw replies out: names, attributes, directories, xattrs,
// and what is refused.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/fuse/protocol_fixture.h"

namespace glintfs {
namespace {

using testing::Bytes;
using testing::CString;
using testing::FakeBackend;
using testing::FakeCache;
using testing::FakeKernel;
using testing::KernelReply;
using testing::ProtocolTest;
using testing::WaitFor;

TEST(ProtocolInitTest, AsksForWhatServesReadersOfCachedImages) {
  FakeBackend backend;
  FakeCache cache;
  Catalog catalog({}, backend, cache);
  Filesystem filesystem({}, catalog, cache);
  FakeKernel kernel;
  auto session = Session::Attach({}, filesystem, kernel.TakeDaemonEnd());
  ASSERT_TRUE(session);
  const fuse_init_out out = kernel.Init();
  EXPECT_EQ(out.major, static_cast<uint32_t>(FUSE_KERNEL_VERSION));
  EXPECT_EQ(out.max_background, 16'384);
  EXPECT_GE(out.congestion_threshold, 12'288);
  EXPECT_EQ(out.max_pages, 256);
  for (const uint32_t flag : {FUSE_ASYNC_READ, FUSE_PARALLEL_DIROPS, FUSE_EXPORT_SUPPORT, FUSE_MAX_PAGES})
    EXPECT_TRUE(out.flags & flag) << std::hex << flag << " in " << out.flags;
  for (const uint32_t flag : {FUSE_WRITEBACK_CACHE, FUSE_DO_READDIRPLUS, FUSE_READDIRPLUS_AUTO, FUSE_AUTO_INVAL_DATA,
                              FUSE_ASYNC_DIO, FUSE_POSIX_LOCKS, FUSE_FLOCK_LOCKS})
    EXPECT_FALSE(out.flags & flag) << flag;
}

TEST_F(ProtocolTest, LookupAndAttributes) {
  const fuse_entry_out entry = Lookup("a");
  EXPECT_EQ(entry.nodeid, NodeIdFor(cache_.RowFor(backend_.Info("a").id), Residency::kPartial));
  EXPECT_EQ(entry.attr.size, 300'000u);
  EXPECT_EQ(entry.attr.mode, S_IFREG | 0444u);
  EXPECT_EQ(entry.attr.nlink, 1u);
  EXPECT_EQ(entry.attr.uid, 12u);
  EXPECT_EQ(entry.attr.gid, 34u);
  EXPECT_EQ(entry.attr.blksize, 1u << 20);
  EXPECT_EQ(entry.attr.blocks, (300'000u + 511) / 512);
  EXPECT_EQ(entry.attr.mtime, 1'700'000'000u);
  EXPECT_EQ(entry.attr.ctime, entry.attr.mtime);
  EXPECT_LE(entry.entry_valid, 60u);
  EXPECT_GE(entry.entry_valid, 58u);
  EXPECT_EQ(entry.attr_valid, 86'400u);

  const auto attributes = kernel_.Call(FUSE_GETATTR, entry.nodeid, Bytes(fuse_getattr_in{})).As<fuse_attr_out>();
  EXPECT_EQ(attributes.attr.ino, entry.attr.ino);
  EXPECT_EQ(attributes.attr.size, 300'000u);
  const auto root = kernel_.Call(FUSE_GETATTR, 1, Bytes(fuse_getattr_in{})).As<fuse_attr_out>();
  EXPECT_EQ(root.attr.mode, S_IFDIR | 0555u);
  EXPECT_EQ(root.attr.ino, 1u);
  EXPECT_EQ(root.attr.nlink, 2u);

  const fuse_entry_out directory = Lookup("dir");
  EXPECT_EQ(directory.attr.mode, S_IFDIR | 0555u);
  EXPECT_EQ(Lookup("b", directory.nodeid).attr.size, 10u);
  EXPECT_EQ(LookupError("missing"), ENOENT);
  EXPECT_EQ(LookupError("x", entry.nodeid), ENOTDIR);
  EXPECT_EQ(LookupError(std::string(256, 'n')), ENAMETOOLONG);
}

TEST_F(ProtocolTest, DotsLeadToTheRootForNfs) {
  const fuse_entry_out directory = Lookup("dir");
  EXPECT_EQ(Lookup(".", directory.nodeid).nodeid, directory.nodeid);
  EXPECT_EQ(Lookup("..", directory.nodeid).nodeid, 1u);
  EXPECT_EQ(Lookup("..", Lookup("b", directory.nodeid).nodeid).nodeid, directory.nodeid);
}

TEST_F(ProtocolTest, ANewVersionIsANewNodeUnderTheSameInodeNumber) {
  const fuse_entry_out old = Lookup("a");
  ASSERT_EQ(Open(old.nodeid).error, 0);
  const std::string before = Expected("a", 0, 100);
  backend_.Put("a", 50, "v2");
  catalog_->Invalidate("a");
  EXPECT_EQ(Open(old.nodeid).error, -ESTALE) << "the kernel looks up again";
  const fuse_entry_out fresh = Lookup("a");
  EXPECT_NE(fresh.nodeid, old.nodeid);
  EXPECT_EQ(fresh.attr.ino, old.attr.ino);
  EXPECT_EQ(fresh.attr.size, 50u);
  EXPECT_EQ(Open(old.nodeid).error, -ESTALE);
  EXPECT_EQ(Open(fresh.nodeid).error, 0);
  EXPECT_EQ(Read(old.nodeid, 0, 100).body, before) << "handles already open keep the version they opened";
}

TEST_F(ProtocolTest, UnknownNodesAreStale) {
  constexpr uint64_t kUnknown = 4'000'000;
  EXPECT_EQ(kernel_.Call(FUSE_GETATTR, kUnknown, Bytes(fuse_getattr_in{})).error, -ESTALE);
  EXPECT_EQ(LookupError("a", kUnknown), ESTALE);
  EXPECT_EQ(Open(kUnknown).error, -ESTALE);
  EXPECT_EQ(Read(kUnknown, 0, 10).error, -ESTALE);
  EXPECT_EQ(kernel_.Call(FUSE_OPENDIR, kUnknown, Bytes(fuse_open_in{})).error, -ESTALE);
  EXPECT_EQ(ReadDirectoryReply(kUnknown, 0, 0, 4096).error, -ESTALE);
}

TEST_F(ProtocolTest, ForgetIsExact) {
  const size_t before = filesystem_->nodes_known();
  const uint64_t node = Lookup("a").nodeid;
  Lookup("a");
  Lookup("a");
  const auto forget = [&](uint64_t count) {
    fuse_forget_in in{};
    in.nlookup = count;
    kernel_.Send(FUSE_FORGET, node, Bytes(in));
  };
  forget(2);
  EXPECT_EQ(kernel_.Call(FUSE_GETATTR, node, Bytes(fuse_getattr_in{})).error, 0);
  forget(1);
  EXPECT_TRUE(WaitFor([&] { return filesystem_->nodes_known() == before; }));
  EXPECT_EQ(kernel_.Call(FUSE_GETATTR, node, Bytes(fuse_getattr_in{})).error, -ESTALE);
}

TEST_F(ProtocolTest, ForgetsMany) {
  const size_t before = filesystem_->nodes_known();
  fuse_batch_forget_in in{};
  std::string body;
  for (const uint64_t node : {Lookup("a").nodeid, Lookup("dir").nodeid, uint64_t{1}, uint64_t{77'777}}) {
    fuse_forget_one one{};
    one.nodeid = node;
    one.nlookup = 1;
    body += Bytes(one);
    ++in.count;
  }
  kernel_.Send(FUSE_BATCH_FORGET, 0, Bytes(in) + body);
  EXPECT_TRUE(WaitFor([&] { return filesystem_->nodes_known() == before; }));
  EXPECT_EQ(kernel_.Call(FUSE_GETATTR, 1, Bytes(fuse_getattr_in{})).error, 0) << "the root stays";
}

TEST_F(ProtocolTest, ListsDirectoriesInPieces) {
  for (int i = 0; i < 100; ++i) backend_.Put("dir/n" + std::to_string(100 + i), 1);
  const uint64_t directory = Lookup("dir").nodeid;
  const uint64_t handle = OpenDirectory(directory);
  std::vector<Entry> all;
  uint64_t offset = 0;
  for (;;) {
    const auto piece = ReadDirectory(directory, handle, offset, 512);
    if (piece.empty()) break;
    all.insert(all.end(), piece.begin(), piece.end());
    offset = piece.back().offset;
  }
  ASSERT_EQ(all.size(), 103u);
  EXPECT_EQ(all[0].name, ".");
  EXPECT_EQ(all[1].name, "..");
  EXPECT_EQ(all[1].ino, 1u);
  EXPECT_EQ(all[2].name, "b");
  EXPECT_EQ(all[2].type, static_cast<uint32_t>(DT_REG));
  EXPECT_EQ(all[2].ino, Lookup("b", directory).attr.ino) << "d_ino is st_ino";
  EXPECT_EQ(all[0].ino, Lookup("dir").attr.ino);
  const auto root = ReadDirectory(1, OpenDirectory(1), 0);
  EXPECT_EQ(Names(root), ". .. a dir");
  EXPECT_EQ(root[3].type, static_cast<uint32_t>(DT_DIR));
}

TEST_F(ProtocolTest, AHandleKeepsItsListingAndRewindRenewsIt) {
  const uint64_t handle = OpenDirectory(1);
  const auto first = ReadDirectory(1, handle, 0, 64);
  ASSERT_EQ(first.size(), 2u);
  backend_.Put("aa", 1);
  EXPECT_EQ(Names(ReadDirectory(1, handle, 2)), "a dir") << "seen as it was";
  EXPECT_EQ(Names(ReadDirectory(1, 0xdead, 2)), "a dir") << "a handle from before a restart";
  EXPECT_EQ(Names(ReadDirectory(1, handle, 4)), "");
  EXPECT_EQ(Names(ReadDirectory(1, handle, 0)), ". .. a dir") << "rewound; the catalogue's listing is still good";
  fuse_release_in release{};
  release.fh = handle;
  EXPECT_EQ(kernel_.Call(FUSE_RELEASEDIR, 1, Bytes(release)).error, 0);
}

TEST_F(ProtocolTest, Xattrs) {
  cache_.PutCached(backend_.Info("a"), ImageState::kVerified);
  const uint64_t node = Lookup("a").nodeid;
  const auto get = [&](uint64_t at, const std::string& name, uint32_t size) {
    fuse_getxattr_in in{};
    in.size = size;
    return kernel_.Call(FUSE_GETXATTR, at, Bytes(in) + CString(name));
  };
  EXPECT_EQ(get(node, "user.glintfs.state", 100).body, "verified");
  EXPECT_EQ(get(node, "user.glintfs.cached_bytes", 100).body, "300000");
  EXPECT_EQ(get(node, "user.glintfs.version", 2).body, "v1");
  EXPECT_EQ(get(node, "user.glintfs.source", 100).body, "fake://source");
  EXPECT_EQ(get(node, "user.glintfs.source", 0).As<fuse_getxattr_out>().size, 13u);
  EXPECT_EQ(get(node, "user.glintfs.source", 12).error, -ERANGE);
  EXPECT_EQ(get(node, "security.capability", 100).error, -ENODATA);
  EXPECT_EQ(get(1, "user.glintfs.source", 100).body, "fake://source");
  EXPECT_EQ(get(1, "user.glintfs.state", 100).error, -ENODATA);

  const auto list = [&](uint32_t size) {
    fuse_getxattr_in in{};
    in.size = size;
    return kernel_.Call(FUSE_LISTXATTR, node, Bytes(in));
  };
  const std::string names = CString("user.glintfs.state") + CString("user.glintfs.cached_bytes") +
                            CString("user.glintfs.version") + CString("user.glintfs.source");
  EXPECT_EQ(list(1'000).body, names);
  EXPECT_EQ(list(0).As<fuse_getxattr_out>().size, names.size());
  EXPECT_EQ(list(10).error, -ERANGE);
}

TEST_F(ProtocolTest, StatfsTellsTheCache) {
  CacheStats stats;
  stats.limits.max_size = 4096ull * 1000;
  stats.used_bytes = 4096ull * 300;
  stats.disk_total = 4096ull * 5'000;
  stats.disk_available = 4096ull * 4'000;
  cache_.SetStats(stats);
  const auto ask = [&] { return kernel_.Call(FUSE_STATFS, 1).As<fuse_statfs_out>().st; };
  EXPECT_EQ(ask().blocks, 1'000u);
  EXPECT_EQ(ask().bavail, 700u);
  EXPECT_EQ(ask().files, 0u) << "no limit";
  EXPECT_EQ(ask().frsize, 4'096u);
  EXPECT_EQ(ask().namelen, 255u);
  stats.used_bytes = 4096ull * 1'200;  // the limit was lowered
  cache_.SetStats(stats);
  EXPECT_EQ(ask().bavail, 0u);
  stats.limits.max_size = 0;
  cache_.SetStats(stats);
  EXPECT_EQ(ask().blocks, 5'000u);
  EXPECT_EQ(ask().bavail, 4'000u);
}

TEST_F(ProtocolTest, WhatWritesIsRefused) {
  const uint64_t node = Lookup("a").nodeid;
  const auto refused = [&](uint32_t opcode, uint64_t at, const std::string& body) {
    return -kernel_.Call(opcode, at, body).error;
  };
  EXPECT_EQ(refused(FUSE_SETATTR, node, Bytes(fuse_setattr_in{})), EROFS);
  EXPECT_EQ(refused(FUSE_MKNOD, 1, Bytes(fuse_mknod_in{}) + CString("x")), EROFS);
  EXPECT_EQ(refused(FUSE_MKDIR, 1, Bytes(fuse_mkdir_in{}) + CString("x")), EROFS);
  EXPECT_EQ(refused(FUSE_UNLINK, 1, CString("a")), EROFS);
  EXPECT_EQ(refused(FUSE_RMDIR, 1, CString("dir")), EROFS);
  EXPECT_EQ(refused(FUSE_SYMLINK, 1, CString("l") + CString("a")), EROFS);
  EXPECT_EQ(refused(FUSE_RENAME, 1, Bytes(fuse_rename_in{}) + CString("a") + CString("b")), EROFS);
  EXPECT_EQ(refused(FUSE_LINK, 1, Bytes(fuse_link_in{}) + CString("b")), EROFS);
  EXPECT_EQ(refused(FUSE_CREATE, 1, Bytes(fuse_create_in{}) + CString("x")), EROFS);
  fuse_write_in write{};
  write.size = 3;
  EXPECT_EQ(refused(FUSE_WRITE, node, Bytes(write) + "abc"), EROFS);
  EXPECT_EQ(refused(FUSE_FALLOCATE, node, Bytes(fuse_fallocate_in{})), EROFS);
  EXPECT_EQ(refused(FUSE_REMOVEXATTR, node, CString("user.x")), EROFS);
  std::string setxattr(8, '\0');  // struct fuse_setxattr_in before 7.33: size, flags
  setxattr[0] = 1;
  EXPECT_EQ(refused(FUSE_SETXATTR, node, setxattr + CString("user.x") + "y"), EROFS);
  fuse_access_in access{};
  access.mask = W_OK;
  EXPECT_EQ(refused(FUSE_ACCESS, node, Bytes(access)), EROFS);
  access.mask = R_OK;
  EXPECT_EQ(refused(FUSE_ACCESS, node, Bytes(access)), 0);
}

TEST_F(ProtocolTest, WhatIsNotServedSaysSo) {
  const uint64_t node = Lookup("a").nodeid;
  EXPECT_EQ(kernel_.Call(FUSE_IOCTL, node, Bytes(fuse_ioctl_in{})).error, -ENOTTY);
  EXPECT_EQ(kernel_.Call(FUSE_FLUSH, node, Bytes(fuse_flush_in{})).error, -ENOSYS);
  EXPECT_EQ(kernel_.Call(FUSE_LSEEK, node, Bytes(fuse_lseek_in{})).error, -ENOSYS);
  EXPECT_EQ(kernel_.Call(FUSE_READLINK, node).error, -ENOSYS);
  EXPECT_EQ(kernel_.Call(9'999, node, "what is this").error, -ENOSYS);
}

TEST_F(ProtocolTest, TheNextRequestIsServedAfterNonsense) {
  EXPECT_NE(kernel_.Call(FUSE_LOOKUP, 1, CString("")).error, 0);
  EXPECT_NE(kernel_.Call(FUSE_LOOKUP, 1, CString("a/b")).error, 0);
  EXPECT_NE(kernel_.Call(FUSE_READ, Lookup("a").nodeid, ReadBody(UINT64_MAX, 10)).error, 0);
  EXPECT_EQ(Lookup("a").attr.size, 300'000u);
}

}  // namespace
}  // namespace glintfs
