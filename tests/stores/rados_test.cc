// Tests of the rados backend against the real store.
#include <set>

#include "tests/backends/fetching.h"
#include "tests/stores/ceph_io.h"

namespace glintfs::testing {
namespace {

class RadosTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    ceph_ = Ceph::Start().release();
    // More than one placement group: a listing goes through all.
    ceph_->Command(R"({"prefix": "osd pool create", "pool": "objects", "pg_num": 8, "pgp_num": 8})");
    ceph_->AddUser("reader", {"mon", "allow r", "osd", "allow r pool=objects"});
    io_ = new CephIo(*ceph_, "objects");
  }
  static void TearDownTestSuite() {
    delete io_;
    delete ceph_;
  }
  void SetUp() override { backend_ = Make("rados://objects", Options()); }

  static BackendOptions Options() {
    BackendOptions options = QuickOptions();
    options.ceph.conf = ceph_->conf();
    options.ceph.id = "reader";
    return options;
  }
  static void Put(rados_ioctx_t io, const std::string& name, const std::string& bytes) {
    Must(::rados_write_full(io, name.c_str(), bytes.data(), bytes.size()), name);
  }
  std::multiset<std::string> ListAll(Backend& backend) {
    const auto page = backend.List("", "", {});
    if (!page) throw std::runtime_error(page.error().ToString());
    EXPECT_EQ(page->next_cursor, "");
    std::multiset<std::string> names;
    for (const ListEntry& entry : page->entries) names.insert(entry.name);
    return names;
  }

  static Ceph* ceph_;
  static CephIo* io_;
  std::unique_ptr<Backend> backend_;
};
Ceph* RadosTest::ceph_ = nullptr;
CephIo* RadosTest::io_ = nullptr;

TEST_F(RadosTest, OtherNamespacesAndNamesThatAreNoFilesStayHidden) {
  CephIo other(*ceph_, "objects", "other");
  Put(io_->get(), "here", "here");
  Put(io_->get(), "a/b", "slash");
  Put(io_->get(), "..", "dots");
  Put(io_->get(), "new\nline", "control");
  Put(other.get(), "there", "there");
  const auto names = ListAll(*backend_);
  EXPECT_TRUE(names.contains("here"));
  for (const char* hidden : {"there", "a/b", "..", "new\nline"}) EXPECT_FALSE(names.contains(hidden)) << hidden;
  EXPECT_EQ(CodeOf(backend_->Stat("there", {})), "not found");
  EXPECT_EQ(CodeOf(backend_->Stat("a/b", {})), "not found");
  const auto inside = Make("rados://objects/other", Options());
  EXPECT_EQ(ListAll(*inside), (std::multiset<std::string>{"there"}));
  EXPECT_EQ(inside->Stat("there", {})->image.size, 5u);
}

TEST_F(RadosTest, EveryWriteIsANewVersion) {
  std::set<std::string> versions;
  for (const char* bytes : {"aaa", "bbb", "aaa"}) {
    Put(io_->get(), "changing", bytes);
    const auto info = backend_->Stat("changing", {});
    ASSERT_OK(info);
    EXPECT_TRUE(versions.insert(info->image.id.version).second);
  }
  const ImageInfo last = backend_->Stat("changing", {})->image;
  Must(::rados_remove(io_->get(), "changing"), "remove");
  const auto reader = std::move(*backend_->Open(last, {}));
  EXPECT_EQ(CodeOf(FetchText(*reader, {0, 3})), "not found");
  Put(io_->get(), "changing", "aaa");
  EXPECT_TRUE(versions.insert(backend_->Stat("changing", {})->image.id.version).second) << "removed and made anew";
  EXPECT_EQ(CodeOf(FetchText(*reader, {0, 3})), "stale");
}

TEST_F(RadosTest, AnObjectThatChangesDuringAFetchIsNeverMixed) {
  const std::string bytes = PatternBytes(60 << 20);
  Put(io_->get(), "large", bytes);
  const auto reader = std::move(*backend_->Open(backend_->Stat("large", {})->image, {}));
  size_t passed = 0;
  CallbackSink sink([&](size_t seen) {
    if (passed == 0) Put(io_->get(), "large", PatternBytes(60 << 20, 2));
    passed = seen;
    return true;
  });
  EXPECT_EQ(CodeOf(reader->Fetch({0, bytes.size()}, sink, {})), "stale");
  EXPECT_LE(passed, 36u << 20) << "what was read before the change";
}

TEST_F(RadosTest, AListingGoesThroughAllPlacementGroups) {
  CephIo many(*ceph_, "objects", "many");
  std::multiset<std::string> put;
  for (int i = 0; i < 3000; ++i) {
    put.insert(std::to_string(i));
    Put(many.get(), std::to_string(i), "x");
  }
  EXPECT_EQ(ListAll(*Make("rados://objects/many", Options())), put) << "each of them once";
}

TEST_F(RadosTest, VersionsThatMakeNoSense) {
  Put(io_->get(), "sane", "sane");
  ImageInfo info = backend_->Stat("sane", {})->image;
  for (const char* version : {"x", "1", "1.", "1..2", "1.x.2", "1.0.2", "1.99999999999999999999.2"}) {
    info.id.version = version;
    EXPECT_EQ(CodeOf(backend_->Open(info, {})), "invalid") << version;
  }
}

TEST_F(RadosTest, APoolThatIsGoneIsNoAnswerAboutNames) {
  ceph_->MakePool("passing", "glintfs");
  ceph_->AddUser("passing", {"mon", "allow r", "osd", "allow r"});
  BackendOptions options = Options();
  options.ceph.id = "passing";
  const auto backend = Make("rados://passing", options);
  {
    CephIo io(*ceph_, "passing");
    Put(io.get(), "image", "content");
  }
  const auto info = backend->Stat("image", {});
  ASSERT_OK(info);
  ceph_->Command(R"({"prefix": "osd pool delete", "pool": "passing", "pool2": "passing", "yes_i_really_really_mean_it": true})");
  const auto reader = std::move(*backend->Open(info->image, {}));
  EXPECT_NE(CodeOf(FetchText(*reader, {0, 7})), "ok");
  const std::string gone = CodeOf(backend->Stat("image", {}));
  EXPECT_TRUE(gone == "unavailable" || gone == "not found") << gone;
  ceph_->MakePool("passing", "glintfs");
  {
    CephIo io(*ceph_, "passing");
    Put(io.get(), "image", "new");
  }
  const auto again = Make("rados://passing", options)->Stat("image", {});
  ASSERT_OK(again);
  EXPECT_NE(again->image.id.version, info->image.id.version);
  EXPECT_EQ(again->image.size, 3u);
}

}  // namespace
}  // namespace glintfs::testing
