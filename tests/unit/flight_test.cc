#include "fs/cache/flight.h"

#include <gtest/gtest.h>

namespace glintfs {
namespace {

std::shared_ptr<Flight> Make(uint64_t begin, uint64_t end) {
  return std::make_shared<Flight>(nullptr, Urgency::kBackground, begin, end, false);
}

TEST(InFlight, FindsTheFlightThatWillBringAChunk) {
  InFlight set;
  auto flight = Make(10, 20);
  set.Add(flight);
  EXPECT_EQ(set.Find(9), nullptr);
  EXPECT_EQ(set.Find(10), flight.get());
  EXPECT_EQ(set.Find(20), nullptr);
  flight->next = 15;
  EXPECT_EQ(set.Find(14), nullptr) << "what is finished is no longer in flight";
  flight->end = 16;
  EXPECT_EQ(set.Find(16), nullptr) << "what was cut off is not in flight";
  set.Remove(flight.get());
  EXPECT_EQ(set.Find(15), nullptr);
}

TEST(InFlight, NextFreeSkipsWhatIsPresentOrInFlight) {
  InFlight set;
  ChunkSet present(100);
  for (uint64_t c = 0; c < 5; ++c) present.Add(c);
  present.Add(30);
  set.Add(Make(5, 10));
  set.Add(Make(20, 25));
  auto run = set.NextFree(present, 0, 100);
  EXPECT_EQ(run.begin, 10u);
  EXPECT_EQ(run.end, 20u);
  run = set.NextFree(present, 20, 100);
  EXPECT_EQ(run.begin, 25u);
  EXPECT_EQ(run.end, 30u);
  run = set.NextFree(present, 20, 24);
  EXPECT_EQ(run.begin, run.end);
}

TEST(Flight, UrgencyIsOnlyRaised) {
  auto flight = Make(0, 1);
  EXPECT_TRUE(flight->Raise(Urgency::kReadahead));
  EXPECT_FALSE(flight->Raise(Urgency::kQueued));
  EXPECT_EQ(flight->urgency.load(), Urgency::kReadahead);
}

}  // namespace
}  // namespace glintfs
