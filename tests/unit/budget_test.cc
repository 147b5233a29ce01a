#include "fs/cache/budget.h"

#include <gtest/gtest.h>

#include <random>

#include "fs/base/thread.h"

namespace glintfs {
namespace {

// Removes victims at once, and remembers them.
struct Evictor {
  Budget& budget;
  std::vector<RowId> gone;
  Budget::EvictFunction function = [this](const std::vector<Budget::Victim>& victims) {
    for (const auto& victim : victims) {
      gone.push_back(victim.row);
      budget.Remove(victim.row);
    }
  };
};

TEST(Budget, EvictsLeastRecentlyUsedDownToTheLowMark) {
  Budget budget({.max_bytes = 1000, .low_mark = 0.5});
  Evictor evictor{budget, {}};
  for (RowId row = 1; row <= 10; ++row) budget.Add(row, 100, false);
  ASSERT_TRUE(budget.Acquire(1));
  budget.Release(1);  // 1 is the most recent now
  budget.Add(11, 0, false);
  ASSERT_TRUE(budget.Acquire(11));
  ASSERT_TRUE(budget.Reserve(11, 100, evictor.function));
  EXPECT_EQ(evictor.gone, (std::vector<RowId>{2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(budget.GetUse().used, 500u);
}

TEST(Budget, NeverEvictsWhatIsInUseOrPinned) {
  Budget budget({.max_bytes = 300, .low_mark = 0.1});
  Evictor evictor{budget, {}};
  budget.Add(1, 100, false);
  budget.Add(2, 100, true);
  budget.Add(3, 100, false);
  ASSERT_TRUE(budget.Acquire(1));
  ASSERT_TRUE(budget.Acquire(3));
  EXPECT_FALSE(budget.Reserve(3, 1, evictor.function));
  EXPECT_TRUE(evictor.gone.empty());
  budget.Release(1);
  EXPECT_TRUE(budget.Reserve(3, 1, evictor.function));
  EXPECT_EQ(evictor.gone, std::vector<RowId>{1});
}

TEST(Budget, EvictsNothingWhenThatWouldNotMakeRoom) {
  Budget budget({.max_bytes = 300, .low_mark = 0.9});
  Evictor evictor{budget, {}};
  budget.Add(1, 50, false);
  budget.Add(2, 250, false);
  ASSERT_TRUE(budget.Acquire(2));
  EXPECT_FALSE(budget.Reserve(2, 100, evictor.function));
  EXPECT_TRUE(evictor.gone.empty()) << "evicting 50 bytes makes no room for 100";
}

TEST(Budget, SettleGivesBackWhatWasNotStored) {
  Budget budget({.max_bytes = 100, .low_mark = 0.9});
  budget.Add(1, 0, false);
  ASSERT_TRUE(budget.Acquire(1));
  ASSERT_TRUE(budget.Reserve(1, 60, {}));
  EXPECT_EQ(budget.GetUse().reserved, 60u);
  budget.Settle(1, 60, false);
  EXPECT_EQ(budget.GetUse().used, 0u);
  ASSERT_TRUE(budget.Reserve(1, 100, {}));
  budget.Settle(1, 100, true);
  EXPECT_EQ(budget.BytesOf(1), 100u);
  EXPECT_EQ(budget.GetUse().reserved, 0u);
}

TEST(Budget, DiskHeadroomLimitsAsMaxBytesDoes) {
  Budget budget({.max_bytes = 0, .low_mark = 0.9});
  budget.Add(1, 100, false);
  ASSERT_TRUE(budget.Acquire(1));
  budget.SetDiskHeadroom(10);
  EXPECT_TRUE(budget.Reserve(1, 10, {}));
  EXPECT_FALSE(budget.Reserve(1, 1, {}));
  EXPECT_TRUE(budget.OverLimit());
}

TEST(Budget, AVictimIsNotHandedOut) {
  Budget budget({.max_bytes = 100, .low_mark = 0.9});
  budget.Add(1, 100, false);
  ASSERT_TRUE(budget.ChooseVictim(1, false));
  EXPECT_FALSE(budget.Acquire(1));
  EXPECT_FALSE(budget.ChooseVictim(1, false));
  budget.Remove(1);
  EXPECT_EQ(budget.GetUse().used, 0u);
}

// Many threads reserve and evict at once: at no instant is more used than allowed.
TEST(Budget, IsNeverExceededByConcurrentReservations) {
  constexpr uint64_t kMax = 64 * 1000;
  Budget budget({.max_bytes = kMax, .low_mark = 0.8});
  std::atomic<uint64_t> highest{0};
  std::atomic<int> stored{0};
  std::vector<Thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back("reserve", [&, t](std::stop_token) {
      for (RowId i = 0; i < 500; ++i) {
        const RowId row = static_cast<RowId>(t) * 1000 + i + 1;
        budget.Add(row, 0, false, true);
        for (int chunk = 0; chunk < 8; ++chunk) {
          const bool room = budget.Reserve(row, 1000, [&](const std::vector<Budget::Victim>& victims) {
            for (const auto& victim : victims) budget.Remove(victim.row);
          });
          uint64_t used = budget.GetUse().used, seen = highest;
          while (used > seen && !highest.compare_exchange_weak(seen, used)) {}
          if (room) {
            budget.Settle(row, 1000, true);
            ++stored;
          }
        }
        budget.Release(row);
      }
    });
  }
  for (Thread& thread : threads) thread.Join();
  EXPECT_LE(highest.load(), kMax);
  EXPECT_EQ(stored.load(), 4 * 500 * 8) << "there is always something to evict here";
}

}  // namespace
}  // namespace glintfs
