#include "control/unix_listener.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "tests/control/raw_client.h"
#include "tests/support/temp_dir.h"

namespace glintfs::testing {
namespace {

mode_t ModeOf(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
}

// What a daemon leaves that was killed: a socket file nobody listens on.
void LeaveStaleSocket(const std::string& path) {
  auto listener = UnixListener::Listen(path, std::nullopt);
  ASSERT_TRUE(listener);
  std::filesystem::rename(path, path + ".kept");  // its destructor then finds nothing to remove
  { auto gone = std::move(*listener); }
  std::filesystem::rename(path + ".kept", path);
  ASSERT_TRUE(std::filesystem::is_socket(path));
}

TEST(UnixListenerTest, MakesDirectoriesAndModes) {
  TempDir dir;
  const mode_t old_mask = ::umask(0077);
  auto listener = UnixListener::Listen(dir / "run/glintfs/a.sock", std::nullopt);
  ::umask(old_mask);
  ASSERT_TRUE(listener) << listener.error().message;
  EXPECT_EQ(ModeOf(dir / "run"), 0755u);
  EXPECT_EQ(ModeOf(dir / "run/glintfs"), 0755u);
  EXPECT_EQ(ModeOf(dir / "run/glintfs/a.sock"), 0660u);
  EXPECT_TRUE(listener->group_may_write());
  EXPECT_NO_THROW(RawClient client(dir / "run/glintfs/a.sock"));
}

TEST(UnixListenerTest, GivesTheSocketToAGroup) {
  TempDir dir;
  const gid_t group = ::geteuid() == 0 ? 12345 : ::getegid();
  auto listener = UnixListener::Listen(dir / "a.sock", group);
  ASSERT_TRUE(listener) << listener.error().message;
  struct stat info {};
  ASSERT_EQ(::stat((dir / "a.sock").c_str(), &info), 0);
  EXPECT_EQ(info.st_gid, group);
  EXPECT_EQ(listener->group(), group);
}

TEST(UnixListenerTest, RemovesItsFileAtTheEnd) {
  TempDir dir;
  { ASSERT_TRUE(UnixListener::Listen(dir / "a.sock", std::nullopt)); }
  EXPECT_FALSE(std::filesystem::exists(dir / "a.sock"));
}

TEST(UnixListenerTest, LeavesTheFileOfASuccessor) {
  TempDir dir;
  auto first = UnixListener::Listen(dir / "a.sock", std::nullopt);
  ASSERT_TRUE(first);
  std::filesystem::remove(dir / "a.sock");
  auto second = UnixListener::Listen(dir / "a.sock", std::nullopt);
  ASSERT_TRUE(second);
  { auto gone = std::move(*first); }
  EXPECT_TRUE(std::filesystem::is_socket(dir / "a.sock"));
}

TEST(UnixListenerTest, ReplacesAStaleSocket) {
  TempDir dir;
  LeaveStaleSocket(dir / "a.sock");
  auto listener = UnixListener::Listen(dir / "a.sock", std::nullopt);
  ASSERT_TRUE(listener) << listener.error().message;
  EXPECT_NO_THROW(RawClient client(dir / "a.sock"));
}

TEST(UnixListenerTest, RefusesALiveSocket) {
  TempDir dir;
  auto first = UnixListener::Listen(dir / "a.sock", std::nullopt);
  ASSERT_TRUE(first);
  auto second = UnixListener::Listen(dir / "a.sock", std::nullopt);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kBusy);
  EXPECT_NO_THROW(RawClient client(dir / "a.sock"));
}

TEST(UnixListenerTest, OneOfManyWins) {
  TempDir dir;
  LeaveStaleSocket(dir / "a.sock");
  std::vector<std::optional<Result<UnixListener>>> results(8);
  std::vector<std::thread> threads;
  for (auto& result : results) {
    threads.emplace_back([&] { result.emplace(UnixListener::Listen(dir / "a.sock", std::nullopt)); });
  }
  for (auto& thread : threads) thread.join();
  int winners = 0;
  for (auto& result : results) {
    if (*result) {
      ++winners;
    } else {
      EXPECT_EQ(result->error().code, Errc::kBusy);
    }
  }
  EXPECT_EQ(winners, 1);
  EXPECT_NO_THROW(RawClient client(dir / "a.sock"));
}

TEST(UnixListenerTest, NeverRemovesWhatIsNotASocket) {
  TempDir dir;
  std::ofstream(dir / "precious") << "data";
  auto listener = UnixListener::Listen(dir / "precious", std::nullopt);
  ASSERT_FALSE(listener);
  EXPECT_EQ(listener.error().code, Errc::kInvalid);
  EXPECT_TRUE(std::filesystem::is_regular_file(dir / "precious"));
}

TEST(UnixListenerTest, RefusesPathsThatCannotBe) {
  TempDir dir;
  EXPECT_EQ(UnixListener::Listen(dir / std::string(120, 'x'), std::nullopt).error().code, Errc::kInvalid);
  EXPECT_EQ(UnixListener::Listen("", std::nullopt).error().code, Errc::kInvalid);
  std::ofstream(dir / "file") << "";
  EXPECT_FALSE(UnixListener::Listen(dir / "file/a.sock", std::nullopt));
}

}  // namespace
}  // namespace glintfs::testing
