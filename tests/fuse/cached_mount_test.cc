// A real mount over the real cache, of a fake source that hangs, fails and changes.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <set>

#include "fs/base/unique_fd.h"
#include "fs/fuse/session.h"
#include "tests/support/fake_backend.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace glintfs {
namespace {

using std::chrono::milliseconds;
using testing::Call;
using testing::FakeBackend;
using testing::TempDir;
using testing::WaitFor;
using ByteVector = std::vector<std::byte>;

class CachedMountTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kSize = 3'000'001;

  void SetUp() override {
    if (::access("/dev/fuse", R_OK | W_OK) != 0) GTEST_SKIP() << "no access to /dev/fuse";
    backend_.Put("a", kSize);
    backend_.Put("dir/b", kSize);
    catalog_options_.patience = milliseconds(50);
    cache_options_.directory = directory_.path();
    cache_options_.limits.min_free = 0;
  }
  void TearDown() override { Unmount(); }

  void Mount() {
    auto cache = Cache::Open(cache_options_, backend_);
    ASSERT_TRUE(cache) << cache.error().ToString();
    cache_ = std::move(*cache);
    catalog_ = std::make_unique<Catalog>(catalog_options_, backend_, *cache_);
    FsOptions options;
    options.source = backend_.source();
    filesystem_ = std::make_unique<Filesystem>(options, *catalog_, *cache_);
    SessionOptions session;
    session.mountpoint = mountpoint_.path();
    session.fsname = backend_.source();
    auto mounted = Session::Mount(session, *filesystem_);
    ASSERT_TRUE(mounted) << mounted.error().ToString();
    session_ = std::move(*mounted);
  }
  void Unmount() {
    session_.reset();
    filesystem_.reset();
    catalog_.reset();
    cache_.reset();
  }

  UniqueFd Open(const std::string& name, int flags = 0) const {
    return UniqueFd(::open((mountpoint_ / name).c_str(), O_RDONLY | O_CLOEXEC | flags));
  }
  // All of it; shorter when a read fails.
  static ByteVector ReadAll(const UniqueFd& fd) {
    ByteVector bytes, block(100'000);
    for (ssize_t n; (n = ::pread(fd.get(), block.data(), block.size(), static_cast<off_t>(bytes.size()))) > 0;)
      bytes.insert(bytes.end(), block.begin(), block.begin() + n);
    return bytes;
  }
  ByteVector Cat(const std::string& name) const { return ReadAll(Open(name)); }
  std::set<std::string> Ls(const std::string& name) const {
    std::set<std::string> names;
    DIR* dir = ::opendir((mountpoint_ / name).c_str());
    if (dir == nullptr) return {std::strerror(errno)};
    while (const dirent* entry = ::readdir(dir))
      if (entry->d_name[0] != '.') names.insert(entry->d_name);
    ::closedir(dir);
    return names;
  }
  int64_t SizeOf(const std::string& name) const {
    struct stat st{};
    return ::stat((mountpoint_ / name).c_str(), &st) == 0 ? st.st_size : -errno;
  }

  TempDir mountpoint_, directory_;
  FakeBackend backend_;
  CatalogOptions catalog_options_;
  CacheOptions cache_options_;
  std::unique_ptr<Cache> cache_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<Filesystem> filesystem_;
  std::unique_ptr<Session> session_;
};

TEST_F(CachedMountTest, WithTheStoreDownWhatIsCachedIsServedAcrossARestart) {
  ASSERT_NO_FATAL_FAILURE(Mount());
  EXPECT_EQ(Cat("a"), backend_.Expected("a", 0, kSize));
  EXPECT_EQ(Cat("dir/b"), backend_.Expected("dir/b", 0, kSize));
  struct stat before{};
  ASSERT_EQ(::stat((mountpoint_ / "a").c_str(), &before), 0);
  Unmount();
  backend_.FailAll(Error{Errc::kUnavailable, "down"});
  ASSERT_NO_FATAL_FAILURE(Mount());
  EXPECT_EQ(Ls("."), (std::set<std::string>{"a", "dir"}));
  EXPECT_EQ(Ls("dir"), (std::set<std::string>{"b"}));
  EXPECT_EQ(Cat("dir/b"), backend_.Expected("dir/b", 0, kSize));
  EXPECT_EQ(Cat("a"), backend_.Expected("a", 0, kSize));
  struct stat after{};
  ASSERT_EQ(::stat((mountpoint_ / "a").c_str(), &after), 0);
  EXPECT_EQ(after.st_ino, before.st_ino);
  EXPECT_EQ(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
  EXPECT_EQ(SizeOf("never-seen"), -EHOSTDOWN);
}

// "ls, stat and cached reads answer while every fetch hangs."
TEST_F(CachedMountTest, EverythingElseAnswersWhileEveryFetchHangs) {
  catalog_options_.attr_ttl = milliseconds(1);  // so that every stat wants to ask
  ASSERT_NO_FATAL_FAILURE(Mount());
  EXPECT_EQ(Cat("a"), backend_.Expected("a", 0, kSize));
  ASSERT_EQ(SizeOf("dir/b"), static_cast<int64_t>(kSize));
  EXPECT_EQ(Ls("dir"), (std::set<std::string>{"b"}));
  backend_.HangAll();
  std::vector<Thread> readers;
  for (int i = 0; i < 20; ++i)
    readers.emplace_back("reader", [this, i](std::stop_token) {
      const UniqueFd fd = Open("dir/b");
      std::byte byte{};
      [[maybe_unused]] const ssize_t n = ::pread(fd.get(), &byte, 1, i * 100'000);
    });
  ASSERT_TRUE(WaitFor([&] { return backend_.Hanging(Call::kOpen) + backend_.Hanging(Call::kFetch) > 0; }));
  EXPECT_EQ(SizeOf("a"), static_cast<int64_t>(kSize));
  EXPECT_EQ(Ls("dir"), (std::set<std::string>{"b"}));
  EXPECT_EQ(Cat("a"), backend_.Expected("a", 0, kSize));
  EXPECT_GT(backend_.Hanging(Call::kOpen) + backend_.Hanging(Call::kFetch), 0) << "all that while they hang";
  session_->Stop();  // and the end does not wait for the source either
  for (Thread& reader : readers) reader.Join();
}

TEST_F(CachedMountTest, ASignalInterruptsADirectRead) {
  struct sigaction action{}, old{};
  action.sa_handler = [](int) {};
  ::sigaction(SIGUSR2, &action, &old);
  ASSERT_NO_FATAL_FAILURE(Mount());
  backend_.Hang(Call::kOpen);
  backend_.Hang(Call::kFetch);
  const UniqueFd fd = Open("a", O_DIRECT);
  ASSERT_TRUE(fd.valid());
  std::atomic<bool> ended{false};
  std::atomic<int> result{0};
  std::atomic<pthread_t> reading{};
  Thread reader("reader", [&](std::stop_token) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    reading = pthread_self();
    alignas(4096) static char page[4096];
    const ssize_t n = ::pread(fd.get(), page, sizeof page, 0);
    result = n < 0 ? errno : 0;
    ended = true;
  });
  ASSERT_TRUE(WaitFor([&] { return cache_->Stats().reads_parked > 0; }));
  EXPECT_TRUE(WaitFor([&] {
    if (!ended) pthread_kill(reading, SIGUSR2);
    return ended.load();
  }));
  backend_.ReleaseAll();
  EXPECT_TRUE(WaitFor([&] { return ended.load(); }));
  EXPECT_EQ(result, EINTR);
  EXPECT_EQ(Cat("a"), backend_.Expected("a", 0, kSize)) << "a reader who goes away does not undo the fill";
  reader.Join();
  ::sigaction(SIGUSR2, &old, nullptr);
}

TEST_F(CachedMountTest, ANewVersionShowsAndOldHandlesKeepTheirs) {
  catalog_options_.attr_ttl = milliseconds(20);
  ASSERT_NO_FATAL_FAILURE(Mount());
  const UniqueFd old = Open("a");
  const ByteVector before = backend_.Expected("a", 0, kSize);
  EXPECT_EQ(ReadAll(old), before);
  backend_.Put("a", 1'000, "v2");
  ASSERT_TRUE(WaitFor([&] { return SizeOf("a") == 1'000; }));
  EXPECT_EQ(Cat("a"), backend_.Expected("a", 0, 1'000));
  EXPECT_EQ(ReadAll(old), before);
}

TEST_F(CachedMountTest, AChangeWhileReadingIsStaleForTheOldHandleOnly) {
  cache_options_.fill = FillMode::kDemand;
  ASSERT_NO_FATAL_FAILURE(Mount());
  const UniqueFd old = Open("a");
  ASSERT_TRUE(old.valid());
  backend_.Put("a", kSize, "v2");
  std::byte byte{};
  EXPECT_EQ(::pread(old.get(), &byte, 1, 2'500'000), -1) << "never of two versions";
  EXPECT_TRUE(errno == ESTALE || errno == EIO) << std::strerror(errno);
  EXPECT_EQ(Cat("a"), backend_.Expected("a", "v2", 0, kSize)) << "a new open looks up again, within the time to live";
}

}  // namespace
}  // namespace glintfs
