// A real Glance: names, checksums, what was purged, what belongs to others.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/backends/fetching.h"
#include "tests/mount/harness.h"
#include "tests/stores/os_environment.h"
#include "tests/support/openstack.h"

namespace glintfs::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

std::string CodeName(Errc code) { return std::string(ErrcName(code)); }

class GlanceReal : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    keystone_ = Keystone::Start().release();
    glance_ = Glance::Start({.keystone = keystone_, .catalog = keystone_}).release();
    clouds_ = new TempDir;
    keystone_->WriteClouds(*clouds_ / "clouds.yaml");
  }
  static void TearDownTestSuite() {
    delete glance_;
    delete keystone_;
    delete clouds_;
    glance_ = nullptr;
    keystone_ = nullptr;
    clouds_ = nullptr;
  }
  BackendOptions Options(const std::string& cloud = "test") {
    BackendOptions options = QuickOptions();
    options.openstack = {.cloud = cloud, .clouds_file = *clouds_ / "clouds.yaml", .interface = {}, .names = true};
    return options;
  }
  std::string Put(const std::string& name, const std::string& bytes) {
    const std::string id = UuidFor(name + std::to_string(++serial_));
    glance_->Upload({.id = id, .name = name}, bytes, keystone_->Token("demo"));
    return id;
  }
  void Patch(const std::string& id, const std::string& field, const json& value) {
    const HttpAnswer answer = Ask({.method = "PATCH",
                                   .url = glance_->url() + "/v2/images/" + id,
                                   .headers = {"Content-Type: application/openstack-images-v2.1-json-patch",
                                               "X-Auth-Token: " + keystone_->Token("admin")},
                                   .body = json::array({{{"op", "replace"}, {"path", "/" + field}, {"value", value}}}).dump(),
                                   .file = {}});
    ASSERT_EQ(answer.status, 200) << answer.body;
  }
  static std::set<std::string> Names(Backend& backend, const std::string& directory) {
    std::set<std::string> names;
    std::string cursor;
    do {
      const auto page = backend.List(directory, cursor, {});
      if (!page) throw std::runtime_error(page.error().ToString());
      for (const ListEntry& entry : page->entries) names.insert(entry.name);
      cursor = page->next_cursor;
    } while (!cursor.empty());
    return names;
  }

  static Keystone* keystone_;
  static Glance* glance_;
  static TempDir* clouds_;
  static int serial_;
  OsEnvironment environment_;
};
Keystone* GlanceReal::keystone_ = nullptr;
Glance* GlanceReal::glance_ = nullptr;
TempDir* GlanceReal::clouds_ = nullptr;
int GlanceReal::serial_ = 0;

TEST_F(GlanceReal, ByNameThroughTheCatalogue) {
  const std::string one = Put("alone", "1"), first = Put("twice", "22"), second = Put("twice", "333"), odd = Put("eq:in:x, y", "4");
  const std::string slash = Put("with/slash", "5"), hidden = Put("hidden", "6"), off = Put("off", "7"),
                    alone_too = Put("Alone", "8");
  const std::string queued = UuidFor("queued");
  glance_->Create({.id = queued, .name = "queued"}, keystone_->Token("demo"));
  Patch(hidden, "os_hidden", true);
  ASSERT_EQ(glance_->Request("POST", "/v2/images/" + off + "/actions/deactivate", keystone_->Token("admin")).status, 204);

  const auto backend = Make("glance://", Options());
  EXPECT_EQ(Names(*backend, "by-name"),
            (std::set<std::string>{"alone", "Alone", "twice~" + first, "twice~" + second, "eq:in:x, y"}));
  const std::set<std::string> ids = Names(*backend, "");
  EXPECT_EQ(ids, (std::set<std::string>{"by-name", one, first, second, odd, slash, alone_too}));
  for (const auto& [name, id] : {std::pair<std::string, std::string>("alone", one), {"Alone", alone_too}, {"twice~" + first, first},
                                 {"twice~" + second, second}, {"eq:in:x, y", odd}}) {
    const auto info = backend->Stat("by-name/" + name, {});
    ASSERT_OK(info);
    EXPECT_TRUE(info->alias);
    EXPECT_EQ(info->image, backend->Stat(id, {})->image);
    EXPECT_EQ(info->image.id.name, id);
  }
  for (const std::string& name : {std::string("twice"), std::string("queued"), std::string("off"), "alone~" + second})
    EXPECT_EQ(CodeOf(backend->Stat("by-name/" + name, {})), CodeName(Errc::kNotFound)) << name;
  for (const std::string& id : {queued, off}) EXPECT_EQ(CodeOf(backend->Stat(id, {})), CodeName(Errc::kNotFound));
  EXPECT_EQ(backend->Stat(hidden, {})->image.size, 1u) << "by its id";

  BackendOptions without = Options();
  without.openstack.names = false;
  const auto plain = Make("glance://", without);
  EXPECT_FALSE(Names(*plain, "").contains("by-name"));
  EXPECT_EQ(CodeOf(plain->Stat("by-name", {})), CodeName(Errc::kNotFound));
}

// Through the program: one image, one file in the cache, under both names.
TEST_F(GlanceReal, AMountServesNamesOfCachedImagesWithoutGlance) {
  const std::string bytes = PatternBytes(3'000'000), id = Put("debian 12", bytes);
  Put("not cached", "x");
  const std::string options = "names=yes,cloud=test,attr_ttl=1s,clouds_file=" + (*clouds_ / "clouds.yaml");
  GlintfsMount mount("glance://127.0.0.1:" + std::to_string(glance_->port()), options);
  mount.Start();
  EXPECT_TRUE(ReadFile(mount / "by-name/debian 12") == bytes);
  struct stat named{}, own{};
  ASSERT_EQ(::stat((mount / "by-name/debian 12").c_str(), &named), 0);
  ASSERT_EQ(::stat((mount / id).c_str(), &own), 0);
  EXPECT_EQ(named.st_ino, own.st_ino);
  ASSERT_TRUE(mount.WaitForState(id, "verified"));
  EXPECT_TRUE(mount.Ctl({"pin", "by-name/debian 12"}).ok());
  EXPECT_EQ(mount.Get("/v1/images/" + id)["pinned"], true);
  ASSERT_EQ(mount.Stop(), 0);
  glance_->Freeze();
  mount.set_options(options + ",ask_timeout=3s");
  mount.Start();
  EXPECT_TRUE(ReadFile(mount / "by-name/debian 12") == bytes);
  EXPECT_TRUE(ReadFile(mount / id) == bytes);
  EXPECT_EQ(testing::Names(mount / "by-name"), std::vector<std::string>{"debian 12"});
  glance_->Thaw();
}

TEST_F(GlanceReal, ChecksumsAreOfTheVersion) {
  const std::string known = Put("sum", "abc");
  const auto backend = Make("glance://", Options());
  const auto info = backend->Stat(known, {});
  ASSERT_OK(info);
  EXPECT_EQ(info->image.id.version.substr(0, 15), "sha512:ddaf35a1");
  const auto sum = backend->FindChecksum(info->image, {});
  ASSERT_OK(sum);
  EXPECT_EQ((*sum)->algorithm, "sha512");
  EXPECT_GT(info->image.mtime, std::chrono::hours(24 * 365 * 50));

  const std::string planted = UuidFor("planted");
  std::ofstream(glance_->FileOf(planted)) << "somebody else's";
  glance_->Plant({{.id = planted, .name = "planted", .size = 15, .md5 = {}, .sha512 = {}}}, "");
  Patch(planted, "visibility", "public");
  const auto other = backend->Stat(planted, {});
  ASSERT_OK(other);
  EXPECT_EQ(other->image.id.version.substr(0, 3), "at:");
  EXPECT_EQ(*backend->FindChecksum(other->image, {}), std::nullopt);
  EXPECT_EQ(FetchText(**backend->Open(other->image, {}), {9, 6}).value_or(""), "else's");
}

TEST_F(GlanceReal, AnIdThatWasPurgedAndGivenOutAnewIsStale) {
  const std::string id = UuidFor("purged");
  glance_->Upload({.id = id, .name = "purged"}, "before", keystone_->Token("demo"));
  const auto backend = Make("glance://", Options());
  const auto info = backend->Stat(id, {});
  ASSERT_OK(info);
  auto early = std::move(*backend->Open(info->image, {})), late = std::move(*backend->Open(info->image, {}));
  EXPECT_EQ(FetchText(*early, {0, 6}).value_or(""), "before");
  EXPECT_EQ(glance_->Request("DELETE", "/v2/images/" + id, keystone_->Token("demo")).status, 204);
  EXPECT_EQ(CodeOf(FetchText(*early, {0, 6})), CodeName(Errc::kNotFound));
  EXPECT_EQ(CodeOf(FetchText(*late, {0, 6})), CodeName(Errc::kNotFound));
  EXPECT_EQ(glance_->Request("POST", "/v2/images", keystone_->Token("demo"), json{{"id", id}}.dump()).status, 409)
      << "an id is not given out twice";
  glance_->Purge(id);
  glance_->Upload({.id = id, .name = "purged"}, "after!", keystone_->Token("demo"));
  EXPECT_EQ(CodeOf(FetchText(*early, {1, 2})), CodeName(Errc::kStale));
  EXPECT_EQ(CodeOf(FetchText(*late, {1, 2})), CodeName(Errc::kStale));
}

TEST_F(GlanceReal, ImagesOfOtherProjects) {
  const std::string own = UuidFor("of-admin"), shown = UuidFor("public-of-admin"), community = UuidFor("community-of-admin");
  glance_->Upload({.id = own, .name = "of-admin", .visibility = "private"}, "x", keystone_->Token("admin"));
  glance_->Upload({.id = shown, .name = "public", .visibility = "public"}, "x", keystone_->Token("admin"));
  glance_->Upload({.id = community, .name = "community", .visibility = "community"}, "x", keystone_->Token("admin"));
  const auto backend = Make("glance://", Options());
  const std::set<std::string> ids = Names(*backend, "");
  EXPECT_FALSE(ids.contains(own));
  EXPECT_TRUE(ids.contains(shown));
  EXPECT_FALSE(ids.contains(community)) << "as in `openstack image list`";
  EXPECT_EQ(CodeOf(backend->Stat(own, {})), CodeName(Errc::kNotFound));
  EXPECT_EQ(CodeOf(backend->Stat(community, {})), "ok");
  EXPECT_EQ(CodeOf(Make("glance://", Options("admin"))->Stat(own, {})), "ok");
}

TEST_F(GlanceReal, TheRoleOfAReaderIsEnough) {
  const std::string id = Put("read", "only");
  const Keystone::Credential credential = keystone_->AddApplicationCredential("reading", "reader");
  environment_.Set("OS_AUTH_URL", keystone_->url());
  environment_.Set("OS_APPLICATION_CREDENTIAL_ID", credential.id);
  environment_.Set("OS_APPLICATION_CREDENTIAL_SECRET", credential.secret);
  const auto backend = Make("glance://", QuickOptions());
  EXPECT_TRUE(Names(*backend, "").contains(id));
  EXPECT_EQ(FetchText(**backend->Open(backend->Stat(id, {})->image, {}), {0, 4}).value_or(""), "only");
}

TEST_F(GlanceReal, SourcesThatAreNoGlance) {
  const auto url = [&](const std::string& rest) { return "glance://127.0.0.1:" + std::to_string(glance_->port()) + rest; };
  EXPECT_EQ(CodeOf(Make(url("/nowhere"), Options())->Stat("", {})), CodeName(Errc::kInvalid));
  EXPECT_EQ(CodeOf(Make(url("/v2"), Options())->Stat("", {})), "ok");
  const auto anonymous = Make(url(""), QuickOptions())->Stat("", {});
  EXPECT_EQ(CodeOf(anonymous), CodeName(Errc::kAccessDenied));
  EXPECT_THAT(anonymous.error().message, HasSubstr("OS_CLOUD"));
  BackendOptions elsewhere = Options();
  elsewhere.region = "Nowhere";
  EXPECT_EQ(CodeOf(Make("glance://", elsewhere)->Stat("", {})), CodeName(Errc::kInvalid));
}

TEST_F(GlanceReal, WithoutKeystoneNobodyLogsIn) {
  const auto open = Glance::Start({});
  const std::string id = UuidFor("open");
  open->Upload({.id = id, .name = "open"}, "for all");
  const auto backend = Make("glance://127.0.0.1:" + std::to_string(open->port()), QuickOptions());
  EXPECT_EQ(Names(*backend, ""), std::set<std::string>{id});
  EXPECT_EQ(FetchText(**backend->Open(backend->Stat(id, {})->image, {}), {4, 3}).value_or(""), "all");
}

}  // namespace
}  // namespace glintfs::testing
