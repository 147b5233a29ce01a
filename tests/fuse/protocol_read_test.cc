// Session and adapter against a fake kernel: opening, reading, interrupting, ending.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/fuse/protocol_fixture.h"
#include "tests/support/temp_dir.h"

namespace glintfs {
namespace {

using testing::Bytes;
using testing::Call;
using testing::CString;
using testing::KernelReply;
using testing::ProtocolTest;
using testing::WaitFor;
using testing::TempDir;

TEST_F(ProtocolTest, OpenReadRelease) {
  const uint64_t node = Lookup("a").nodeid;
  const KernelReply open = Open(node);
  ASSERT_EQ(open.error, 0);
  EXPECT_TRUE(open.As<fuse_open_out>().open_flags & FOPEN_KEEP_CACHE);
  EXPECT_EQ(Read(node, 0, 131'072).body, Expected("a", 0, 131'072));
  EXPECT_EQ(Read(node, 299'990, 131'072).body, Expected("a", 299'990, 10)) << "clipped at the end";
  EXPECT_EQ(Read(node, 300'000, 10).body, "");
  EXPECT_EQ(Read(node, 1ull << 40, 10).body, "");
  EXPECT_EQ(opener_.images_alive(), 1);
  EXPECT_EQ(Release(node, open).error, 0);
  EXPECT_TRUE(WaitFor([&] { return opener_.images_alive() == 0; }));
}

TEST_F(ProtocolTest, TwoHandlesShareAnImageUntilTheLastIsClosed) {
  const uint64_t node = Lookup("a").nodeid;
  const KernelReply first = Open(node), second = Open(node);
  ASSERT_EQ(first.error, 0);
  ASSERT_EQ(second.error, 0);
  Release(node, first);
  EXPECT_EQ(Read(node, 5, 10, second).body, Expected("a", 5, 10));
  EXPECT_EQ(opener_.images_alive(), 1);
  Release(node, second);
  EXPECT_TRUE(WaitFor([&] { return opener_.images_alive() == 0; }));
}

TEST_F(ProtocolTest, AReadNeedsNoHandle) {
  const uint64_t node = Lookup("a").nodeid;
  EXPECT_EQ(Read(node, 7, 9).body, Expected("a", 7, 9)) << "as after a restart of the daemon";
  EXPECT_TRUE(WaitFor([&] { return opener_.images_alive() == 0; }));
}

TEST_F(ProtocolTest, ReadsFromDataFiles) {
  const TempDir directory;
  opener_.UseFiles(directory.path());
  const uint64_t node = Lookup("a").nodeid;
  const KernelReply open = Open(node);
  ASSERT_EQ(open.error, 0);
  for (const uint32_t size : {1u, 4'096u, 65'536u, 131'072u}) {
    EXPECT_EQ(Read(node, 1'001, size).body, Expected("a", 1'001, size)) << size;
    EXPECT_EQ(Read(node, 1'001, size, open).body, Expected("a", 1'001, size)) << size;
  }
}

// As a successor on the same mount gets them: the mark is another's.
TEST_F(ProtocolTest, AForeignHandleIsReadByItsNode) {
  const uint64_t node = Lookup("a").nodeid;
  KernelReply open = Open(node);
  auto out = open.As<fuse_open_out>();
  out.fh ^= 2ull << 48;
  open.body = Bytes(out);
  EXPECT_EQ(Read(node, 5, 10, open).body, Expected("a", 5, 10));
}

TEST_F(ProtocolTest, OpenRefusesWhatItCannotServe) {
  const uint64_t node = Lookup("a").nodeid;
  EXPECT_EQ(Open(node, O_WRONLY).error, -EROFS);
  EXPECT_EQ(Open(node, O_RDWR).error, -EROFS);
  EXPECT_EQ(Open(node, O_RDONLY | O_TRUNC).error, -EROFS);
  EXPECT_EQ(Open(1).error, -EISDIR);
  EXPECT_EQ(kernel_.Call(FUSE_OPENDIR, node, Bytes(fuse_open_in{})).error, -ENOTDIR);
  opener_.FailOpens(Error{Errc::kCorrupt, "checksum"});
  EXPECT_EQ(Open(node).error, -EIO);
  opener_.FailOpens(Error{Errc::kStale, "replaced"});
  EXPECT_EQ(Open(node).error, -ESTALE);
}

TEST_F(ProtocolTest, EveryErrorHasItsErrno) {
  const uint64_t node = Lookup("a").nodeid;
  ASSERT_EQ(Open(node).error, 0);
  const std::pair<Errc, int> table[] = {
      {Errc::kNotFound, ENOENT},      {Errc::kUnavailable, EHOSTDOWN}, {Errc::kTimedOut, ETIMEDOUT},
      {Errc::kAccessDenied, EACCES},  {Errc::kStale, ESTALE},          {Errc::kNotSupported, EOPNOTSUPP},
      {Errc::kInvalid, EINVAL},       {Errc::kNoSpace, ENOSPC},        {Errc::kIo, EIO},
      {Errc::kCorrupt, EIO},          {Errc::kBusy, EBUSY},            {Errc::kCancelled, EINTR},
      {Errc::kIsDirectory, EISDIR},   {Errc::kNotDirectory, ENOTDIR},
  };
  for (const auto& [code, err] : table) {
    opener_.FailReads(Error{code, "x"});
    EXPECT_EQ(Read(node, 0, 10).error, -err) << ErrcName(code);
  }
}

TEST_F(ProtocolTest, AStaleReadMakesTheNextOpenLookAgain) {
  const uint64_t node = Lookup("a").nodeid;
  ASSERT_EQ(Open(node).error, 0);
  opener_.FailReads(Error{Errc::kStale, "replaced"});
  EXPECT_EQ(Read(node, 0, 10).error, -ESTALE);
  const int asked = backend_.Count(Call::kStat, "a");
  EXPECT_EQ(Open(node).error, -ESTALE);
  Lookup("a");
  EXPECT_EQ(backend_.Count(Call::kStat, "a"), asked + 1);
  EXPECT_EQ(Open(node).error, 0) << "the source says that it is the same after all";
}

TEST_F(ProtocolTest, InterruptEndsAParkedReadWithEintr) {
  const uint64_t node = Lookup("a").nodeid;
  ASSERT_EQ(Open(node).error, 0);
  opener_.Park();
  const uint64_t first = kernel_.Send(FUSE_READ, node, ReadBody(0, 100));
  const uint64_t second = kernel_.Send(FUSE_READ, node, ReadBody(100, 100));
  ASSERT_TRUE(WaitFor([&] { return opener_.parked() == 2; }));
  Interrupt(first);
  EXPECT_EQ(kernel_.Wait(first).error, -EINTR);
  EXPECT_FALSE(kernel_.HasReply(second));
  opener_.Release();
  EXPECT_EQ(kernel_.Wait(second).body, Expected("a", 100, 100));
}

TEST_F(ProtocolTest, InterruptEndsAWaitingLookupAndListing) {
  backend_.HangAll();
  const uint64_t lookup = kernel_.Send(FUSE_LOOKUP, 1, CString("a"));
  fuse_read_in in{};
  in.size = 4096;
  const uint64_t listing = kernel_.Send(FUSE_READDIR, 1, Bytes(in));
  ASSERT_TRUE(WaitFor([&] { return backend_.Hanging(Call::kStat) == 1 && backend_.Hanging(Call::kList) == 1; }));
  Interrupt(lookup);
  Interrupt(listing);
  EXPECT_EQ(kernel_.Wait(lookup).error, -EINTR);
  EXPECT_EQ(kernel_.Wait(listing).error, -EINTR);
}

TEST_F(ProtocolTest, AnInterruptThatComesLateDoesNoHarm) {
  const uint64_t node = Lookup("a").nodeid;
  ASSERT_EQ(Open(node).error, 0);
  for (int i = 0; i < 50; ++i) {
    const uint64_t answered = kernel_.Send(FUSE_READ, node, ReadBody(0, 1));
    EXPECT_EQ(kernel_.Wait(answered).error, 0);
    Interrupt(answered);
    EXPECT_EQ(Read(node, 0, 1).error, 0) << "the interrupt was not for this one";
  }
  EXPECT_TRUE(WaitFor([&] { return filesystem_->requests_outstanding() == 0; }));
  session_->Stop();
  // libfuse keeps an interrupt for a request that may still come, and answers it EAGAIN when another one does.
  kernel_.DropLateInterrupts();
}

TEST_F(ProtocolTest, AnInterruptThatOvertakesItsRequestCounts) {
  const uint64_t node = Lookup("a").nodeid;
  ASSERT_EQ(Open(node).error, 0);
  opener_.Park();
  for (int i = 0; i < 50; ++i) {
    Interrupt(kernel_.UniqueAfterNext());
    const uint64_t read = kernel_.Send(FUSE_READ, node, ReadBody(0, 10));
    EXPECT_EQ(kernel_.Wait(read).error, -EINTR);
  }
  EXPECT_TRUE(WaitFor([&] { return filesystem_->requests_outstanding() == 0; }));
}

// Interrupts race with answers; each read still gets exactly one reply.
TEST_F(ProtocolTest, InterruptsRacingWithAnswers) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const uint64_t node = Lookup("a").nodeid;
  ASSERT_EQ(Open(node).error, 0);
  int interrupted = 0;
  for (uint64_t round = 0; round < 100; ++round) {
    opener_.Park();
    std::vector<uint64_t> reads;
    for (uint64_t i = 0; i < 10; ++i) reads.push_back(kernel_.Send(FUSE_READ, node, ReadBody(i, 10)));
    if (random() % 2 == 0) {
      ASSERT_TRUE(WaitFor([&] { return opener_.parked() == 10; }));
    }
    Thread releaser("releaser", [&](std::stop_token) { opener_.Release(); });
    for (const uint64_t unique : reads) Interrupt(unique);
    releaser.Join();
    for (size_t i = 0; i < reads.size(); ++i) {
      const KernelReply reply = kernel_.Wait(reads[i]);
      if (reply.error != 0) ++interrupted;
      EXPECT_TRUE(reply.error == -EINTR || reply.body == Expected("a", i, 10)) << reply.error;
    }
    kernel_.DropLateInterrupts();
  }
  EXPECT_GT(interrupted, 0);
  EXPECT_TRUE(WaitFor([&] { return filesystem_->requests_outstanding() == 0; }));
  session_->Stop();
  kernel_.DropLateInterrupts();
}

TEST_F(ProtocolTest, AShortPacketEndsTheSessionNotTheProcess) {
  kernel_.SendRaw("short");
  session_->WaitUntilEnded();
  EXPECT_TRUE(session_->ended());
}

TEST_F(ProtocolTest, TheSessionEndsWithParkedRequests) {
  const uint64_t node = Lookup("a").nodeid;
  ASSERT_EQ(Open(node).error, 0);
  opener_.Park();
  backend_.HangAll();
  std::vector<uint64_t> requests;
  for (int i = 0; i < 5; ++i) requests.push_back(kernel_.Send(FUSE_READ, node, ReadBody(i, 10)));
  requests.push_back(kernel_.Send(FUSE_LOOKUP, 1, CString("unknown")));
  ASSERT_TRUE(WaitFor([&] { return opener_.parked() == 5 && backend_.Hanging(Call::kStat) == 1; }));
  session_->Stop();
  EXPECT_EQ(filesystem_->requests_outstanding(), 0u);
  for (const uint64_t request : requests) EXPECT_EQ(kernel_.Wait(request).error, -EINTR);
}

TEST_F(ProtocolTest, TheSessionEndsWhenTheKernelIsGone) {
  kernel_.Close();
  session_->WaitUntilEnded();
  EXPECT_TRUE(session_->ended());
  session_->Stop();
  session_->Stop();
}

TEST_F(ProtocolTest, DestroyIsAnswered) { EXPECT_EQ(kernel_.Call(FUSE_DESTROY, 0).error, 0); }

}  // namespace
}  // namespace glintfs
