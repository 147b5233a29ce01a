// A backend whose calls do not come back.
#include "backends/detached.h"

#include <atomic>
#include <thread>

#include "backends/workers.h"
#include "fs/base/mount_table.h"
#include "tests/backends/fetching.h"
#include "tests/support/fake_backend.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

// What the kernel is while a server hangs: no stop_token helps.
struct Kernel {
  std::atomic<bool> hangs{false};
  std::atomic<int> inside{0};

  void Enter() {
    ++inside;
    while (hangs) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    --inside;
  }
};

class StuckReader final : public ImageReader {
 public:
  StuckReader(std::shared_ptr<Kernel> kernel, std::shared_ptr<FakeBackend> fake, std::unique_ptr<ImageReader> inner)
      : ImageReader(inner->size()), kernel_(std::move(kernel)), fake_(std::move(fake)), inner_(std::move(inner)) {}

 private:
  Result<void> DoFetch(Extent extent, DataSink& sink, std::stop_token) override {
    kernel_->Enter();
    return inner_->Fetch(extent, sink, {});
  }
  const std::shared_ptr<Kernel> kernel_;
  const std::shared_ptr<FakeBackend> fake_;  // its readers need it, and may outlive the backend
  const std::unique_ptr<ImageReader> inner_;
};

class StuckBackend final : public Backend {
 public:
  StuckBackend(std::shared_ptr<Kernel> kernel, std::shared_ptr<FakeBackend> inner)
      : Backend(inner->source()), kernel_(std::move(kernel)), inner_(std::move(inner)) {}

 private:
  Result<NameInfo> DoStat(std::string_view name, std::stop_token) override {
    kernel_->Enter();
    return inner_->Stat(name, {});
  }
  Result<Listing> DoList(std::string_view directory, std::string_view cursor, std::stop_token) override {
    kernel_->Enter();
    return inner_->List(directory, cursor, {});
  }
  Result<std::unique_ptr<ImageReader>> DoOpen(const ImageInfo& image, std::stop_token) override {
    return std::unique_ptr<ImageReader>(
        std::make_unique<StuckReader>(kernel_, inner_, std::move(*inner_->Open(image, {}))));
  }
  const std::shared_ptr<Kernel> kernel_;
  const std::shared_ptr<FakeBackend> inner_;
};

class DetachedTest : public ::testing::Test {
 protected:
  DetachedTest() {
    fake_->Put("a.img", 1'000'000);
    fake_->SetBlockSize(10'000);
    backend_ = MakeDetached(std::make_unique<StuckBackend>(kernel_, fake_));
  }
  ~DetachedTest() override {
    kernel_->hangs = false;
    EXPECT_TRUE(WaitFor([&] { return kernel_->inside == 0; }));
  }

  const std::shared_ptr<Kernel> kernel_ = std::make_shared<Kernel>();
  const std::shared_ptr<FakeBackend> fake_ = std::make_shared<FakeBackend>();
  std::unique_ptr<Backend> backend_;
};

TEST_F(DetachedTest, PassesEverythingOn) {
  const auto info = backend_->Stat("a.img", {});
  ASSERT_OK(info);
  EXPECT_EQ(backend_->List("", "", {})->entries.size(), 1u);
  EXPECT_EQ(CodeOf(backend_->Stat("b.img", {})), "not found");
  const auto reader = backend_->Open(info->image, {});
  ASSERT_OK(reader);
  const auto text = FetchText(**reader, {5, 900'000});
  ASSERT_OK(text);
  const auto expected = fake_->Expected("a.img", 5, 900'000);
  EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(*text)), expected));
  StringSink enough(50'000);
  ASSERT_OK((*reader)->Fetch({0, 900'000}, enough, {}));
  EXPECT_LT(enough.text.size(), 900'000u);
  fake_->Fail(Call::kFetch, {Errc::kIo, "broken"}, "a.img", 1, 20'000);
  StringSink partly;
  EXPECT_EQ(CodeOf((*reader)->Fetch({0, 100'000}, partly, {})), "I/O error");
  EXPECT_EQ(partly.text.size(), 20'000u);
}

TEST_F(DetachedTest, CallsThatHangAreGivenUp) {
  const auto info = backend_->Stat("a.img", {});
  const auto reader = backend_->Open(info->image, {});
  kernel_->hangs = true;
  std::stop_source stop;
  std::string stat, fetch;
  std::thread asking([&] { stat = CodeOf(backend_->Stat("a.img", stop.get_token())); });
  std::thread fetching([&] {
    StringSink sink;
    fetch = CodeOf((*reader)->Fetch({0, 1'000'000}, sink, stop.get_token()));
  });
  ASSERT_TRUE(WaitFor([&] { return kernel_->inside == 2; }));
  stop.request_stop();
  asking.join();  // while the kernel still holds both
  fetching.join();
  EXPECT_EQ(kernel_->inside, 2);
  EXPECT_EQ(stat, "cancelled");
  EXPECT_EQ(fetch, "cancelled");
  backend_.reset();  // nor does the end wait for them
}

TEST_F(DetachedTest, WhoComesAfterTooManyWaitsAndCanLeave) {
  kernel_->hangs = true;
  std::vector<std::thread> callers;
  std::atomic<int> ok{0};
  for (int i = 0; i < Workers::kMaxThreads; ++i) callers.emplace_back([&] { ok += backend_->Stat("a.img", {}).has_value(); });
  ASSERT_TRUE(WaitFor([&] { return kernel_->inside == Workers::kMaxThreads; }));
  std::stop_source stop;
  std::string late;
  std::thread leaving([&] { late = CodeOf(backend_->Stat("a.img", stop.get_token())); });
  stop.request_stop();
  leaving.join();
  EXPECT_EQ(late, "cancelled");
  EXPECT_EQ(kernel_->inside, Workers::kMaxThreads);
  kernel_->hangs = false;
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(ok, Workers::kMaxThreads);
  EXPECT_EQ(CodeOf(backend_->Stat("a.img", {})), "ok");
}

TEST(RemoteFileSystemTest, TheTableOfMountsTells) {
  EXPECT_FALSE(IsOnRemoteFileSystem("/proc/self"));
  EXPECT_FALSE(ReadMountTable().empty());
}

}  // namespace
}  // namespace glintfs::testing
