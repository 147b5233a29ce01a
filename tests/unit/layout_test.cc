#include "fs/cache/layout.h"

#include <gtest/gtest.h>

namespace glintfs::layout {
namespace {

TEST(Layout, PathsAreAsDocumentedAndParseBack) {
  EXPECT_EQ(DataPath(1, 1), "data/01/1-1");
  EXPECT_EQ(DataPath(511, 7), "data/ff/511-7");
  for (RowId row : {1ull, 255ull, 256ull, 1ull << 40}) {
    const auto name = ParseDataPath(DataPath(row, 3));
    ASSERT_TRUE(name);
    EXPECT_EQ(name->row, row);
    EXPECT_EQ(name->generation, 3u);
  }
}

TEST(Layout, AnythingElseIsNotADataFile) {
  for (const char* path : {"", "data/01/1", "data/01/1-", "data/02/1-1", "data/01/01-1", "data/01/1-1x", "data/1/1-1",
                           "data/01/-1-1", "data/01/1-1/x", "lock", "data/01/99999999999999999999-1"})
    EXPECT_FALSE(ParseDataPath(path)) << path;
}

}  // namespace
}  // namespace glintfs::layout
