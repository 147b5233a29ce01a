// Budget: how many disk bytes the cache uses and may use, and which images go first. Knows no files: it names victims,
// someone else removes their files and then says Remove().
//
//   used = Σ bytes of all images   (stored, being written, and being evicted until Remove)
//   Reserve(row, n): used + n <= max, now and always, or false
//
// Thread-safe. Reserve may wait for another thread's eviction; nothing else blocks.
#pragma once

#include <boost/intrusive/list.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <unordered_map>
#include <vector>

#include "fs/base/clock.h"
#include "fs/base/mutex.h"
#include "fs/cache/image_status.h"

namespace glintfs {

class Budget {
 public:
  struct Limits {
    uint64_t max_bytes = 0;   // 0: unlimited
    double low_mark = 0.9;    // share of max_bytes
  };
  struct Use {
    uint64_t used = 0;      // bytes
    uint64_t reserved = 0;  // bytes, part of used: not settled yet
    uint64_t max_bytes = 0;
  };
  struct Victim {
    RowId row;
    uint64_t bytes;
  };

  explicit Budget(Limits limits);

  void SetLimits(Limits limits);
  // Bytes that may still be written before the file system falls below its free share. Set often, from a fresh statvfs.
  void SetDiskHeadroom(uint64_t bytes);

  // An image appears, as most recently used of those added so far; unused, or in use as after Acquire. REQUIRES: not known
  // yet.
  void Add(RowId row, uint64_t bytes, bool pinned, bool in_use = false);
  // More of its bytes were found on the disk than was known.
  void Grow(RowId row, uint64_t bytes);
  // It is gone from the disk: its bytes are free again.
  void Remove(RowId row);

  // In use: not a victim. Counted. False when the row is unknown or already chosen as a victim.
  // `touch` false: it keeps its place among the least recently used ones, unless somebody else uses or touches it too.
  bool Acquire(RowId row, bool touch = true);
  void Release(RowId row);  // the last one makes it most recently used
  void Touch(RowId row);    // in use for a reader after all: the last Release makes it most recently used. REQUIRES: in use
  void SetPinned(RowId row, bool pinned);

  // Takes `bytes` for `row`, before they are written. When there is no room, chooses victims and passes them to `evict`
  // (called without lock; it must end in Remove for each), then tries again. False when nothing more can be evicted.
  // REQUIRES: the row is in use.
  using EvictFunction = std::function<void(const std::vector<Victim>&)>;
  bool Reserve(RowId row, uint64_t bytes, const EvictFunction& evict);
  // Would Reserve find room?
  bool HasRoomFor(uint64_t bytes);
  // The bytes are on their way to the disk no more: stored (true) or not needed after all (false).
  void Settle(RowId row, uint64_t bytes, bool stored);

  // Chooses victims, least recently used first, until used <= target; marks them unless dry_run.
  std::vector<Victim> ChooseVictims(uint64_t target, bool dry_run);
  // Chooses this one; false when it is in use, pinned (unless `even_pinned`) or unknown.
  bool ChooseVictim(RowId row, bool even_pinned);

  // Bytes above which something has to go now; 0 when all is well. For the janitor, after limits changed.
  bool OverLimit();
  uint64_t LowMarkBytes();
  Use GetUse();
  uint64_t BytesOf(RowId row);  // 0 when unknown

 private:
  struct Item : boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
    RowId row = 0;
    uint64_t bytes = 0;
    uint32_t users = 0;
    bool pinned = false;
    bool evicting = false;
  };
  using Lru = boost::intrusive::list<Item, boost::intrusive::constant_time_size<false>>;

  uint64_t MaxLocked() const REQUIRES(mu_);
  uint64_t LowLocked() const REQUIRES(mu_);
  std::vector<Victim> ChooseLocked(uint64_t target, uint64_t must, bool dry_run) REQUIRES(mu_);
  void MarkLocked(Item& item) REQUIRES(mu_);
  Item* FindLocked(RowId row) REQUIRES(mu_);

  Mutex mu_;
  CondVar evicted_;
  Limits limits_ GUARDED_BY(mu_);
  uint64_t headroom_ GUARDED_BY(mu_) = UINT64_MAX / 2;
  uint64_t used_ GUARDED_BY(mu_) = 0;
  uint64_t reserved_ GUARDED_BY(mu_) = 0;
  uint64_t evicting_ GUARDED_BY(mu_) = 0;  // bytes of victims whose files are being removed
  std::unordered_map<RowId, std::unique_ptr<Item>> items_ GUARDED_BY(mu_);
  // Least recently used first; unpinned, not evicting, and unused but for those that were acquired without a touch.
  Lru lru_ GUARDED_BY(mu_);
};

}  // namespace glintfs
