// InFlight: who brings this chunk, and what is still free. Asked under the image's lock by each read that misses; the argument is
// the number of flights of the image.
#include <benchmark/benchmark.h>

#include "fs/cache/flight.h"

namespace glintfs {
namespace {

constexpr uint64_t kPiece = 32;  // chunks; with as many free ones between two flights

std::shared_ptr<Flight> MakeFlight(uint64_t number) {
  const uint64_t begin = number * 2 * kPiece;
  return std::make_shared<Flight>(nullptr, Urgency::kReadahead, begin, begin + kPiece, false);
}

InFlight MakeFlights(uint64_t count) {
  InFlight flights;
  for (uint64_t i = 0; i < count; ++i) flights.Add(MakeFlight(i));
  return flights;
}

void InFlightFind(benchmark::State& state) {
  const auto count = static_cast<uint64_t>(state.range(0));
  const InFlight flights = MakeFlights(count);
  uint64_t i = 0;
  for (auto _ : state) {
    const uint64_t chunk = i++ * kPiece % (count * 2 * kPiece);  // every second one is in none
    if ((flights.Find(chunk) != nullptr) != (chunk % (2 * kPiece) == 0)) {
      state.SkipWithError("Find is wrong");
      break;
    }
  }
}
BENCHMARK(InFlightFind)->Arg(1)->Arg(16)->Arg(64);

void InFlightAddRemove(benchmark::State& state) {
  const auto count = static_cast<uint64_t>(state.range(0));
  InFlight flights = MakeFlights(count);
  const auto one = MakeFlight(count);
  for (auto _ : state) {
    flights.Add(one);
    flights.Remove(one.get());
  }
  if (flights.all().size() != count) state.SkipWithError("Add or Remove is wrong");
}
BENCHMARK(InFlightAddRemove)->Arg(1)->Arg(16)->Arg(64);

// The free run after all flights, with the chunks between them present.
void InFlightNextFree(benchmark::State& state) {
  const auto count = static_cast<uint64_t>(state.range(0));
  const InFlight flights = MakeFlights(count);
  const uint64_t all = count * 2 * kPiece, end = all + kPiece;
  ChunkSet present(end);
  for (uint64_t chunk = 0; chunk < all; ++chunk)
    if (chunk / kPiece % 2 == 1) present.Add(chunk);
  for (auto _ : state) {
    const InFlight::Run run = flights.NextFree(present, 0, end);
    if (run.begin != all || run.end != end) {
      state.SkipWithError("NextFree is wrong");
      break;
    }
  }
}
BENCHMARK(InFlightNextFree)->Arg(1)->Arg(16)->Arg(64);

}  // namespace
}  // namespace glintfs
