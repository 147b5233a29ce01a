// A vector, not a tree: an image has a few dozen flights at most, and a scan of that costs less than a node.
#include "fs/cache/flight.h"

#include <algorithm>

namespace glintfs {

std::string_view UrgencyName(Urgency urgency) {
  switch (urgency) {
    case Urgency::kDemand: return "demand";
    case Urgency::kReadahead: return "readahead";
    case Urgency::kQueued: return "queued";
    case Urgency::kBackground: return "background";
  }
  return "";
}

void InFlight::Remove(const Flight* flight) {
  std::erase_if(flights_, [flight](const auto& f) { return f.get() == flight; });
}

Flight* InFlight::Find(uint64_t chunk) const {
  for (const auto& flight : flights_)
    if (flight->next <= chunk && chunk < flight->end) return flight.get();
  return nullptr;
}

std::shared_ptr<Flight> InFlight::Share(const Flight* flight) const {
  for (const auto& f : flights_)
    if (f.get() == flight) return f;
  return nullptr;
}

InFlight::Run InFlight::NextFree(const ChunkSet& present, uint64_t from, uint64_t end) const {
  uint64_t chunk = from;
  for (;;) {
    chunk = present.FirstAbsent(chunk, end);
    if (chunk >= end) return {end, end};
    const Flight* flight = Find(chunk);
    if (flight == nullptr) break;
    chunk = std::min(flight->end, end);
  }
  uint64_t run_end = present.FirstPresent(chunk, end);
  for (const auto& flight : flights_)
    if (flight->next > chunk && flight->next < flight->end) run_end = std::min(run_end, flight->next);
  return {chunk, run_end};
}

}  // namespace glintfs
