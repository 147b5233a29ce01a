#include "fs/cache/chunk_set.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace glintfs {
namespace {

TEST(ChunkSet, AgreesWithASetUnderRandomOperations) {
  std::mt19937_64 random(20261120);
  for (const uint64_t size : {1u, 63u, 64u, 65u, 1000u}) {
    ChunkSet chunks(size);
    std::set<uint64_t> model;
    for (int i = 0; i < 4000; ++i) {
      const uint64_t c = random() % size;
      if (random() % 2)
        EXPECT_EQ(chunks.Add(c), model.insert(c).second);
      else
        EXPECT_EQ(chunks.Remove(c), model.erase(c) == 1);
      ASSERT_EQ(chunks.count(), model.size());
      const uint64_t from = random() % size, end = from + random() % (size - from + 1);
      uint64_t present = end, absent = end;
      for (uint64_t x = end; x-- > from;) (model.count(x) ? present : absent) = x;
      ASSERT_EQ(chunks.FirstPresent(from, end), present);
      ASSERT_EQ(chunks.FirstAbsent(from, end), absent);
    }
  }
}

TEST(ChunkSet, LoadsWordsAndDropsBitsBeyondItsEnd) {
  ChunkSet chunks(70);
  const uint64_t words[] = {~0ull, ~0ull};
  chunks.LoadWords(0, words);
  EXPECT_EQ(chunks.count(), 70u);
  EXPECT_TRUE(chunks.full());
  EXPECT_EQ(chunks.words()[1], 63u);
}

TEST(ChunkSet, OfNothingIsFull) {
  ChunkSet none(0);
  EXPECT_TRUE(none.full());
  EXPECT_EQ(none.FirstAbsent(0, 0), 0u);
}

}  // namespace
}  // namespace glintfs
