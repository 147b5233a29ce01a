// Lines of the log that docs/operating.md tells people to look for.
#include <gmock/gmock.h>

#include <filesystem>
#include <string>

#include "tests/mount/harness.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

using ::testing::HasSubstr;

size_t Occurrences(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

class Log : public MountTest {};

TEST_F(Log, ASupersededVersionIsToldOnce) {
  Put("a/disk.raw", 1'000'000, 1);
  Put("other.raw", 1'000'000, 2);
  GlintfsMount mount(source(), "attr_ttl=1s");
  mount.Start();
  ReadFile(mount / "a/disk.raw");
  ReadFile(mount / "other.raw");
  const std::string line = ": the source has another version now; this one serves only what is cached of it";
  EXPECT_EQ(Occurrences(mount.LogText(), line), 0u);

  const std::string now = Put("a/disk.raw", 1'000'000, 3);
  ASSERT_TRUE(WaitFor([&] { return ReadFile(mount / "a/disk.raw") == now; }));
  // Asked for many times more, it is still one line, with the name and nothing of the other image.
  EXPECT_TRUE(WaitFor([&] {
    ReadFile(mount / "a/disk.raw");
    return Occurrences(mount.LogText(), line) == 1;
  }));
  EXPECT_THAT(mount.LogText(), HasSubstr("a/disk.raw" + line));
  ASSERT_EQ(mount.Stop(), 0);
  EXPECT_EQ(Occurrences(mount.LogText(), line), 1u);
}

// systemd/glintfs.logrotate: copytruncate. Lines go on at the new beginning.
TEST_F(Log, AFileThatIsTruncatedIsWrittenFromItsBeginning) {
  GlintfsMount mount(source());
  mount.Start();
  ASSERT_FALSE(mount.LogText().empty());
  std::filesystem::resize_file(mount.log(), 0);
  ASSERT_EQ(mount.Stop(), 0);
  const std::string text = mount.LogText();
  EXPECT_FALSE(text.empty());
  EXPECT_EQ(text.find('\0'), text.npos);
}

}  // namespace
}  // namespace glintfs::testing
