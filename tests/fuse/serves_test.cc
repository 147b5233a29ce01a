// Session::Serves: what the sign of life to the service manager hangs on.
#include "tests/fuse/protocol_fixture.h"

namespace glintfs::testing {
namespace {

class ServesTest : public ProtocolTest {
 protected:
  static constexpr int kThreads = 3;  // of the fixture's session

  void TearDown() override {
    cache_.LetStatsGo();
    ProtocolTest::TearDown();
  }
  bool WaitUntilHanging(int count) {
    return WaitFor([&] { return cache_.hanging() == count; });
  }
};

TEST_F(ServesTest, WhileOneThreadComesBack) {
  EXPECT_TRUE(session_->Serves());
  EXPECT_TRUE(session_->Serves()) << "nobody asks anything, and all could answer";
  cache_.HangStats();
  std::vector<uint64_t> asked;
  for (int i = 0; i < kThreads - 1; ++i) asked.push_back(kernel_.Send(FUSE_STATFS, 1));
  ASSERT_TRUE(WaitUntilHanging(kThreads - 1));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(session_->Serves()) << "one is left";
  asked.push_back(kernel_.Send(FUSE_STATFS, 1));
  ASSERT_TRUE(WaitUntilHanging(kThreads));
  session_->Serves();  // the last one was seen elsewhere before
  EXPECT_FALSE(session_->Serves());
  EXPECT_FALSE(session_->Serves());
  cache_.LetStatsGo();
  for (const uint64_t unique : asked) EXPECT_EQ(kernel_.Wait(unique).error, 0);
  EXPECT_TRUE(session_->Serves());
}

TEST_F(ServesTest, WhileTheSourceHangs) {
  const uint64_t node = Lookup("a").nodeid;
  const KernelReply open = Open(node);
  opener_.Park();
  std::vector<uint64_t> asked;
  for (int i = 0; i < 2 * kThreads; ++i) asked.push_back(kernel_.Send(FUSE_READ, node, ReadBody(0, 10, open.As<fuse_open_out>().fh)));
  ASSERT_TRUE(WaitFor([&] { return opener_.parked() == asked.size(); }));
  // A thread parks its read just before it comes back.
  session_->Serves();
  ASSERT_TRUE(WaitFor([&] { return session_->Serves(); }));
  opener_.Release();
  for (const uint64_t unique : asked) EXPECT_EQ(kernel_.Wait(unique).error, 0);
  Release(node, open);
}

}  // namespace
}  // namespace glintfs::testing
