// Real images through the mount: raw and qcow2 with an ext4 file system inside, from a real nginx and from a directory,
// read by qemu-img and by the kernel's own ext4 over a loop device, while they fill.
#include <gmock/gmock.h>
#include <sys/mount.h>

#include <filesystem>
#include <fstream>

#include "tests/mount/harness.h"
#include "tests/support/nginx.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

namespace stdfs = std::filesystem;

// Made once for all tests of the process: a tree of files, and it as disk.raw and disk.qcow2.
class Images {
 public:
  Images() {
    stdfs::create_directory(dir_ / "images");
    for (int i = 0; i < 40; ++i)
      WriteFile(dir_ / ("tree/d" + std::to_string(i % 7) + "/f" + std::to_string(i)), Pattern(700'001, i));
    Must({"qemu-img", "create", "-q", "-f", "raw", dir_ / "images/disk.raw", "96M"});
    Must({"mkfs.ext4", "-q", "-F", "-d", dir_ / "tree", dir_ / "images/disk.raw"});
    Must({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", dir_ / "images/disk.raw", dir_ / "images/disk.qcow2"});
  }
  static const Images& Get() {
    static const Images images;
    return images;
  }
  std::string tree() const { return dir_ / "tree"; }
  std::string images() const { return dir_ / "images"; }

 private:
  static void Must(const std::vector<std::string>& argv) {
    const CommandResult result = RunCommand(argv);
    if (!result.ok()) throw std::runtime_error(argv[0] + ": " + result.err);
  }
  TempDir dir_;
};

class RealImages : public MountTest, public ::testing::WithParamInterface<const char*> {
 protected:
  // The mount of the images by the way the parameter names. With `slow` a fill takes seconds.
  GlintfsMount& Mount(bool slow) {
    const std::string images = Images::Get().images();
    if (std::string(GetParam()) == "nginx") {
      nginx_ = Nginx::Start(images, slow ? "limit_rate 1m;" : "");
      mount_ = std::make_unique<GlintfsMount>(nginx_->url());
    } else {
      mount_ = std::make_unique<GlintfsMount>("dir://" + images, slow ? "fill_rate=10M" : "");
    }
    mount_->Start();
    return *mount_;
  }
  void ExpectRuns(const std::vector<std::string>& argv) {
    const CommandResult result = RunCommand(argv);
    EXPECT_EQ(result.status, 0) << argv[0] << " " << argv[1] << ": " << result.err << result.out;
  }

  std::unique_ptr<Nginx> nginx_;
  std::unique_ptr<GlintfsMount> mount_;
  TempDir dir_;
};

TEST_P(RealImages, QemuImgChecks) {
  GlintfsMount& mount = Mount(false);
  ExpectRuns({"qemu-img", "check", "-q", mount / "disk.qcow2"});
}

TEST_P(RealImages, QemuImgCompares) {
  GlintfsMount& mount = Mount(false);
  ExpectRuns({"qemu-img", "compare", "-q", mount / "disk.qcow2", Images::Get().images() + "/disk.raw"});
  ExpectRuns({"qemu-img", "compare", "-q", "-f", "raw", "-F", "raw", mount / "disk.raw",
              Images::Get().images() + "/disk.raw"});
}

TEST_P(RealImages, QemuImgConverts) {
  GlintfsMount& mount = Mount(false);
  ExpectRuns({"qemu-img", "convert", "-O", "raw", mount / "disk.qcow2", dir_ / "copy.raw"});
  ExpectRuns({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", mount / "disk.raw", dir_ / "copy.qcow2"});
  ExpectRuns({"qemu-img", "compare", "-q", dir_ / "copy.raw", dir_ / "copy.qcow2"});
  ExpectRuns({"qemu-img", "compare", "-q", dir_ / "copy.qcow2", Images::Get().images() + "/disk.raw"});
}

TEST_P(RealImages, Ext4IsLoopMountedWhileTheImageFills) {
  GlintfsMount& mount = Mount(true);
  stdfs::create_directory(dir_ / "ext4");
  ExpectRuns({"mount", "-o", "ro,loop,noload", mount / "disk.raw", dir_ / "ext4"});
  EXPECT_EQ(mount.State("disk.raw"), "partial") << "it was to fill while it is used";
  const CommandResult diff = RunCommand({"diff", "-r", "--exclude=lost+found", Images::Get().tree(), dir_ / "ext4"});
  EXPECT_EQ(diff.status, 0) << diff.out.substr(0, 1000) << diff.err;
  ExpectRuns({"umount", dir_ / "ext4"});
  EXPECT_TRUE(mount.WaitForState("disk.raw", "complete"));
  EXPECT_TRUE(ReadFile(mount / "disk.raw") == ReadFile(Images::Get().images() + "/disk.raw"));
}

INSTANTIATE_TEST_SUITE_P(From, RealImages, ::testing::Values("nginx", "dir"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace glintfs::testing
