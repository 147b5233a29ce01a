// Tests of the rbd backend against the real store: kinds of images, snapshots that come and go, heads, and who may ask.
#include <rbd/librbd.h>

#include <nlohmann/json.hpp>
#include <set>

#include "backends/ceph/settings.h"
#include "backends/rbd/rbd_image.h"
#include "tests/backends/fetching.h"
#include "tests/stores/ceph_io.h"
#include "tests/stores/rbd_image_maker.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

constexpr uint64_t kMi = 1 << 20;

// One cluster for all tests: pools "images" and "data", user "reader" who may read.
class RbdTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    ceph_ = Ceph::Start().release();
    ceph_->MakePool("images", "rbd");
    ceph_->MakePool("data", "rbd");
    ceph_->AddUser("reader", {"mon", "profile rbd", "osd", "profile rbd-read-only pool=images, profile rbd-read-only pool=data"});
    io_ = new CephIo(*ceph_, "images");
  }
  static void TearDownTestSuite() {
    delete io_;
    delete ceph_;
  }

  static BackendOptions Options() {
    BackendOptions options = QuickOptions();
    options.ceph.conf = ceph_->conf();
    options.ceph.id = "reader";
    return options;
  }
  static rados_ioctx_t io() { return io_->get(); }

  ImageInfo Info(Backend& backend, const std::string& name) {
    auto info = backend.Stat(name, {});
    if (!info) throw std::runtime_error(info.error().ToString());
    return info->image;
  }
  std::unique_ptr<ImageReader> OpenNow(Backend& backend, const std::string& name) {
    return std::move(*backend.Open(Info(backend, name), {}));
  }

  // Reads all of it and its holes: the bytes are right, no hole has data, and holes are at least `zeros` bytes.
  void ExpectImage(Backend& backend, const std::string& name, const Content& content, uint64_t zeros) {
    SCOPED_TRACE(name);
    ASSERT_EQ(Info(backend, name).size, content.size);
    const auto reader = OpenNow(backend, name);
    const auto text = FetchText(*reader, {0, content.size});
    ASSERT_OK(text);
    EXPECT_TRUE(*text == content.Bytes({0, content.size}));
    const auto holes = reader->Holes({});
    ASSERT_OK(holes);
    uint64_t sum = 0, after = 0;
    for (const Extent& hole : *holes) {
      EXPECT_GE(hole.offset, after);
      after = hole.end();
      EXPECT_LE(after, content.size);
      sum += hole.length;
      EXPECT_EQ(text->find_first_not_of('\0', hole.offset) < hole.end(), false) << hole.offset << "+" << hole.length << " has data";
    }
    EXPECT_GE(sum, zeros);
  }

  static Ceph* ceph_;
  static CephIo* io_;
};
Ceph* RbdTest::ceph_ = nullptr;
CephIo* RbdTest::io_ = nullptr;

Content Sparse() {
  return {25 * kMi + 12345,
          {{100, PatternBytes(5000, 1)}, {9 * kMi - 7, PatternBytes(14, 2)}, {25 * kMi + 12340, PatternBytes(5, 3)}}};
}

TEST_F(RbdTest, KindsOfImages) {
  const auto backend = Make("rbd://images", Options());
  const Content content = Sparse();
  const uint64_t plain = RBD_FEATURE_LAYERING;
  MakeRbdImage(io(), "kind-default", content, {});
  ExpectImage(*backend, "kind-default", content, 12 * kMi);
  MakeRbdImage(io(), "kind-plain", content, {.features = plain});
  ExpectImage(*backend, "kind-plain", content, 12 * kMi);
  MakeRbdImage(io(), "kind-striped", content,
               {.features = plain | RBD_FEATURE_STRIPINGV2, .stripe_unit = 64 << 10, .stripe_count = 3});
  ExpectImage(*backend, "kind-striped", content, 0);
  MakeRbdImage(io(), "kind-small-objects", content, {.order = 16});
  ExpectImage(*backend, "kind-small-objects", content, 24 * kMi);
  MakeRbdImage(io(), "kind-large-objects", content, {.order = 25});
  ExpectImage(*backend, "kind-large-objects", content, 0);
  MakeRbdImage(io(), "kind-data-pool", content, {.data_pool = "data"});
  ExpectImage(*backend, "kind-data-pool", content, 12 * kMi);
}

TEST_F(RbdTest, AnObjectMapThatIsNotRightMakesNoHoles) {
  const Content content = Sparse();
  MakeRbdImage(io(), "map", content, {});
  const auto backend = Make("rbd://images", Options());
  // As a crash leaves it: the map of the snapshot is of no use.
  const ImageInfo info = Info(*backend, "map");
  const auto version = RbdVersion::Parse(info.id.version);
  ASSERT_TRUE(version);
  const std::string object = fmt::format("rbd_object_map.{}.{:016x}", version->image_id, version->snapshot);
  ASSERT_EQ(::rados_write_full(io(), object.c_str(), "junk", 4), 0) << object;
  ExpectImage(*backend, "map", content, 0);
}

TEST_F(RbdTest, ACloneHasTheDataOfItsParent) {
  Content content = Sparse();
  MakeRbdImage(io(), "parent", content, {.protect = true});
  int order = 0;
  ASSERT_EQ(::rbd_clone(io(), "parent", "snap", io(), "clone", RBD_FEATURE_LAYERING, &order), 0);
  const Piece own{20 * kMi, PatternBytes(3000, 9)};
  {
    OpenedRbd clone(io(), "clone");
    clone.Write({content.size, {own}});
    clone.Snapshot("first");
  }
  content.pieces.insert(content.pieces.begin() + 2, own);
  const auto backend = Make("rbd://images", Options());
  ExpectImage(*backend, "clone", content, 8 * kMi);
  const ImageInfo before = Info(*backend, "clone");
  const auto reader = OpenNow(*backend, "clone");
  {
    OpenedRbd clone(io(), "clone");
    ASSERT_EQ(::rbd_flatten(clone.get()), 0);
  }
  const auto text = FetchText(*reader, {0, content.size});
  ASSERT_OK(text);
  EXPECT_TRUE(*text == content.Bytes({0, content.size})) << "flattened meanwhile";
  EXPECT_EQ(Info(*backend, "clone"), before);
}

TEST_F(RbdTest, ASnapshotIsAsLargeAsTheImageWasThen) {
  MakeRbdImage(io(), "resized", Content::Of(PatternBytes(6 * kMi)), {});
  {
    OpenedRbd image(io(), "resized");
    ASSERT_EQ(::rbd_resize(image.get(), 3 * kMi), 0);
    image.Write({3 * kMi, {{0, PatternBytes(1000, 5)}}});
  }
  const auto backend = Make("rbd://images", Options());
  ExpectImage(*backend, "resized", Content::Of(PatternBytes(6 * kMi)), 0);
}

TEST_F(RbdTest, TheProtectedSnapElseTheNewestSnapshot) {
  const auto backend = Make("rbd://images", Options());
  MakeRbdImage(io(), "which", Content::Of("one"), {.snapshot = ""});
  EXPECT_EQ(CodeOf(backend->Stat("which", {})), "not found") << "no snapshot yet";
  OpenedRbd image(io(), "which");
  const auto text = [&] { return *FetchText(*OpenNow(*backend, "which"), {0, 3}); };
  image.Snapshot("a");
  image.Write(Content::Of("two"));
  EXPECT_EQ(text(), "one");
  image.Snapshot("snap");
  image.Write(Content::Of("3rd"));
  EXPECT_EQ(text(), "two");
  image.Snapshot("c");
  EXPECT_EQ(text(), "3rd") << "snap is not protected";
  ASSERT_EQ(::rbd_snap_protect(image.get(), "snap"), 0);
  EXPECT_EQ(text(), "two");
  EXPECT_GT(Info(*backend, "which").mtime, std::chrono::seconds(1'600'000'000));
}

// ---- What is gone is never zeros.

TEST_F(RbdTest, ASnapshotDeletedDuringAFetchIsNeverPassedOnAsZeros) {
  const std::string bytes = PatternBytes(60 * kMi, 3);
  MakeRbdImage(io(), "vanishing", Content::Of(bytes), {});
  const auto backend = Make("rbd://images", Options());
  const auto reader = OpenNow(*backend, "vanishing");
  std::string passed;
  struct Sink final : DataSink {
    explicit Sink(std::function<void(std::span<const std::byte>)> what) : action(std::move(what)) {}
    bool Write(std::span<const std::byte> data) override { return action(data), true; }
    std::function<void(std::span<const std::byte>)> action;
  } sink([&](std::span<const std::byte> data) {
    if (passed.empty()) RemoveRbdImage(io(), "vanishing");
    passed.append(reinterpret_cast<const char*>(data.data()), data.size());
  });
  EXPECT_EQ(CodeOf(reader->Fetch({0, bytes.size()}, sink, {})), "not found");
  EXPECT_LT(passed.size(), bytes.size());
  EXPECT_TRUE(bytes.starts_with(passed)) << "what was passed on is right";
  EXPECT_EQ(CodeOf(FetchText(*reader, {0, 100})), "not found");
  EXPECT_EQ(CodeOf(reader->Holes({})), "not found") << "an image that is gone has no holes";
  MakeRbdImage(io(), "vanishing", Content::Of(bytes), {});
  EXPECT_EQ(CodeOf(FetchText(*reader, {0, 100})), "stale") << "the same bytes, but another image";
}

TEST_F(RbdTest, ASnapshotInTheTrashIsGone) {
  MakeRbdImage(io(), "trashed", Content::Of(PatternBytes(kMi)), {});
  ceph_->Run({"rbd", "clone", "--rbd-default-clone-format", "2", "images/trashed@snap", "images/trashed-child"});
  const auto backend = Make("rbd://images", Options());
  const auto reader = OpenNow(*backend, "trashed");
  EXPECT_EQ(CodeOf(FetchText(*reader, {0, kMi})), "ok");
  {
    OpenedRbd image(io(), "trashed");
    ASSERT_EQ(::rbd_snap_remove(image.get(), "snap"), 0);  // its child keeps it in the trash
    rbd_snap_info_t snaps[4];
    int max = 4;
    ASSERT_EQ(::rbd_snap_list(image.get(), snaps, &max), 1);
    ::rbd_snap_list_end(snaps);
  }
  EXPECT_EQ(CodeOf(FetchText(*reader, {0, kMi})), "not found");
  EXPECT_EQ(CodeOf(backend->Stat("trashed", {})), "not found");
}

// ---- Heads.

TEST_F(RbdTest, HeadsOfImagesWithoutSnapshots) {
  BackendOptions options = Options();
  options.ceph.rbd_head = true;
  const auto backend = Make("rbd://images", options);
  MakeRbdImage(io(), "head", Content::Of(PatternBytes(5 * kMi)), {.snapshot = ""});
  ExpectImage(*backend, "head", Content::Of(PatternBytes(5 * kMi)), 0);
  const ImageInfo before = Info(*backend, "head");
  const auto reader = OpenNow(*backend, "head");
  {
    OpenedRbd image(io(), "head");
    EXPECT_EQ(CodeOf(FetchText(*reader, {0, 100})), "busy") << "it is open for writing";
    image.Write({5 * kMi, {{0, PatternBytes(100, 4)}}});
  }
  EXPECT_EQ(CodeOf(FetchText(*reader, {0, 100})), "stale");
  EXPECT_NE(Info(*backend, "head").id.version, before.id.version);
  EXPECT_EQ(*FetchText(*OpenNow(*backend, "head"), {0, 100}), PatternBytes(100, 4));
  {
    OpenedRbd image(io(), "head");
    image.Snapshot("now");
  }
  EXPECT_TRUE(RbdVersion::Parse(Info(*backend, "head").id.version)->snapshot != LIBRADOS_SNAP_HEAD) << "snapshots come first";
  MakeRbdImage(io(), "head-plain", Content::Of("x"), {.features = RBD_FEATURE_LAYERING, .snapshot = ""});
  EXPECT_EQ(CodeOf(backend->Stat("head-plain", {})), "not supported") << "no exclusive lock";
}

TEST_F(RbdTest, AWriteDuringTheFetchOfAHeadIsNeverPassedOn) {
  BackendOptions options = Options();
  options.ceph.rbd_head = true;
  const auto backend = Make("rbd://images", options);
  const std::string bytes = PatternBytes(60 * kMi, 3);
  MakeRbdImage(io(), "moving", Content::Of(bytes), {.snapshot = ""});
  const auto reader = OpenNow(*backend, "moving");
  size_t passed = 0;
  CallbackSink sink([&](size_t seen) {
    if (passed == 0) OpenedRbd(io(), "moving").Write({bytes.size(), {{59 * kMi, std::string(1000, 'w')}}});
    passed = seen;
    return true;
  });
  EXPECT_EQ(CodeOf(reader->Fetch({0, bytes.size()}, sink, {})), "stale");
  EXPECT_LT(passed, 59 * kMi);
}

// ---- Namespaces, users, pools.

TEST_F(RbdTest, ANamespaceIsASourceOfItsOwn) {
  ceph_->Run({"rbd", "namespace", "create", "images/tenant"});
  CephIo tenant(*ceph_, "images", "tenant");
  MakeRbdImage(tenant.get(), "inside", Content::Of("inside"), {});
  MakeRbdImage(io(), "outside", Content::Of("outside"), {});
  ceph_->AddUser("tenant", {"mon", "profile rbd", "osd", "profile rbd-read-only pool=images namespace=tenant"});
  BackendOptions options = Options();
  options.ceph.id = "tenant";
  const auto backend = Make("rbd://images/tenant", options);
  ASSERT_OK(backend->Stat("", {}));
  ExpectImage(*backend, "inside", Content::Of("inside"), 0);
  EXPECT_EQ(CodeOf(backend->Stat("outside", {})), "not found");
  const auto listing = backend->List("", "", {});
  ASSERT_OK(listing);
  ASSERT_EQ(listing->entries.size(), 1u);
  EXPECT_EQ(listing->entries[0].name, "inside");
  EXPECT_EQ(CodeOf(Make("rbd://images", Options())->Stat("inside", {})), "not found");
  EXPECT_EQ(CodeOf(Make("rbd://images", options)->Stat("", {})), "access denied") << "the default namespace is not theirs";
  EXPECT_EQ(CodeOf(Make("rbd://images/nobody", Options())->Stat("", {})), "not found");
}

TEST_F(RbdTest, WhoMayNotAskIsToldWhichSettingsToLookAt) {
  const auto refused = [](const BackendOptions& options, const std::string& source = "rbd://images") {
    const auto stat = Make(source, options)->Stat("", {});
    return stat ? "ok" : stat.error().ToString();
  };
  const auto has = [](const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; };
  EXPECT_EQ(refused(Options()), "ok");
  EXPECT_TRUE(has(refused(Options(), "rbd://nopool"), "not found")) << refused(Options(), "rbd://nopool");

  BackendOptions nobody = Options();
  nobody.ceph.id = "nobody";
  EXPECT_TRUE(has(refused(nobody), "access denied") && has(refused(nobody), "ceph_id=") && has(refused(nobody), "ceph_keyring="))
      << refused(nobody);

  ceph_->AddUser("poor", {"mon", "allow r"});
  BackendOptions poor = Options();
  poor.ceph.id = "poor";
  EXPECT_TRUE(has(refused(poor), "access denied") && has(refused(poor), "client.poor")) << refused(poor);

  BackendOptions junk = Options();
  junk.ceph.keyring = ceph_->directory() + "/junk.keyring";
  PutFile(junk.ceph.keyring, "[client.reader]\n\tkey = AQdeadbeef\n");
  EXPECT_TRUE(has(refused(junk), "access denied")) << refused(junk);
  EXPECT_FALSE(has(refused(junk), "AQdeadbeef"));

  BackendOptions missing = Options();
  missing.ceph.conf = "/nonexistent/ceph.conf";
  EXPECT_FALSE(MakeBackend("rbd://images", missing));
}

TEST_F(RbdTest, ABlocklistedClientConnectsAnew) {
  const auto settings = MakeCephSettings("rbd://images", "rbd", Options(), nullptr);
  ASSERT_OK(settings);
  const auto cluster = std::make_shared<Cluster>(*settings);
  const auto first = cluster->GetPool({});
  ASSERT_OK(first);
  EXPECT_EQ(*cluster->GetPool({}), *first);
  char* address = nullptr;
  ASSERT_EQ(::rados_getaddrs((*first)->cluster(), &address), 0);
  const std::string text = address;
  std::free(address);
  ceph_->Command(nlohmann::json{{"prefix", "osd blocklist"}, {"blocklistop", "add"}, {"addr", text}}.dump());
  int result = 0;
  ASSERT_TRUE(WaitFor([&] {  // the OSD learns of it later than the monitor
    result = StatObject(*first, "rbd_directory", {})->result;
    return result != 0 && result != -ENOENT;
  }));
  EXPECT_EQ(result, -ESHUTDOWN);
  EXPECT_EQ(cluster->Failed(*first, -result, "x").code, Errc::kUnavailable);
  const auto second = cluster->GetPool({});
  ASSERT_OK(second);
  EXPECT_NE(*second, *first);
  EXPECT_NE(StatObject(*second, "rbd_directory", {})->result, -ESHUTDOWN);
  cluster->Close();
}

// ---- Pure.

TEST(RbdPureTest, VersionsReadBack) {
  const RbdVersion snapshot{.pool = 7, .image_id = "1034ab", .snapshot = 12, .header = 0, .mtime = 0, .size = 99};
  const RbdVersion head{.pool = 7, .image_id = "1034ab", .snapshot = LIBRADOS_SNAP_HEAD, .header = 5, .mtime = 123, .size = 99};
  for (const RbdVersion& version : {snapshot, head})
    EXPECT_EQ(RbdVersion::Parse(version.ToString()), version) << version.ToString();
  for (const char* bad : {"", "7", "7.", "7.x", "7.x@", "7.x@1", "7.x@1:", "7.x@1:2x", "7.@1:2", "x.y@1:2", "7.x@head.1:2",
                          "7.x@head.:2:3", "7.x@18446744073709551616:1", "7.x@18446744073709551614:1", "7.x@-1:2"})
    EXPECT_FALSE(RbdVersion::Parse(bad)) << bad;
}

TEST(RbdPureTest, AnswersThatMakeNoSenseAreNoSnapshots) {
  const std::string id("\x0c\0\0\0\0\0\0\0", 8), kind("\x01\x01\x04\0\0\0\x02\0\0\0", 10);
  const std::string good = std::string("\x01\x01\x12\0\0\0", 6) + id + kind;
  const auto snapshot = ParseRbdSnapshot(good);
  ASSERT_TRUE(snapshot);
  EXPECT_EQ(snapshot->id, 12u);
  EXPECT_EQ(snapshot->kind, 2u);
  for (size_t size = 0; size < good.size(); ++size) EXPECT_FALSE(ParseRbdSnapshot(good.substr(0, size))) << size;
  std::string newer = good;
  newer[1] = 2;
  EXPECT_FALSE(ParseRbdSnapshot(newer)) << "not to be read by us";
}

TEST(RbdPureTest, SourcesAndCephArgs) {
  BackendOptions options;
  const auto settings = [&](const std::string& source, const char* args = nullptr) {
    return MakeCephSettings(source, "rbd", options, args);
  };
  EXPECT_EQ(settings("rbd://pool/")->source, "rbd://pool");
  EXPECT_EQ(settings("rbd://pool/ns")->name_space, "ns");
  EXPECT_EQ(settings("rbd://pool")->ceph.id, "admin");
  for (const char* bad : {"rbd://", "rbd:///", "rbd://pool//", "rbd://pool/ns/x", "rbd://user@pool", "rbd://..",
                          "rbd://pool?x", "rbd:pool", "rados://pool"})
    EXPECT_EQ(CodeOf(settings(bad)), "invalid") << bad;
  EXPECT_EQ(settings("rbd://pool", "--id glance --cluster=east -c /x.conf")->ceph.id, "glance");
  EXPECT_EQ(settings("rbd://pool", "--id glance --cluster=east -c /x.conf")->ceph.cluster, "east");
  EXPECT_EQ(settings("rbd://pool", "-m 1.2.3.4 --name client.nova --id")->ceph.id, "nova");
  options.ceph.id = "client.own";
  EXPECT_EQ(settings("rbd://pool", "--id glance")->ceph.id, "own") << "a setting comes first";
}

}  // namespace
}  // namespace glintfs::testing
