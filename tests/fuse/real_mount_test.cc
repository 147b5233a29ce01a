// A real mount of a fake source: what ls, stat, cat and getfattr see.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "fs/base/unique_fd.h"
#include "fs/fuse/session.h"
#include "tests/support/fake_backend.h"
#include "tests/support/fake_cache.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace glintfs {
namespace {

using testing::Call;
using testing::FakeBackend;
using testing::FakeCache;
using testing::FakeOpener;
using testing::TempDir;
using testing::WaitFor;

class RealMountTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::access("/dev/fuse", R_OK | W_OK) != 0) GTEST_SKIP() << "no access to /dev/fuse";
    backend_.Put("a.raw", 3'000'001);
    backend_.Put("sub/deep/b.raw", 5);
    backend_.Put("empty.raw", 0);
  }
  void TearDown() override {
    backend_.ReleaseAll();
    if (opener_) opener_->Release();
    session_.reset();
    EXPECT_FALSE(IsMounted());
  }

  void Mount() {
    catalog_ = std::make_unique<Catalog>(catalog_options_, backend_, cache_);
    opener_ = std::make_unique<FakeOpener>(backend_);
    if (use_files_) opener_->UseFiles(files_.path());
    FsOptions options;
    options.source = backend_.source();
    filesystem_ = std::make_unique<Filesystem>(options, *catalog_, cache_, Clock::System(), opener_->opener());
    SessionOptions session;
    session.mountpoint = mountpoint_.path();
    session.fsname = backend_.source();
    auto mounted = Session::Mount(session, *filesystem_);
    ASSERT_TRUE(mounted) << mounted.error().ToString();
    session_ = std::move(*mounted);
  }

  bool IsMounted() const {
    struct stat inside{}, above{};
    if (::stat(mountpoint_.path().c_str(), &inside) != 0) return true;
    ::stat((mountpoint_.path() + "/..").c_str(), &above);
    return inside.st_dev != above.st_dev;
  }

  std::set<std::string> Ls(const std::string& name) const {
    std::set<std::string> names;
    DIR* dir = ::opendir((mountpoint_ / name).c_str());
    if (dir == nullptr) return {std::strerror(errno)};
    while (const dirent* entry = ::readdir(dir)) names.insert(entry->d_name);
    ::closedir(dir);
    return names;
  }

  std::vector<std::byte> Cat(const std::string& name) const {
    const UniqueFd fd(::open((mountpoint_ / name).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) return {};
    std::vector<std::byte> bytes, block(128 * 1024);
    for (ssize_t n; (n = ::read(fd.get(), block.data(), block.size())) > 0;)
      bytes.insert(bytes.end(), block.begin(), block.begin() + n);
    return bytes;
  }

  CatalogOptions catalog_options_;
  bool use_files_ = false;
  TempDir mountpoint_, files_;
  FakeBackend backend_;
  FakeCache cache_;
  std::unique_ptr<FakeOpener> opener_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<Filesystem> filesystem_;
  std::unique_ptr<Session> session_;
};

TEST_F(RealMountTest, ShowsNamesAttributesAndContent) {
  ASSERT_NO_FATAL_FAILURE(Mount());
  EXPECT_EQ(Ls("."), (std::set<std::string>{".", "..", "a.raw", "empty.raw", "sub"}));
  EXPECT_EQ(Ls("sub"), (std::set<std::string>{".", "..", "deep"}));
  struct stat st{};
  ASSERT_EQ(::stat((mountpoint_ / "a.raw").c_str(), &st), 0);
  EXPECT_EQ(st.st_size, 3'000'001);
  EXPECT_EQ(st.st_mode, S_IFREG | 0444u);
  EXPECT_EQ(st.st_blksize, 1 << 20);
  EXPECT_EQ(st.st_mtim.tv_sec, 1'700'000'000);
  EXPECT_EQ(st.st_ino, filesystem_->InodeNumber("a.raw"));
  EXPECT_EQ(Cat("a.raw"), backend_.Expected("a.raw", 0, 3'000'001));
  EXPECT_EQ(Cat("sub/deep/b.raw"), backend_.Expected("sub/deep/b.raw", 0, 5));
  EXPECT_EQ(Cat("empty.raw").size(), 0u);
}

TEST_F(RealMountTest, ReadsFromDataFiles) {
  use_files_ = true;
  ASSERT_NO_FATAL_FAILURE(Mount());
  EXPECT_EQ(Cat("a.raw"), backend_.Expected("a.raw", 0, 3'000'001));
}

TEST_F(RealMountTest, EverythingThatWritesIsRefused) {
  ASSERT_NO_FATAL_FAILURE(Mount());
  const std::string image = mountpoint_ / "a.raw", fresh = mountpoint_ / "new";
  const auto refused = [](int result) { return result == -1 && errno == EROFS; };
  EXPECT_TRUE(refused(::open(image.c_str(), O_WRONLY)));
  EXPECT_TRUE(refused(::open(image.c_str(), O_RDWR)));
  EXPECT_TRUE(refused(::open(fresh.c_str(), O_CREAT | O_WRONLY, 0600)));
  EXPECT_TRUE(refused(::truncate(image.c_str(), 0)));
  EXPECT_TRUE(refused(::rename(image.c_str(), fresh.c_str())));
  EXPECT_TRUE(refused(::unlink(image.c_str())));
  EXPECT_TRUE(refused(::mkdir(fresh.c_str(), 0700)));
  EXPECT_TRUE(refused(::chmod(image.c_str(), 0600)));
  EXPECT_TRUE(refused(::setxattr(image.c_str(), "user.x", "y", 1, 0)));
}

TEST_F(RealMountTest, ShowsXattrs) {
  ASSERT_NO_FATAL_FAILURE(Mount());
  const std::string image = mountpoint_ / "a.raw";
  char value[200];
  const auto get = [&](const char* name) {
    const ssize_t n = ::getxattr(image.c_str(), name, value, sizeof value);
    return n < 0 ? std::string(std::strerror(errno)) : std::string(value, static_cast<size_t>(n));
  };
  EXPECT_EQ(get("user.glintfs.state"), "absent");
  EXPECT_EQ(get("user.glintfs.cached_bytes"), "0");
  EXPECT_EQ(get("user.glintfs.version"), "v1");
  EXPECT_EQ(get("user.glintfs.source"), "fake://source");
  EXPECT_EQ(get("user.other"), std::strerror(ENODATA));
  EXPECT_EQ(::listxattr(image.c_str(), nullptr, 0), 86);
  EXPECT_EQ(::listxattr(image.c_str(), value, 10), -1);
  EXPECT_EQ(errno, ERANGE);
}

// "ls, stat and cached reads answer while every fetch hangs", also beside a lookup that waits in the same directory.
TEST_F(RealMountTest, AHangingLookupStopsNoOneElse) {
  ASSERT_NO_FATAL_FAILURE(Mount());
  EXPECT_EQ(Ls("."), (std::set<std::string>{".", "..", "a.raw", "empty.raw", "sub"}));
  struct stat st{};
  ASSERT_EQ(::stat((mountpoint_ / "a.raw").c_str(), &st), 0);
  backend_.HangAll();
  int err = 0;
  Thread hanging("hanging", [&](std::stop_token) {
    struct stat unknown{};
    err = ::stat((mountpoint_ / "unknown").c_str(), &unknown) == 0 ? 0 : errno;
  });
  ASSERT_TRUE(WaitFor([&] { return backend_.Hanging(Call::kStat) == 1; }));
  EXPECT_EQ(Ls("."), (std::set<std::string>{".", "..", "a.raw", "empty.raw", "sub"}));
  EXPECT_EQ(::stat((mountpoint_ / "a.raw").c_str(), &st), 0);
  EXPECT_EQ(Cat("a.raw"), backend_.Expected("a.raw", 0, 3'000'001));
  EXPECT_EQ(backend_.Hanging(Call::kStat), 1) << "all that while it hangs";
  backend_.ReleaseAll();
  hanging.Join();
  EXPECT_EQ(err, ENOENT);
}

TEST_F(RealMountTest, ASignalEndsAWaitingRead) {
  ASSERT_NO_FATAL_FAILURE(Mount());
  const UniqueFd fd(::open((mountpoint_ / "a.raw").c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(fd.valid());
  opener_->Park();
  const pid_t reader = ::fork();
  if (reader == 0) {
    char byte = 0;
    ::_exit(::pread(fd.get(), &byte, 1, 0) == 1 ? 0 : 1);
  }
  ASSERT_GT(reader, 0);
  ASSERT_TRUE(WaitFor([&] { return opener_->parked() > 0; }));
  ::kill(reader, SIGKILL);
  int status = 0;
  ASSERT_EQ(::waitpid(reader, &status, 0), reader);
  EXPECT_TRUE(WIFSIGNALED(status));
}

TEST_F(RealMountTest, UmountEndsTheSession) {
  ASSERT_NO_FATAL_FAILURE(Mount());
  EXPECT_FALSE(session_->ended());
  ASSERT_EQ(::umount(mountpoint_.path().c_str()), 0) << std::strerror(errno);
  session_->WaitUntilEnded();
  EXPECT_TRUE(session_->ended());
}

TEST_F(RealMountTest, StopDoesNotWaitForParkedReads) {
  ASSERT_NO_FATAL_FAILURE(Mount());
  const UniqueFd fd(::open((mountpoint_ / "a.raw").c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(fd.valid());
  opener_->Park();
  char byte = 0;
  ssize_t result = 0;
  Thread reader("reader", [&](std::stop_token) { result = ::pread(fd.get(), &byte, 1, 0); });
  ASSERT_TRUE(WaitFor([&] { return opener_->parked() > 0; }));
  session_->Stop();
  reader.Join();
  EXPECT_EQ(result, -1);
  EXPECT_FALSE(IsMounted());
}

}  // namespace
}  // namespace glintfs
