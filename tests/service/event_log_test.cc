// The ring of events: numbers, pages, what is lost.
#include "fs/event_log.h"

#include <gtest/gtest.h>

#include "fs/base/thread.h"

namespace glintfs {
namespace {

using Kind = ServiceEvent::Kind;

TEST(EventLogTest, NumbersFromOneInOrder) {
  FakeClock clock;
  EventLog log(clock);
  EXPECT_EQ(log.After(0, 10).last, 0u);
  log.Add(Kind::kQueued, "a", "", 5);
  clock.Advance(std::chrono::seconds(1));
  log.Add(Kind::kFilled, "a");
  const EventPage page = log.After(0, 10);
  ASSERT_EQ(page.events.size(), 2u);
  EXPECT_EQ(page.events[0].sequence, 1u);
  EXPECT_EQ(page.events[0].bytes, 5u);
  EXPECT_EQ(page.events[1].kind, Kind::kFilled);
  EXPECT_EQ(page.events[1].time - page.events[0].time, std::chrono::seconds(1));
  EXPECT_EQ(page.last, 2u);
  EXPECT_EQ(page.lost, 0u);
}

TEST(EventLogTest, PagesFollowOnEachOther) {
  FakeClock clock;
  EventLog log(clock);
  for (int i = 0; i < 10; ++i) log.Add(Kind::kQueued, std::to_string(i));
  const EventPage first = log.After(0, 4), second = log.After(first.events.back().sequence, 4);
  EXPECT_EQ(first.events.back().name, "3");
  EXPECT_EQ(second.events.front().name, "4");
  EXPECT_EQ(log.After(10, 4).events.size(), 0u);
  EXPECT_EQ(log.After(4711, 4).events.size(), 0u) << "of an earlier daemon";
  EXPECT_EQ(log.After(3, 0).last, 10u);
}

TEST(EventLogTest, TellsHowManyAreLost) {
  FakeClock clock;
  EventLog log(clock);
  for (size_t i = 0; i < EventLog::kKept + 7; ++i) log.Add(Kind::kQueued, std::to_string(i));
  EventPage page = log.After(0, 1);
  EXPECT_EQ(page.lost, 7u);
  EXPECT_EQ(page.events.at(0).sequence, 8u);
  EXPECT_EQ(log.After(5, 1).lost, 2u);
  EXPECT_EQ(log.After(7, 1).lost, 0u);
  page = log.After(0, EventLog::kKept * 2);
  EXPECT_EQ(page.events.size(), EventLog::kKept);
  EXPECT_EQ(page.last, EventLog::kKept + 7);
}

TEST(EventLogTest, TheSameErrorIsToldOnceInAWhile) {
  FakeClock clock;
  EventLog log(clock);
  for (int i = 0; i < 5; ++i) log.Add(Kind::kError, "a", "down");
  log.Add(Kind::kError, "b", "down");
  EXPECT_EQ(log.After(0, 10).events.size(), 2u);
  clock.Advance(EventLog::kQuiet);
  log.Add(Kind::kError, "a", "down");
  EXPECT_EQ(log.After(0, 10).events.size(), 3u);
  for (int i = 0; i < 2; ++i) log.Add(Kind::kEvicted, "a", "room");
  EXPECT_EQ(log.After(0, 10).events.size(), 5u) << "only errors";
}

TEST(EventLogTest, ManyMayTellAtOnce) {
  EventLog log(Clock::System());
  constexpr uint64_t kEach = 2000;
  {
    std::vector<Thread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back("teller", [&](std::stop_token) {
        for (uint64_t n = 0; n < kEach; ++n) log.Add(Kind::kFilled, "a");
      });
    uint64_t seen = 0, lost = 0;
    while (seen + lost < 4 * kEach) {
      const EventPage page = log.After(seen + lost, 100);
      lost += page.lost;
      for (const ServiceEvent& event : page.events) ASSERT_EQ(event.sequence, ++seen + lost);
    }
    EXPECT_EQ(lost, 0u);
  }
}

}  // namespace
}  // namespace glintfs
