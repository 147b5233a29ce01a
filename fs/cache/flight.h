// Flight: one run of chunks of one image being fetched, or waiting to be. And InFlight: those of one image.
//
//   begin        next              end
//   ├─ finished ──┼── to come ──────┼      `end` moves left when a reader cuts the tail off; never right
//
// All fields but `urgency` and `counted_demand` are guarded by the image's lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "fs/base/clock.h"
#include "fs/cache/chunk_set.h"

namespace glintfs {

class CachedImage;

// In this order; a lower value goes first.
enum class Urgency : int { kDemand = 0, kReadahead = 1, kQueued = 2, kBackground = 3 };
inline constexpr int kUrgencies = 4;
std::string_view UrgencyName(Urgency urgency);  // "demand", …

struct Flight {
  Flight(std::shared_ptr<CachedImage> of, Urgency how, uint64_t first, uint64_t last_end, bool is_fill)
      : image(std::move(of)), urgency(how), begin(first), next(first), end(last_end), fill(is_fill) {}

  const std::shared_ptr<CachedImage> image;
  std::atomic<Urgency> urgency;  // only ever raised
  const uint64_t begin;          // chunks
  uint64_t next;
  uint64_t end;
  const bool fill;               // counts as one of the image's parallel fill extents
  bool running = false;
  bool counted_demand = false;   // the FetchQueue's, under its own lock
  Nanos begun{0};                // when it began to run
  Nanos started{0};              // when it began to run, moved on by the time it stepped aside for others

  // True when this raised it.
  bool Raise(Urgency to) {
    Urgency now = urgency.load();
    while (to < now)
      if (urgency.compare_exchange_weak(now, to)) return true;
    return false;
  }
};

// Pure; guarded by the image's lock.
class InFlight {
 public:
  struct Run {
    uint64_t begin, end;  // chunks; empty when equal
  };

  void Add(std::shared_ptr<Flight> flight) { flights_.push_back(std::move(flight)); }
  // For a flight that overtakes another on the same chunks: it is the one Find() names.
  void AddFirst(std::shared_ptr<Flight> flight) { flights_.insert(flights_.begin(), std::move(flight)); }
  void Remove(const Flight* flight);

  // The flight that will bring `chunk`; null when none will.
  Flight* Find(uint64_t chunk) const;
  std::shared_ptr<Flight> Share(const Flight* flight) const;
  // The first run in [from, end) of chunks neither present nor in flight.
  Run NextFree(const ChunkSet& present, uint64_t from, uint64_t end) const;

  const std::vector<std::shared_ptr<Flight>>& all() const { return flights_; }

 private:
  std::vector<std::shared_ptr<Flight>> flights_;
};

}  // namespace glintfs
