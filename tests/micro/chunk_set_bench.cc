// ChunkSet: what every read asks of it (Has), what every stored chunk does to it (Add), and the scans of planning.
#include "fs/cache/chunk_set.h"

#include <benchmark/benchmark.h>

#include <random>
#include <vector>

namespace glintfs {
namespace {

constexpr uint64_t kChunks100GiB = 409'600;  // of 256 KiB

std::vector<uint64_t> RandomChunks(uint64_t below) {
  std::mt19937_64 random(7);
  std::vector<uint64_t> chunks(4096);
  for (uint64_t& chunk : chunks) chunk = random() % below;
  return chunks;
}

void ChunkSetHas(benchmark::State& state) {
  ChunkSet set(kChunks100GiB);
  for (uint64_t chunk = 0; chunk < set.size(); chunk += 2) set.Add(chunk);
  const auto chunks = RandomChunks(set.size());
  size_t i = 0;
  for (auto _ : state) {
    const uint64_t chunk = chunks[i++ % chunks.size()];
    if (set.Has(chunk) != (chunk % 2 == 0)) {
      state.SkipWithError("Has is wrong");
      break;
    }
  }
}
BENCHMARK(ChunkSetHas);

void ChunkSetAddRemove(benchmark::State& state) {
  ChunkSet set(kChunks100GiB);
  const auto chunks = RandomChunks(set.size());
  size_t i = 0;
  for (auto _ : state) {
    const uint64_t chunk = chunks[i++ % chunks.size()];
    if (!set.Add(chunk) || !set.Remove(chunk)) {
      state.SkipWithError("Add or Remove is wrong");
      break;
    }
  }
}
BENCHMARK(ChunkSetAddRemove);

// The longest scan there is: only the last chunk is absent. In chunks: 1 GiB and 100 GiB.
void ChunkSetFirstAbsent(benchmark::State& state) {
  ChunkSet set(static_cast<uint64_t>(state.range(0)));
  for (uint64_t chunk = 0; chunk + 1 < set.size(); ++chunk) set.Add(chunk);
  for (auto _ : state) {
    if (set.FirstAbsent(0, set.size()) != set.size() - 1) {
      state.SkipWithError("FirstAbsent is wrong");
      break;
    }
  }
}
BENCHMARK(ChunkSetFirstAbsent)->Arg(4096)->Arg(kChunks100GiB);

// One segment of the index, as an image is opened.
void ChunkSetLoadSegment(benchmark::State& state) {
  ChunkSet set(kChunks100GiB);
  const std::vector<uint64_t> words(1024 / 64, 0x5555'5555'5555'5555);
  for (auto _ : state) set.LoadWords(1024 / 64 * 3, words);
  if (set.count() != 512) state.SkipWithError("LoadWords is wrong");
}
BENCHMARK(ChunkSetLoadSegment);

}  // namespace
}  // namespace glintfs
