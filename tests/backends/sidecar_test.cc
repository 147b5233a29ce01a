// Files of checksums, parsed and found beside an image.
#include "backends/sidecar.h"

#include <filesystem>

#include "backends/checksum_file.h"
#include "backends/dir/dir_backend.h"
#include "tests/backends/fetching.h"
#include "tests/support/temp_dir.h"

namespace glintfs::testing {
namespace {

const std::string kA(64, 'a'), kB(64, 'b'), kC(128, 'c'), kD(128, 'd');

TEST(ChecksumFile, ReadsTheUsualFormats) {
  const ChecksumFile file =
      ParseChecksumFile("# a comment\n" + kA + "  a.img\r\n" + std::string(64, 'B') + " *./sub name.img\n\n" +
                            "SHA256 (bsd (1).img) = " + kA + "\n\\" + kB + "  back\\\\slash.img\n" + kA + "  last",
                        "sha256");
  const std::map<std::string, std::string> expected = {
      {"a.img", kA}, {"sub name.img", kB}, {"bsd (1).img", kA}, {"back\\slash.img", kB}, {"last", kA}};
  EXPECT_EQ(file.by_name, expected);
  EXPECT_EQ(file.bad_lines, 0u);
  EXPECT_EQ(file.only, "") << "not the only one";
}

TEST(ChecksumFile, KnowsASingleSum) {
  EXPECT_EQ(ParseChecksumFile(kA, "sha256").only, kA);
  EXPECT_EQ(ParseChecksumFile(kA + "\n", "sha256").only, kA);
  EXPECT_EQ(ParseChecksumFile(kA + "  build/other-name.img\n", "sha256").only, kA);
  EXPECT_EQ(ParseChecksumFile("", "sha256").only, "");
}

TEST(ChecksumFile, CountsWhatIsNone) {
  const ChecksumFile file = ParseChecksumFile(
      "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n" + kA + "  a.img\n" + kA + " one-space\n" + kA.substr(1) +
          "  short\n" + kC + "  long\n" + kA.substr(1) + "g  no-hex\n" + "SHA512 (x) = " + kA + "\n",
      "sha256");
  EXPECT_EQ(file.by_name, (std::map<std::string, std::string>{{"a.img", kA}}));
  EXPECT_EQ(file.bad_lines, 7u);
  EXPECT_TRUE(ParseChecksumFile(kA + "  a.img\n", "crc32").by_name.empty());
}

TEST(ChecksumFile, TwoSumsForOneNameAreNone) {
  const ChecksumFile file = ParseChecksumFile(kA + "  a\n" + kB + "  a\n" + kA + "  b\n" + kA + "  b\n", "sha256");
  EXPECT_EQ(file.by_name, (std::map<std::string, std::string>{{"b", kA}}));
  EXPECT_EQ(file.bad_lines, 1u);
}

class SidecarTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(dir_ / "sub");
    PutFile(dir_ / "sub/a.img", "content");
    backend_ = MakeSidecar(std::make_unique<DirBackend>(dir_.path(), 4));
  }
  std::string Find() {
    auto info = backend_->Stat("sub/a.img", {});
    if (!info) return info.error().ToString();
    auto sum = backend_->FindChecksum(info->image, {});
    if (!sum) return sum.error().ToString();
    return *sum ? (*sum)->algorithm + ":" + (*sum)->hex : "none";
  }
  TempDir dir_;
  std::unique_ptr<Backend> backend_;
};

TEST_F(SidecarTest, LooksInOrder) {
  EXPECT_EQ(Find(), "none");
  PutFile(dir_ / "SHA256SUMS", kA + "  sub/a.img\n" + kA + "  a.img\n");
  EXPECT_EQ(Find(), "none") << "of another directory";
  PutFile(dir_ / "sub/SHA256SUMS", kA + "  other.img\n" + kB + " *./a.img\n");
  EXPECT_EQ(Find(), "sha256:" + kB);
  PutFile(dir_ / "sub/SHA512SUMS", kC + "  a.img\n");
  EXPECT_EQ(Find(), "sha512:" + kC);
  PutFile(dir_ / "sub/a.img.sha256", kA + "\n");
  EXPECT_EQ(Find(), "sha256:" + kA);
  PutFile(dir_ / "sub/a.img.sha512", kC + "  b.img\n" + kD + "  a.img\n");
  EXPECT_EQ(Find(), "sha512:" + kD);
}

TEST_F(SidecarTest, SeesANewVersionOfTheFile) {
  PutFile(dir_ / "sub/SHA256SUMS", kA + "  a.img\n");
  EXPECT_EQ(Find(), "sha256:" + kA);
  EXPECT_EQ(Find(), "sha256:" + kA);
  PutFile(dir_ / "new", kB + "  a.img\n");
  std::filesystem::rename(dir_ / "new", dir_ / "sub/SHA256SUMS");
  EXPECT_EQ(Find(), "sha256:" + kB);
}

TEST_F(SidecarTest, MalformedOrHugeOnesAreNone) {
  PutFile(dir_ / "sub/a.img.sha512", "this is not a checksum\n");
  PutFile(dir_ / "sub/a.img.sha256", kA + "  x\n" + kB + "  y\n");
  PutFile(dir_ / "sub/SHA512SUMS", "");
  std::filesystem::create_directory(dir_ / "sub/SHA256SUMS");
  EXPECT_EQ(Find(), "none");
  PutFile(dir_ / "sub/a.img.sha512", kC + "  a.img\n");
  std::filesystem::resize_file(dir_ / "sub/a.img.sha512", (4 << 20) + 1);
  EXPECT_EQ(Find(), "none");
}

TEST_F(SidecarTest, CannotAskIsNotNone) {
  auto info = backend_->Stat("sub/a.img", {});
  ASSERT_OK(info);
  std::filesystem::rename(dir_.path(), dir_.path() + ".away");
  EXPECT_EQ(CodeOf(backend_->FindChecksum(info->image, {})), "unavailable");
  std::filesystem::rename(dir_.path() + ".away", dir_.path());
}

TEST_F(SidecarTest, CanBeSwitchedOff) {
  PutFile(dir_ / "sub/a.img.sha256", kA + "\n");
  BackendOptions options = QuickOptions();
  backend_ = Make(dir_.path(), options);
  EXPECT_EQ(Find(), "sha256:" + kA);
  options.checksums = false;
  backend_ = Make(dir_.path(), options);
  EXPECT_EQ(Find(), "none");
}

}  // namespace
}  // namespace glintfs::testing
