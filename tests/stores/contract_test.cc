// What every backend keeps, tried on the real store behind each.
#include "tests/backends/fetching.h"
#include "tests/stores/store.h"

namespace glintfs::testing {
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(ContractTest);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(MountContractTest);

TEST_P(ContractTest, AnImageIsItsBytes) {
  Store& store = SharedStore(GetParam());
  const Content content = Content::Of(PatternBytes(1'000'003));
  const std::string name = store.Put("plain", content);
  const auto backend = Make(store.source(), store.options());
  const auto info = backend->Stat(name, {});
  ASSERT_OK(info);
  ASSERT_FALSE(info->is_directory);
  EXPECT_EQ(info->image.size, content.size);
  const auto reader = backend->Open(info->image, {});
  ASSERT_OK(reader);
  const auto text = FetchText(**reader, {0, content.size});
  ASSERT_OK(text);
  EXPECT_TRUE(*text == content.Bytes({0, content.size}));
}

}  // namespace glintfs::testing
