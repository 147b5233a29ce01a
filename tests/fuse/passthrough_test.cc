// Passthrough as the file system uses it, over a port that records; and what INIT agrees on, over a fake kernel.
#include "fs/fuse/passthrough.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/fuse/protocol_fixture.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

class RecordingPort final : public KernelPort {
 public:
  Result<int32_t> Register(int fd) override {
    if (refuse) return Error{Errc::kAccessDenied, "no"};
    return fd + 100;
  }
  void Unregister(int32_t) override { ++unregistered; }
  Result<void> InvalidateEntry(uint64_t, const std::string& name) override {
    entered = true;
    while (hold) std::this_thread::yield();
    MutexLock lock(mu_);
    names_.push_back(name);
    return {};
  }
  Result<void> InvalidatePages(uint64_t node) override {
    MutexLock lock(mu_);
    names_.push_back("pages of " + std::to_string(node));
    return {};
  }
  std::vector<std::string> names() {
    MutexLock lock(mu_);
    return names_;
  }

  std::atomic<bool> refuse{false}, hold{false}, entered{false};
  std::atomic<int> unregistered{0};

 private:
  Mutex mu_;
  std::vector<std::string> names_ GUARDED_BY(mu_);
};

TEST(PassthroughTest, IsOffUntilItIsStartedAndAfterItIsStopped) {
  RecordingPort port;
  Passthrough passthrough([] { return 0; });
  EXPECT_FALSE(passthrough.on());
  EXPECT_EQ(passthrough.Register(3).error().code, Errc::kNotSupported);
  passthrough.InvalidateSoon(1, "early");
  passthrough.Start(port);
  EXPECT_TRUE(passthrough.on());
  EXPECT_EQ(*passthrough.Register(3), 103);
  passthrough.Unregister(103);
  EXPECT_EQ(port.unregistered, 1);
  passthrough.Stop();
  EXPECT_FALSE(passthrough.on());
  EXPECT_EQ(passthrough.Register(3).error().code, Errc::kNotSupported);
  passthrough.Unregister(103);
  EXPECT_EQ(port.unregistered, 1);
  passthrough.InvalidateSoon(1, "late");
  EXPECT_TRUE(port.names().empty());
}

TEST(PassthroughTest, InvalidatesPagesEvenWhenItIsOff) {
  RecordingPort port;
  Passthrough passthrough([] { return 1; });
  passthrough.InvalidatePagesSoon(7);  // nobody to tell
  passthrough.Refuse(port);
  EXPECT_FALSE(passthrough.on());
  EXPECT_EQ(passthrough.Register(3).error().code, Errc::kNotSupported);
  passthrough.InvalidatePagesSoon(7);
  EXPECT_TRUE(WaitFor([&] { return passthrough.waiting() == 0; }));
  EXPECT_EQ(port.names(), std::vector<std::string>{"pages of 7"}) << "lookups that wait do not matter to it";
}

TEST(PassthroughTest, InvalidatesInOrder) {
  RecordingPort port;
  Passthrough passthrough([] { return 0; });
  passthrough.Start(port);
  std::vector<std::string> expected;
  for (int i = 0; i < 100; ++i) {
    expected.push_back(std::to_string(i));
    passthrough.InvalidateSoon(1, expected.back());
  }
  EXPECT_TRUE(WaitFor([&] { return port.names() == expected; }));
  EXPECT_TRUE(WaitFor([&] { return passthrough.waiting() == 0; }));
}

TEST(PassthroughTest, WaitsForTheNamesThatWait) {
  RecordingPort port;
  std::atomic<int> waiting{1}, asked{0};
  Passthrough passthrough([&] {
    ++asked;
    return waiting.load();
  });
  passthrough.Start(port);
  passthrough.InvalidateSoon(1, "a");
  EXPECT_TRUE(WaitFor([&] { return asked > 3; }));
  EXPECT_TRUE(port.names().empty());
  waiting = 0;
  EXPECT_TRUE(WaitFor([&] { return port.names().size() == 1; }));
}

TEST(PassthroughTest, StopsWhileNamesWait) {
  RecordingPort port;
  Passthrough passthrough([] { return 1; });
  passthrough.Start(port);
  passthrough.InvalidateSoon(1, "a");
  passthrough.Stop();
  EXPECT_TRUE(port.names().empty());
}

TEST(PassthroughTest, StopWaitsForTheCallThatIsUnderWay) {
  RecordingPort port;
  port.hold = true;
  Passthrough passthrough([] { return 0; });
  passthrough.Start(port);
  passthrough.InvalidateSoon(1, "a");
  ASSERT_TRUE(WaitFor([&] { return port.entered.load(); }));
  std::atomic<bool> stopped{false};
  std::thread stopper([&] {
    passthrough.Stop();
    stopped = true;
  });
  ASSERT_TRUE(WaitFor([&] { return !passthrough.on(); }));
  EXPECT_FALSE(stopped);
  port.hold = false;
  stopper.join();
  EXPECT_EQ(port.names().size(), 1u);
}

// ---- INIT

constexpr uint32_t kInitExt = 1u << 30, kPassthrough2 = 1u << 5;  // linux/fuse.h of Linux 6.9

class PassthroughInit : public ProtocolTest {
 protected:
  void SetUp() override { Start(); }
  // Offers `flags2` and returns what the daemon takes of it, and the stack depth.
  std::pair<uint32_t, uint32_t> Offer(uint32_t flags, uint32_t flags2) {
    std::string body(64, '\0');
    const uint32_t words[] = {FUSE_KERNEL_VERSION, 45, 128 * 1024, flags, flags2};
    std::memcpy(body.data(), words, sizeof words);
    const KernelReply reply = kernel_.Call(FUSE_INIT, 0, body);
    EXPECT_EQ(reply.error, 0);
    EXPECT_EQ(reply.body.size(), sizeof(fuse_init_out));
    uint32_t got[16] = {};
    std::memcpy(got, reply.body.data(), std::min(sizeof got, reply.body.size()));
    if (got[8] != 0) {
      EXPECT_NE(got[3] & kInitExt, 0u);
    }
    return {got[8], got[9]};
  }
};

TEST_F(PassthroughInit, IsTakenWhereItIsOffered) {
  EXPECT_EQ(Offer(FUSE_ASYNC_READ | kInitExt, kPassthrough2 | 1), std::pair(kPassthrough2, 1u));
}

TEST_F(PassthroughInit, IsNotTakenWhereItIsNotOffered) {
  EXPECT_EQ(Offer(FUSE_ASYNC_READ | kInitExt, 1), std::pair(0u, 0u));
}

TEST_F(PassthroughInit, IsNotTakenFromAKernelWithoutExtendedFlags) {
  EXPECT_EQ(Offer(FUSE_ASYNC_READ, kPassthrough2), std::pair(0u, 0u));
}

}  // namespace
}  // namespace glintfs::testing
