// The contract of the directory backend on a network file system: CephFS, by ceph-fuse. What it has seen it may answer from memory,
// so that the server's end does not show; hanging calls are tried in Outage.ADirectoryOnAHungNetworkMountHoldsUpNothing.
#include <sys/mount.h>

#include "tests/mount/harness.h"
#include "tests/stores/dir_store.h"
#include "tests/support/ceph.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

class CephFsStore final : public DirStore {
 public:
  CephFsStore() : ceph_(Ceph::Start()) {
    const std::string directory = ceph_->directory();
    ceph_->MakePool("cephfs-data", "cephfs");
    ceph_->MakePool("cephfs-meta", "cephfs");
    ceph_->Run({"ceph", "auth", "get-or-create", "mds.a", "mon", "profile mds", "osd", "allow *", "mds", "allow *", "-o",
                directory + "/mds.a.keyring"});
    ceph_->Run({"ceph", "fs", "new", "images", "cephfs-meta", "cephfs-data"});
    const ProcessOptions quiet{.stdout_path = directory + "/mds.out", .stderr_path = directory + "/mds.out", .death_signal = SIGKILL};
    mds_ = std::make_unique<Process>(std::vector<std::string>{"ceph-mds", "-f", "-c", ceph_->conf(), "-i", "a"}, quiet);
    const auto active = [this] { return ceph_->Command(R"({"prefix": "mds stat"})").find("up:active") != std::string::npos; };
    if (!WaitFor(active, std::chrono::seconds(60)))
      throw std::runtime_error("ceph-mds does not come up: " + ceph_->Command(R"({"prefix": "mds stat"})") + ReadFile(directory + "/mds.out"));
    std::filesystem::create_directory(mountpoint());
    client_ = std::make_unique<Process>(
        std::vector<std::string>{"ceph-fuse", "-f", "-c", ceph_->conf(), "-n", "client.admin", mountpoint()}, quiet);
    if (!WaitFor([this] { return MountType(mountpoint()).starts_with("fuse"); }, std::chrono::seconds(60)))
      throw std::runtime_error("ceph-fuse does not come up: " + ReadFile(directory + "/mds.out"));
    std::filesystem::create_directory(root());
  }
  ~CephFsStore() override {
    ::umount2(mountpoint().c_str(), MNT_DETACH);
    client_.reset();
    mds_.reset();
  }

  StoreTraits traits() const override {
    StoreTraits traits = DirStore::traits();
    traits.holes = false;  // ceph-fuse does not tell
    return traits;
  }

 protected:
  std::string root() const override { return mountpoint() + "/images"; }

 private:
  std::string mountpoint() const { return mount_dir_ / "mnt"; }

  std::unique_ptr<Ceph> ceph_;
  TempDir mount_dir_;
  std::unique_ptr<Process> mds_, client_;
};

std::unique_ptr<Store> MakeCephFsStore() { return std::make_unique<CephFsStore>(); }

INSTANTIATE_TEST_SUITE_P(CephFs, ContractTest, ::testing::Values(&MakeCephFsStore));
INSTANTIATE_TEST_SUITE_P(CephFs, MountContractTest, ::testing::Values(&MakeCephFsStore));

}  // namespace
}  // namespace glintfs::testing
