// From end to end: a Glance keeps images in a store of the test, as its users upload them, and the program shows them byte for
// byte, mounted on the store behind Glance, and on Glance itself.
#ifdef GLINTFS_CEPH
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/backends/fetching.h"
#include "tests/mount/harness.h"
#include "tests/stores/os_environment.h"
#include "tests/support/ceph.h"
#include "tests/support/openstack.h"
#include "tests/support/radosgw.h"
#include "tests/support/s3_client.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

using nlohmann::json;

constexpr uint64_t kMi = 1 << 20;
constexpr uint64_t kSparse = 192 * kMi;
constexpr uint64_t kSparseData = 3 * kMi;

void Must(const std::vector<std::string>& argv) {
  const CommandResult result = RunCommand(argv);
  ASSERT_TRUE(result.ok()) << fmt::format("{}", fmt::join(argv, " ")) << ": " << result.out << result.err;
}

// Bytes of images that reached the cache of `mount` from its source.
uint64_t FetchedBytes(const GlintfsMount& mount) {
  const std::string text = RunCommand({"curl", "-sSf", "--unix-socket", mount.socket(), "http://localhost/metrics"}).out;
  uint64_t sum = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("glintfs_source_received_bytes_total{")) sum += std::stoull(line.substr(line.rfind(' ') + 1));
  return sum;
}

class RealInput : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!CanMount()) return;
    ceph_ = Ceph::Start().release();
    keystone_ = Keystone::Start().release();
    dir_ = new TempDir;
    keystone_->WriteClouds(*dir_ / "clouds.yaml");
    WriteFile(*dir_ / "data.raw", PatternBytes(21 * kMi + 4097, 31));
    WriteFile(*dir_ / "empty.raw", "");
    std::filesystem::resize_file(*dir_ / "empty.raw", kSparse);
    std::fstream sparse(*dir_ / "empty.raw", std::ios::in | std::ios::out | std::ios::binary);
    for (const uint64_t at : {uint64_t{0}, 100 * kMi - 777, kSparse - kMi}) {
      sparse.seekp(static_cast<std::streamoff>(at));
      sparse << PatternBytes(kMi, at + 1);
    }
    sparse.close();
    Must({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", *dir_ / "data.raw", *dir_ / "data.qcow2"});
  }
  static void TearDownTestSuite() {
    delete dir_;
    delete keystone_;
    delete ceph_;
    dir_ = nullptr;
    keystone_ = nullptr;
    ceph_ = nullptr;
  }
  static bool CanMount() { return ::access("/dev/fuse", R_OK | W_OK) == 0 && ::geteuid() == 0; }
  void SetUp() override {
    if (!CanMount()) GTEST_SKIP() << "needs root and /dev/fuse";
  }

  // The three images, through the API; they are in the pool, in the bucket, or in the listing of Glance under these names.
  void UploadTo(Glance& glance) {
    const std::string token = keystone_->Token("demo");
    glance.UploadFile({.id = raw_, .name = "raw"}, *dir_ / "data.raw", token);
    glance.UploadFile({.id = qcow2_, .name = "qcow2", .disk_format = "qcow2"}, *dir_ / "data.qcow2", token);
    glance.UploadFile({.id = sparse_, .name = "mostly zeros"}, *dir_ / "empty.raw", token);
  }

  void ExpectTheImages(const GlintfsMount& mount) {
    for (const auto& [name, file] : {std::pair(raw_, "data.raw"), {qcow2_, "data.qcow2"}, {sparse_, "empty.raw"}}) {
      struct stat st {};
      ASSERT_EQ(::stat((mount / name).c_str(), &st), 0) << name;
      EXPECT_EQ(static_cast<uint64_t>(st.st_size), std::filesystem::file_size(*dir_ / file)) << file;
      Must({"cmp", mount / name, *dir_ / file});
    }
    Must({"qemu-img", "check", "-U", "-f", "qcow2", mount / qcow2_});
    Must({"qemu-img", "compare", "-U", "-f", "qcow2", "-F", "raw", mount / qcow2_, *dir_ / "data.raw"});
    EXPECT_THAT(Names(mount.mountpoint()), ::testing::IsSupersetOf({raw_, qcow2_, sparse_}));
  }

  static Ceph* ceph_;
  static Keystone* keystone_;
  static TempDir* dir_;
  OsEnvironment environment_;
  const std::string raw_ = UuidFor("real-raw"), qcow2_ = UuidFor("real-qcow2"), sparse_ = UuidFor("real-sparse");
};
Ceph* RealInput::ceph_ = nullptr;
Keystone* RealInput::keystone_ = nullptr;
TempDir* RealInput::dir_ = nullptr;

TEST_F(RealInput, GlanceOnRbd) {
  ceph_->MakePool("images", "rbd");
  ceph_->AddUser("glance", {"mon", "profile rbd", "osd", "profile rbd pool=images"});
  ceph_->AddUser("reader", {"mon", "profile rbd", "osd", "profile rbd-read-only pool=images"});
  const auto glance = Glance::Start({.keystone = keystone_,
                                     .store = {"rbd_store_pool = images", "rbd_store_user = glance", "rbd_thin_provisioning = true",
                                               "rbd_store_ceph_conf = " + ceph_->conf()},
                                     .store_type = "rbd"});
  UploadTo(*glance);
  {
    GlintfsMount mount("rbd://images", "ceph_conf=" + ceph_->conf() + ",ceph_id=reader");
    mount.Start();
    Must({"cmp", mount / sparse_, *dir_ / "empty.raw"});
    EXPECT_TRUE(mount.WaitForState(sparse_, "complete")) << mount.State(sparse_);
    const uint64_t moved = FetchedBytes(mount);
    EXPECT_GE(moved, kSparseData);
    EXPECT_LE(moved, kSparseData + 8 * 4 * kMi) << "whole objects around the data, and no zeros";
    ExpectTheImages(mount);
  }
  // The same over Glance's API, which has no ranges with this store: each image is read from its start, once.
  GlintfsMount mount(glance->url().replace(0, 4, "glance"), "cloud=test,names=yes,clouds_file=" + (*dir_ / "clouds.yaml"));
  mount.Start();
  ExpectTheImages(mount);
  Must({"cmp", mount / "by-name/mostly zeros", *dir_ / "empty.raw"});
  for (const std::string& name : {raw_, qcow2_, sparse_}) EXPECT_TRUE(mount.WaitForState(name, "verified")) << mount.State(name);
}

TEST_F(RealInput, GlanceOnS3) {
  const auto gateway = RadosGateway::Start(*ceph_);
  const S3User user = gateway->MakeUser("glance");
  const auto glance = Glance::Start({.keystone = keystone_,
                                     .store = {"s3_store_host = " + gateway->endpoint(), "s3_store_access_key = " + user.access_key,
                                               "s3_store_secret_key = " + user.secret_key, "s3_store_bucket = glance",
                                               "s3_store_create_bucket_on_put = true", "s3_store_bucket_url_format = path",
                                               "s3_store_large_object_size = 16", "s3_store_large_object_chunk_size = 8"},
                                     .store_type = "s3"});
  UploadTo(*glance);
  WriteFile(*dir_ / "keys",
            fmt::format("[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n", user.access_key, user.secret_key));
  ::chmod((*dir_ / "keys").c_str(), 0600);
  GlintfsMount mount("s3://glance", fmt::format("endpoint={},credentials_file={}", gateway->endpoint(), *dir_ / "keys"));
  mount.Start();
  ExpectTheImages(mount);
  GlintfsMount api(glance->url().replace(0, 4, "glance"), "cloud=test,clouds_file=" + (*dir_ / "clouds.yaml"));
  api.Start();
  ExpectTheImages(api);
}

TEST_F(RealInput, GlanceItself) {
  const auto glance = Glance::Start({.keystone = keystone_, .catalog = keystone_});
  UploadTo(*glance);
  GlintfsMount mount("glance://", "cloud=test,names=yes,clouds_file=" + (*dir_ / "clouds.yaml"));
  mount.Start();
  ExpectTheImages(mount);
  EXPECT_EQ(Names(mount / "by-name"), (std::vector<std::string>{"mostly zeros", "qcow2", "raw"}));
  Must({"cmp", mount / "by-name/raw", *dir_ / "data.raw"});
  for (const std::string& name : {raw_, qcow2_, sparse_}) EXPECT_TRUE(mount.WaitForState(name, "verified")) << mount.State(name);
}

}  // namespace
}  // namespace glintfs::testing
#endif
