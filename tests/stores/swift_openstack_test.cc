// Swift as a part of OpenStack: logins of Keystone, and images that a real Glance has put there.
#include <fmt/format.h>

#include <set>

#include "tests/backends/fetching.h"
#include "tests/stores/swift_environment.h"
#include "tests/stores/swift_store.h"
#include "tests/support/openstack.h"

namespace glintfs::testing {
namespace {

std::set<std::string> ListAll(Backend& backend) {
  std::set<std::string> names;
  std::string cursor;
  do {
    const auto page = backend.List("", cursor, {});
    if (!page) throw std::runtime_error(page.error().ToString());
    for (const ListEntry& entry : page->entries) names.insert(entry.name);
    cursor = page->next_cursor;
  } while (!cursor.empty());
  return names;
}

TEST(SwiftOpenStackTest, ImagesThatGlanceHasStored) {
  Swift& swift = SharedSwift();
  // Images of more than 1 MiB become segments of 1 MiB.
  const auto glance = Glance::Start({.keystone = nullptr,
                                     .catalog = nullptr,
                                     .store = {"swift_store_auth_version = 1", "swift_store_auth_address = " + swift.auth_url(),
                                               std::string("swift_store_user = ") + Swift::kUser,
                                               std::string("swift_store_key = ") + Swift::kKey, "swift_store_container = glance",
                                               "swift_store_create_container_on_put = true", "swift_store_large_object_size = 1",
                                               "swift_store_large_object_chunk_size = 1"},
                                     .store_type = "swift",
                                     .environment = {}});
  const std::string small = UuidFor("swift small"), large = UuidFor("swift large");
  const std::string small_bytes = PatternBytes(300'000, 1), large_bytes = PatternBytes((3 << 20) + 12'345, 2);
  glance->Upload({.id = small, .name = "small"}, small_bytes);
  glance->Upload({.id = large, .name = "large"}, large_bytes);
  EXPECT_EQ(swift.Request("HEAD", fmt::format("/glance/{}-00004", large)).status, 200) << "it is in segments";

  const auto backend = Make("swift://glance", SwiftOptions());
  EXPECT_EQ(ListAll(*backend), (std::set<std::string>{small, large}));
  for (const auto& [id, bytes] : {std::pair(small, small_bytes), std::pair(large, large_bytes)}) {
    const auto info = backend->Stat(id, {});
    ASSERT_OK(info);
    ASSERT_EQ(info->image.size, bytes.size());
    const auto reader = backend->Open(info->image, {});
    ASSERT_OK(reader);
    const auto text = FetchText(**reader, {0, bytes.size()});
    ASSERT_OK(text);
    EXPECT_TRUE(*text == bytes);
    const uint64_t border = bytes.size() > (1 << 20) ? 1 << 20 : 1000;
    EXPECT_EQ(*FetchText(**reader, {border - 3, 7}), bytes.substr(border - 3, 7));
  }
  EXPECT_EQ(CodeOf(backend->Stat(large + "-00001", {})), "not found");
}

TEST(SwiftOpenStackTest, LoginsOfKeystone) {
  const SwiftEnvironment nothing({});
  TempDir dir;
  const auto keystone = Keystone::Start();
  const auto swift = Swift::Start(*keystone);
  keystone->WriteClouds(dir / "clouds.yaml");
  swift->MakeContainer("images");
  const std::string bytes = PatternBytes(300'000, 3);
  swift->Call("PUT", "/images/disk", bytes);

  BackendOptions options = QuickOptions();
  options.openstack.clouds_file = dir / "clouds.yaml";
  options.openstack.cloud = "test";
  const auto backend = Make("swift://images", options);
  ASSERT_OK(backend->Stat("", {}));
  EXPECT_EQ(ListAll(*backend), std::set<std::string>{"disk"});
  const auto info = backend->Stat("disk", {});
  ASSERT_OK(info);
  const auto reader = backend->Open(info->image, {});
  ASSERT_OK(reader);
  EXPECT_EQ(*FetchText(**reader, {1000, 50}), bytes.substr(1000, 50));

  keystone->ExpireTokens();
  const auto renewed = FetchText(**reader, {0, bytes.size()});
  ASSERT_OK(renewed);
  EXPECT_TRUE(*renewed == bytes);

  options.openstack.cloud = "wrong";
  const auto refused = Make("swift://images", options)->Stat("", {});
  EXPECT_EQ(CodeOf(refused), "access denied");
  EXPECT_EQ(refused.error().message.find(Keystone::wrong_password()), std::string::npos) << refused.error().message;

  const auto credential = keystone->AddApplicationCredential("reader");
  const SwiftEnvironment variables({{"OS_AUTH_URL", keystone->url()},
                                    {"OS_AUTH_TYPE", "v3applicationcredential"},
                                    {"OS_APPLICATION_CREDENTIAL_ID", credential.id},
                                    {"OS_APPLICATION_CREDENTIAL_SECRET", credential.secret}});
  const auto by_credential = Make("swift://images");
  ASSERT_OK(by_credential->Stat("disk", {}));
}

}  // namespace
}  // namespace glintfs::testing
