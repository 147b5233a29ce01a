#include "fs/cache/readahead.h"

#include <gtest/gtest.h>

#include <random>

namespace glintfs {
namespace {

constexpr uint64_t kMiB = 1 << 20;

// Everything a stream asks for is contiguous, and grows from 1 MiB to 32 MiB ahead of the reader.
TEST(Readahead, WindowOfASequentialStreamDoublesUpTo32MiB) {
  Readahead readahead;
  uint64_t planned = 128 << 10, largest = 0;
  bool first = true;
  for (uint64_t at = 0; at < 512 * kMiB; at += 128 << 10) {
    const auto ahead = readahead.OnRead(at, 128 << 10);
    EXPECT_FALSE(first && ahead) << "one read is no stream";
    first = false;
    if (!ahead) continue;
    EXPECT_LE(ahead->offset, std::max<uint64_t>(planned, at + (128 << 10)));
    planned = ahead->end();
    largest = std::max(largest, planned - at - (128 << 10));
  }
  EXPECT_EQ(largest, 32 * kMiB);
  EXPECT_EQ(readahead.streams(), 1u);
}

TEST(Readahead, RandomReadsAskForNothing) {
  Readahead readahead;
  std::mt19937_64 random(7);
  int asked = 0;
  for (int i = 0; i < 1000; ++i)
    if (readahead.OnRead((random() % 1'000'000) * 4 * kMiB, 4096)) ++asked;
  EXPECT_LE(asked, 2);
}

TEST(Readahead, InterleavedReadersAreEachAStream) {
  Readahead readahead;
  std::vector<uint64_t> planned(16, 0);
  for (int step = 0; step < 64; ++step)
    for (uint64_t reader = 0; reader < 16; ++reader)
      if (auto ahead = readahead.OnRead(reader * 1000 * kMiB + static_cast<uint64_t>(step) * kMiB / 8, kMiB / 8))
        planned[reader] = ahead->end() - reader * 1000 * kMiB;
  EXPECT_EQ(readahead.streams(), 16u);
  for (const uint64_t end : planned) EXPECT_GE(end, 8 * kMiB);
}

TEST(Readahead, RequestsThatOvertakeEachOtherStayOneStream) {
  Readahead readahead;
  for (uint64_t i = 0; i < 100; ++i) readahead.OnRead((i ^ 1) * kMiB, kMiB);  // 1 0 3 2 5 4 …
  EXPECT_EQ(readahead.streams(), 1u);
}

TEST(Readahead, WindowIsBoundedWhenToldSo) {
  Readahead readahead;
  readahead.set_max_window(4 * kMiB);
  for (uint64_t at = 0; at < 64 * kMiB; at += kMiB)
    EXPECT_LE(readahead.OnRead(at, kMiB).value_or(Extent{}).end(), at + kMiB + 4 * kMiB);
}

}  // namespace
}  // namespace glintfs
