// SIGKILL: nothing that was committed is fetched again, and nothing else is served without being fetched.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "tests/mount/harness.h"
#include "tests/support/nginx.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

constexpr int kKills = kSanitized ? 10 : 50;

class Sigkill : public MountTest {
 protected:
  static uint64_t Commits(const GlintfsMount& mount) { return mount.Get("/v1/status")["counters"]["index_commits"]; }
  static uint64_t CachedBytes(const GlintfsMount& mount, const std::string& name) {
    return std::stoull(Xattr(mount / name, "user.glintfs.cached_bytes").value_or("0"));
  }
};

TEST_F(Sigkill, NothingCommittedIsFetchedAgain) {
  // No zeros: every byte of the image is a byte on the network.
  std::string content(40'000'000, 'x');
  for (size_t i = 0; i < content.size(); i += 97) content[i] = static_cast<char>(i * 7);
  Put("disk.raw", content);
  auto nginx = Nginx::Start(source_.path());
  GlintfsMount mount(nginx->url(), "fill=demand");
  mount.Start();
  const uint64_t before = Commits(mount);
  EXPECT_TRUE(ReadAt(mount / "disk.raw", 0, 20'000'000) == content.substr(0, 20'000'000));
  ASSERT_TRUE(WaitFor([&] { return Commits(mount) > before; }));
  mount.Kill();

  nginx->Restart();  // what it was sending is in its log now
  const size_t requests = nginx->AccessLog().size();
  mount.Start();
  const uint64_t kept = CachedBytes(mount, "disk.raw");
  EXPECT_GT(kept, 0u);
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == content);
  EXPECT_TRUE(WaitFor([&] { return nginx->DistinctBytesSent("/disk.raw", requests) >= content.size() - kept; }));
  EXPECT_EQ(nginx->DistinctBytesSent("/disk.raw", requests), content.size() - kept);
}

TEST_F(Sigkill, ACompleteImageIsStillCompleteWithoutTheStore) {
  const std::string content = Put("disk.raw", 10'000'000, 1);
  auto nginx = Nginx::Start(source_.path());
  GlintfsMount mount(nginx->url(), "connect_timeout=1s,ask_timeout=1s,retries=0");
  mount.Start();
  const uint64_t before = Commits(mount);
  ReadFile(mount / "disk.raw");
  ASSERT_TRUE(mount.WaitForState("disk.raw", "complete"));
  ASSERT_TRUE(WaitFor([&] { return Commits(mount) > before; }));
  ASSERT_TRUE(WaitFor([&] {  // the checkpoint that has the last chunk
    const uint64_t now = Commits(mount);
    return mount.Ctl({"status"}).ok() && now == Commits(mount);
  }));
  mount.Kill();
  nginx->Stop();
  mount.Start();
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == content);
}

TEST_F(Sigkill, DamageAfterAnUncleanEndIsFetchedAgain) {
  const std::string content = Put("disk.raw", 10'000'000, 1);
  GlintfsMount mount(source());
  mount.Start();
  const uint64_t before = Commits(mount);
  ReadFile(mount / "disk.raw");
  ASSERT_TRUE(mount.WaitForState("disk.raw", "complete"));
  ASSERT_TRUE(WaitFor([&] { return Commits(mount) > before; }));
  mount.Kill();
  int damaged = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(mount.cache() + "/data")) {
    if (!entry.is_regular_file()) continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    for (const int at : {1'000'000, 5'000'001, 9'999'999}) {
      file.seekp(at);
      file.put('!');
    }
    ++damaged;
  }
  ASSERT_EQ(damaged, 1);
  mount.Start();
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == content);
}

TEST_F(Sigkill, KilledInTheMiddleOfFillsNoByteIsEverWrong) {
  constexpr int kImages = 3;
  constexpr size_t kSize = 12'000'000;
  std::vector<std::string> contents;
  for (int i = 0; i < kImages; ++i) contents.push_back(Put("disk" + std::to_string(i), kSize + i * 4097, 10 + i));
  auto nginx = Nginx::Start(source_.path());
  // A fill takes two seconds, so that checkpoints come in its middle; what reads wait for is not limited.
  GlintfsMount mount(nginx->url(), "fill_rate=6M");
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  int partial = 0;
  mount.Start();
  // A slow machine may need more kills until one comes between the first checkpoint of a fill and its end.
  for (int kill = 0; kill < kKills || (partial == 0 && kill < 10 * kKills); ++kill) {
    const int image = kill % kImages;
    const std::string path = mount / ("disk" + std::to_string(image));
    std::vector<std::thread> readers;
    for (int reader = 0; reader < 3; ++reader)
      readers.emplace_back([&, offset = random() % kSize] { ReadErrno(path, offset); });
    // Any moment will do: from before the first byte to after the last.
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 1700));
    mount.Kill();
    for (std::thread& reader : readers) reader.join();
    mount.Start();
    const uint64_t kept = CachedBytes(mount, "disk" + std::to_string(image));
    if (kept > 0 && kept < contents[image].size()) ++partial;
    ASSERT_TRUE(ReadFile(path) == contents[image]) << "after kill " << kill << " with " << kept << " bytes kept";
    mount.Ctl({"evict", "disk" + std::to_string((kill + 1) % kImages)});
  }
  EXPECT_GT(partial, 0) << "no kill came in the middle of a fill";
  EXPECT_EQ(mount.Stop(), 0);
}

}  // namespace
}  // namespace glintfs::testing
