// The rbd backend on a real cluster. Images lie as Glance leaves them: complete when they have their protected snapshot "snap".
#include <rbd/librbd.h>

#include <atomic>
#include <thread>

#include "tests/stores/ceph_io.h"
#include "tests/stores/rbd_image_maker.h"

#include "tests/stores/makers.h"

namespace glintfs::testing {
namespace {

class RbdStore final : public CephStore {
 public:
  RbdStore() : CephStore("rbd", "profile rbd-read-only") {}

  StoreTraits traits() const override {
    StoreTraits traits;
    traits.holes = true;
    return traits;
  }
  std::string source() const override { return "rbd://images"; }

  std::string Put(const std::string& name, const Content& content) override {
    RemoveRbdImage(io(), name);
    MakeRbdImage(io(), name, content, {.protect = true});
    return name;
  }

  std::vector<std::string> PutMany(const std::vector<std::string>& names) override {
    constexpr int kThreads = 16;  // most of the time of a snapshot is waiting for the monitor
    const Content content = Content::Of("x");
    std::atomic<size_t> next{0};
    std::atomic<int> failed{0};
    rados_ioctx_t pool = io();
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i)
      threads.emplace_back([&] {
        for (size_t at = next++; at < names.size(); at = next++) {
          try {
            MakeRbdImage(pool, names[at], content, {.features = RBD_FEATURE_LAYERING});
          } catch (const std::runtime_error&) {
            ++failed;
          }
        }
      });
    for (std::thread& thread : threads) thread.join();
    if (failed != 0) throw std::runtime_error(fmt::format("{} images could not be made", failed.load()));
    return names;
  }

  void Remove(const std::string& name) override { RemoveRbdImage(io(), name); }
};

}  // namespace

std::unique_ptr<Store> MakeRbdStore() { return std::make_unique<RbdStore>(); }

INSTANTIATE_TEST_SUITE_P(Rbd, ContractTest, ::testing::Values(&MakeRbdStore));
INSTANTIATE_TEST_SUITE_P(Rbd, MountContractTest, ::testing::Values(&MakeRbdStore));

}  // namespace glintfs::testing
