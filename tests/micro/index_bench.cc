// The index: a checkpoint of 10,000 dirty chunks, in a real database on the file system of the temporary directory, durable when
// it returns. What counts is how many images they are spread over; the argument. Before it, a fdatasync of each image's data file
// (the janitor's) is not measured here.
#include "fs/cache/index.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>

#include "tests/support/temp_dir.h"

namespace glintfs {
namespace {

constexpr uint64_t kChunkSize = 256 << 10;
constexpr uint64_t kDirtyChunks = 10'000;

IndexBatch MakeBatch(uint64_t images) {
  const uint64_t chunks = kDirtyChunks / images;  // of each image; all of them are new
  IndexBatch batch;
  for (RowId row = 1; row <= images; ++row) {
    ImageRow image;
    image.row = row;
    image.info = {{"http://host/images/", "image-" + std::to_string(row) + ".qcow2", "\"v1\""}, chunks * kChunkSize, Nanos(1)};
    image.generation = 1;
    image.chunks_present = chunks;
    image.disk_bytes = chunks * kChunkSize;
    batch.put_images.push_back(std::move(image));
    for (uint64_t first = 0; first < chunks; first += ChunkSegment::kChunks) {
      const uint64_t here = std::min(chunks - first, ChunkSegment::kChunks);
      batch.put_segments.push_back({row, {first / ChunkSegment::kChunks, std::vector<uint64_t>((here + 63) / 64, ~uint64_t{0}),
                                          std::vector<uint64_t>(here, 0x0123'4567'89ab'cdef)}});
    }
  }
  return batch;
}

void IndexCheckpoint(benchmark::State& state) {
  const auto images = static_cast<uint64_t>(state.range(0));
  testing::TempDir dir;
  IndexContent content;
  auto index = Index::Open(dir / "index.db", kChunkSize, content);
  if (!index) return state.SkipWithError("the index cannot be opened");
  const IndexBatch batch = MakeBatch(images);
  for (auto _ : state) {
    state.PauseTiming();
    IndexBatch copy = batch;
    state.ResumeTiming();
    if (!(*index)->Apply(std::move(copy))) {
      state.SkipWithError("Apply failed");
      break;
    }
  }
  uint64_t chunks = 0;
  const auto stored = (*index)->LoadSegments(images);
  for (size_t i = 0; stored && i < stored->size(); ++i) chunks += (*stored)[i].hashes.size();
  if (chunks != kDirtyChunks / images) state.SkipWithError("not all chunks are in the index");
}
BENCHMARK(IndexCheckpoint)->Arg(1)->Arg(100)->Arg(10'000)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace glintfs
