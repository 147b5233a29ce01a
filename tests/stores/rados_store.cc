// The rados backend on a real cluster.
#include "tests/stores/ceph_io.h"

#include "tests/stores/makers.h"

namespace glintfs::testing {
namespace {

class RadosStore final : public CephStore {
 public:
  RadosStore() : CephStore("glintfs", "allow r") {}

  StoreTraits traits() const override {
    StoreTraits traits;
    traits.sparse_put = false;  // an object has at most 128 MiB (osd_max_object_size)
    return traits;
  }
  std::string source() const override { return "rados://images"; }

  std::string Put(const std::string& name, const Content& content) override {
    ::rados_remove(io(), name.c_str());
    // One operation: nobody sees an object that is half there.
    rados_write_op_t op = ::rados_create_write_op();
    ::rados_write_op_create(op, LIBRADOS_CREATE_EXCLUSIVE, nullptr);
    ::rados_write_op_truncate(op, content.size);
    for (const Piece& piece : content.pieces) ::rados_write_op_write(op, piece.bytes.data(), piece.bytes.size(), piece.offset);
    const int err = ::rados_write_op_operate(op, io(), name.c_str(), nullptr, 0);
    ::rados_release_write_op(op);
    Must(err, "writing " + name);
    return name;
  }
  std::vector<std::string> PutMany(const std::vector<std::string>& names) override {
    for (const std::string& name : names) Must(::rados_write_full(io(), name.c_str(), "x", 1), name);
    return names;
  }
  void Remove(const std::string& name) override { Must(::rados_remove(io(), name.c_str()), "removing " + name); }
};

}  // namespace

std::unique_ptr<Store> MakeRadosStore() { return std::make_unique<RadosStore>(); }

INSTANTIATE_TEST_SUITE_P(Rados, ContractTest, ::testing::Values(&MakeRadosStore));
INSTANTIATE_TEST_SUITE_P(Rados, MountContractTest, ::testing::Values(&MakeRadosStore));

}  // namespace glintfs::testing
