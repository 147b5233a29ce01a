// ProtocolTest: a session and its file system, over a fake source and a fake cache, served to a FakeKernel.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "fs/fuse/session.h"
#include "tests/fuse/fake_kernel.h"
#include "tests/support/fake_backend.h"
#include "tests/support/fake_cache.h"
#include "tests/support/wait.h"

namespace glintfs::testing {

class ProtocolTest : public ::testing::Test {
 protected:
  ProtocolTest() : opener_(backend_) {}

  void SetUp() override {
    backend_.Put("a", 300'000);
    backend_.Put("dir/b", 10);
    Start();
    kernel_.Init();
  }
  void TearDown() override {
    EXPECT_EQ(kernel_.unclaimed(), 0u) << "a reply that nobody waited for";
    EXPECT_FALSE(kernel_.saw_duplicate());
    backend_.ReleaseAll();
    session_.reset();
  }

  void Start() {
    catalog_ = std::make_unique<Catalog>(CatalogOptions{}, backend_, cache_);
    fs_options_.source = backend_.source();
    fs_options_.uid = 12;
    fs_options_.gid = 34;
    filesystem_ = std::make_unique<Filesystem>(fs_options_, *catalog_, cache_, Clock::System(), opener_.opener());
    SessionOptions session;
    session.threads = 3;
    auto attached = Session::Attach(session, *filesystem_, kernel_.TakeDaemonEnd());
    ASSERT_TRUE(attached) << attached.error().ToString();
    session_ = std::move(*attached);
  }

  fuse_entry_out Lookup(const std::string& name, uint64_t parent = 1) {
    const KernelReply reply = kernel_.Call(FUSE_LOOKUP, parent, CString(name));
    EXPECT_EQ(reply.error, 0) << name;
    return reply.As<fuse_entry_out>();
  }
  int LookupError(const std::string& name, uint64_t parent = 1) {
    return -kernel_.Call(FUSE_LOOKUP, parent, CString(name)).error;
  }
  KernelReply Open(uint64_t node, uint32_t flags = O_RDONLY) {
    fuse_open_in in{};
    in.flags = flags;
    return kernel_.Call(FUSE_OPEN, node, Bytes(in));
  }
  KernelReply Release(uint64_t node, const KernelReply& open) {
    fuse_release_in in{};
    in.fh = open.As<fuse_open_out>().fh;
    return kernel_.Call(FUSE_RELEASE, node, Bytes(in));
  }
  static std::string ReadBody(uint64_t offset, uint32_t size, uint64_t handle = 0) {
    fuse_read_in in{};
    in.fh = handle;
    in.offset = offset;
    in.size = size;
    return Bytes(in);
  }
  KernelReply Read(uint64_t node, uint64_t offset, uint32_t size) {
    return kernel_.Call(FUSE_READ, node, ReadBody(offset, size));
  }
  KernelReply Read(uint64_t node, uint64_t offset, uint32_t size, const KernelReply& open) {
    return kernel_.Call(FUSE_READ, node, ReadBody(offset, size, open.As<fuse_open_out>().fh));
  }
  uint64_t Interrupt(uint64_t unique) {
    fuse_interrupt_in in{};
    in.unique = unique;
    return kernel_.Send(FUSE_INTERRUPT, 0, Bytes(in));
  }
  std::string Expected(const std::string& name, uint64_t offset, size_t length) {
    const auto bytes = backend_.Expected(name, offset, length);
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  uint64_t OpenDirectory(uint64_t node) {
    const KernelReply reply = kernel_.Call(FUSE_OPENDIR, node, Bytes(fuse_open_in{}));
    EXPECT_EQ(reply.error, 0);
    return reply.As<fuse_open_out>().fh;
  }
  struct Entry {
    std::string name;
    uint64_t ino, offset;
    uint32_t type;
  };
  KernelReply ReadDirectoryReply(uint64_t node, uint64_t handle, uint64_t offset, uint32_t size) {
    fuse_read_in in{};
    in.fh = handle;
    in.offset = offset;
    in.size = size;
    return kernel_.Call(FUSE_READDIR, node, Bytes(in));
  }
  std::vector<Entry> ReadDirectory(uint64_t node, uint64_t handle, uint64_t offset, uint32_t size = 4096) {
    const KernelReply reply = ReadDirectoryReply(node, handle, offset, size);
    EXPECT_EQ(reply.error, 0);
    std::vector<Entry> entries;
    for (size_t at = 0; at + FUSE_NAME_OFFSET <= reply.body.size();) {
      fuse_dirent entry{};
      std::memcpy(&entry, reply.body.data() + at, FUSE_NAME_OFFSET);
      entries.push_back({reply.body.substr(at + FUSE_NAME_OFFSET, entry.namelen), entry.ino, entry.off, entry.type});
      at += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + entry.namelen);
    }
    return entries;
  }
  static std::string Names(const std::vector<Entry>& entries) {
    std::string names;
    for (const Entry& entry : entries) names += (names.empty() ? "" : " ") + entry.name;
    return names;
  }

  FakeBackend backend_;
  FakeCache cache_;
  FakeOpener opener_;
  FakeKernel kernel_;
  FsOptions fs_options_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<Filesystem> filesystem_;
  std::unique_ptr<Session> session_;
};

}  // namespace glintfs::testing
