// Budget with 10,000 images: what each open and close, each stored chunk and each eviction asks of it.
#include "fs/cache/budget.h"

#include <benchmark/benchmark.h>

#include <memory>

namespace glintfs {
namespace {

constexpr uint64_t kImages = 10'000;
constexpr uint64_t kImageBytes = 64 << 20;
constexpr uint64_t kChunkBytes = 256 << 10;

// Rows 1 to kImages, each unused, of kImageBytes; row 0 is in use and empty.
std::unique_ptr<Budget> MakeBudget(uint64_t spare_bytes) {
  auto budget = std::make_unique<Budget>(Budget::Limits{.max_bytes = kImages * kImageBytes + spare_bytes, .low_mark = 1});
  budget->Add(0, 0, false, true);
  for (RowId row = 1; row <= kImages; ++row) budget->Add(row, kImageBytes, false);
  return budget;
}

std::unique_ptr<Budget> shared;  // of the threads of one benchmark

void BudgetAcquireRelease(benchmark::State& state) {
  if (state.thread_index() == 0) shared = MakeBudget(0);
  RowId row = static_cast<RowId>(state.thread_index());
  bool all = true;
  for (auto _ : state) {
    row = (row + 7919) % kImages + 1;
    all &= shared->Acquire(row);
    shared->Release(row);
  }
  if (!all) state.SkipWithError("Acquire failed");
  if (state.thread_index() == 0) shared.reset();
}
BENCHMARK(BudgetAcquireRelease)->Threads(1)->Threads(2)->UseRealTime();

// A chunk for which there is room.
void BudgetReserveSettle(benchmark::State& state) {
  const auto budget = MakeBudget(kChunkBytes);
  const Budget::EvictFunction evict = [](const auto&) {};
  for (auto _ : state) {
    if (!budget->Reserve(0, kChunkBytes, evict)) {
      state.SkipWithError("Reserve failed");
      break;
    }
    budget->Settle(0, kChunkBytes, false);  // false: so that the room is there again
  }
  if (budget->GetUse().used != kImages * kImageBytes) state.SkipWithError("bytes are lost");
}
BENCHMARK(BudgetReserveSettle);

// Choosing that many victims, of 10,000.
void BudgetChooseVictims(benchmark::State& state) {
  const auto wanted = static_cast<uint64_t>(state.range(0));
  const auto budget = MakeBudget(0);
  for (auto _ : state) {
    if (budget->ChooseVictims((kImages - wanted) * kImageBytes, true).size() != wanted) {
      state.SkipWithError("ChooseVictims is wrong");
      break;
    }
  }
}
BENCHMARK(BudgetChooseVictims)->Arg(1)->Arg(1000)->Arg(10'000);

// A full cache: each chunk makes one image go, and a new one takes its place.
void BudgetEvict(benchmark::State& state) {
  const auto budget = MakeBudget(0);
  RowId next = kImages + 1;
  uint64_t evicted = 0;
  const Budget::EvictFunction evict = [&](const std::vector<Budget::Victim>& victims) {
    for (const Budget::Victim& victim : victims) budget->Remove(victim.row);
    evicted += victims.size();
  };
  for (auto _ : state) {
    if (!budget->Reserve(0, kChunkBytes, evict)) {
      state.SkipWithError("Reserve failed");
      break;
    }
    budget->Settle(0, kChunkBytes, false);
    budget->Add(next++, kImageBytes, false);
  }
  if (evicted != static_cast<uint64_t>(state.iterations())) state.SkipWithError("not one image for each chunk");
}
BENCHMARK(BudgetEvict);

}  // namespace
}  // namespace glintfs
