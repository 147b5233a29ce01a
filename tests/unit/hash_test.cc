#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

#include "fs/cache/cached_image.h"

namespace glintfs {
namespace {

// The hashes stand in the index: whatever vector code this CPU gets, they must be those of XXH3-64. The values are those of
// libxxhash 0.8.1's XXH3_64bits; the lengths are where it changes its way of going about it.
TEST(HashChunk, IsXxh3OnEveryCpu) {
  struct Case {
    size_t length;
    uint64_t hash;
  };
  constexpr Case kCases[] = {{0, 0x2d06800538d394c2},    {3, 0xe14090f554a5ea90},     {16, 0x81e9eb8634460bb9},
                             {100, 0x4ff5f6c0d102cd55},  {240, 0x5eb2467c8c9e3969},   {241, 0x2d431e984c441f15},
                             {4096, 0x9bf67f8deff876ae}, {65537, 0xcab0f544da7981e1}, {262144, 0x2eb9d78a803979a4}};
  std::vector<std::byte> bytes(262144);
  for (uint32_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>((i * 2654435761u) >> 24);
  for (const Case& c : kCases) {
    EXPECT_EQ(HashChunk(std::span(bytes).first(c.length)), c.hash) << c.length << " bytes";
  }
}

}  // namespace
}  // namespace glintfs
