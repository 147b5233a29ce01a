// CachedImage: a read that finds its bytes, and a read that parks, is brought its chunk and wakes.
//
// The chunks of an image are read from its end towards its start: what readahead would want is always there already.
#include "fs/cache/cached_image.h"

#include <benchmark/benchmark.h>

#include <array>
#include <atomic>

#include "fs/base/thread.h"
#include "tests/micro/image_bench_host.h"
#include "tests/support/temp_dir.h"

namespace glintfs {
namespace {

using bench::Host;

constexpr uint64_t kChunk = 256 << 10;
constexpr uint64_t kBlock = 4096;

std::shared_ptr<CachedImage> NewImage(Host& host, uint64_t size, uint64_t chunk_size, CachedImage::Stored stored = {}) {
  return std::make_shared<CachedImage>(ImageInfo{{"bench://s", "image", "v1"}, size, Nanos(1)}, 1, chunk_size, host,
                                       std::move(stored));
}

constexpr int64_t kWrong = int64_t{1} << 40;  // added by an answer that is not right

// Counts answers. Bytes in memory are always looked at; those in the data file are read if asked to.
class CountingOp final : public ReadOp {
 public:
  CountingOp(uint64_t at, size_t size, bool from_file, std::atomic<int64_t>& answered)
      : ReadOp(0, at, size), from_file_(from_file), answered_(answered) {}

  bool Done(const ReadData& data) override {
    bool good = data.length == length;
    if (data.file == nullptr) {
      good = good && bench::HasMark(data.bytes, offset);
    } else if (from_file_) {
      std::array<std::byte, kBlock> bytes;
      good = good && data.file->ReadAt(std::span(bytes).first(data.length), data.offset) && bench::HasMark(bytes, offset);
    }
    Count(good);
    return true;
  }
  void Fail(const Error&) override { Count(false); }

 private:
  void Count(bool good) {
    answered_.fetch_add(good ? 1 : kWrong, std::memory_order_release);
    answered_.notify_one();
  }

  const bool from_file_;
  std::atomic<int64_t>& answered_;
};

// ---------------------------------------------------------------------------------------------------- hits

// A complete image of 16 MiB, in a real file.
struct CompleteImage {
  static constexpr uint64_t kSize = 16 << 20;

  CompleteImage() {
    auto storage = OpenPosixStorage(dir.path());
    std::shared_ptr<File> file;
    if (storage) {
      if (auto made = (*storage)->Create("images/0/image", kSize)) file = std::move(*made);
    }
    std::vector<std::byte> bytes(kSize);
    bench::Mark(bytes, 0);
    if (file == nullptr || !file->WriteAt(bytes, 0)) return;
    constexpr uint64_t kChunks = kSize / kChunk;
    image = NewImage(host, kSize, kChunk, {.file = file, .generation = 1, .segments = {
        {0, std::vector<uint64_t>(kChunks / 64, ~uint64_t{0}), std::vector<uint64_t>(kChunks, 1)}}, .suspect = false});
  }

  testing::TempDir dir;
  Host host;
  std::shared_ptr<CachedImage> image;
};

std::unique_ptr<CompleteImage> shared;  // of the threads of one benchmark

// Argument 0: the decision alone, without reading the file. 1: with a pread of 4 KiB from the page cache.
void CachedImageHit(benchmark::State& state) {
  if (state.thread_index() == 0) shared = std::make_unique<CompleteImage>();
  const bool from_file = state.range(0) != 0;
  std::atomic<int64_t> answered{0};
  uint64_t block = static_cast<uint64_t>(state.thread_index());
  for (auto _ : state) {
    block = (block + 1021) % (CompleteImage::kSize / kBlock);
    if (shared->image != nullptr) shared->image->Read(std::make_unique<CountingOp>(block * kBlock, kBlock, from_file, answered));
  }
  if (answered != state.iterations()) state.SkipWithError("a wrong answer, or none");
  if (state.thread_index() == 0) shared.reset();
}
BENCHMARK(CachedImageHit)->ArgName("pread")->Arg(0)->Arg(1)->Threads(1)->Threads(2)->UseRealTime();

// ---------------------------------------------------------------------------------------------------- park and wake

// Absent chunks, one after the other, of as many images as it takes.
class AbsentChunks {
 public:
  AbsentChunks(Host& host, uint64_t chunk_size) : host_(host), chunk_size_(chunk_size) {}

  // `count` chunks; the offset of the first. Making a new image is not part of what is measured.
  uint64_t Take(benchmark::State& state, uint64_t count) {
    if (left_ < count) {
      state.PauseTiming();
      image_ = NewImage(host_, kChunks * chunk_size_, chunk_size_);
      left_ = kChunks;
      state.ResumeTiming();
    }
    left_ -= count;
    return left_ * chunk_size_;
  }
  CachedImage& image() { return *image_; }

 private:
  static constexpr uint64_t kChunks = 4096;
  Host& host_;
  const uint64_t chunk_size_;
  std::shared_ptr<CachedImage> image_;
  uint64_t left_ = 0;
};

// Reads of 4 KiB park on one chunk; it arrives, and they are answered. All in one thread: what the code costs. Arguments: chunk
// size in KiB (of 256 KiB most is its hash), reads.
void CachedImageParkAndWake(benchmark::State& state) {
  const auto chunk_size = static_cast<uint64_t>(state.range(0)) << 10;
  Host host;
  AbsentChunks absent(host, chunk_size);
  std::atomic<int64_t> answered{0};
  for (auto _ : state) {
    const uint64_t offset = absent.Take(state, 1);
    for (int64_t i = 0; i < state.range(1); ++i) {
      const uint64_t at = offset + static_cast<uint64_t>(i) * kBlock % chunk_size;
      absent.image().Read(std::make_unique<CountingOp>(at, kBlock, false, answered));
    }
    absent.image().RunFlight(host.WaitForFlight({}), {});
  }
  if (answered != state.iterations() * state.range(1)) state.SkipWithError("a wrong answer, or none");
}
BENCHMARK(CachedImageParkAndWake)->ArgNames({"chunk_kib", "reads"})->Args({4, 1})->Args({4, 16})->Args({4, 64})->Args({256, 1});

// A read of two chunks: it wakes, starts over, parks on the second, wakes, and is answered from the file.
void CachedImageParkTwice(benchmark::State& state) {
  Host host;
  AbsentChunks absent(host, kBlock);
  std::atomic<int64_t> answered{0};
  for (auto _ : state) {
    const uint64_t offset = absent.Take(state, 2);
    absent.image().Read(std::make_unique<CountingOp>(offset, 2 * kBlock, false, answered));
    absent.image().RunFlight(host.WaitForFlight({}), {});
  }
  if (answered != state.iterations()) state.SkipWithError("a wrong answer, or none");
}
BENCHMARK(CachedImageParkTwice);

// One read at a time, the chunk brought by a worker thread: two wake-ups of a thread are in it.
void CachedImageParkAndWakeAcrossThreads(benchmark::State& state) {
  Host host;
  AbsentChunks absent(host, kBlock);
  std::atomic<int64_t> answered{0};
  Thread worker("worker", [&host](std::stop_token stop) {
    while (auto flight = host.WaitForFlight(stop)) flight->image->RunFlight(flight, stop);
  });
  int64_t read = 0;
  for (auto _ : state) {
    const uint64_t offset = absent.Take(state, 1);
    absent.image().Read(std::make_unique<CountingOp>(offset, kBlock, false, answered));
    answered.wait(read++, std::memory_order_acquire);
    if (answered != read) {
      state.SkipWithError("a wrong answer, or none");
      break;
    }
  }
  worker.RequestStop();
  host.WakeAll();
  worker.Join();
}
BENCHMARK(CachedImageParkAndWakeAcrossThreads)->UseRealTime();

}  // namespace
}  // namespace glintfs
