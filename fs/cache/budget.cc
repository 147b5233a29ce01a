// Left out on purpose: partial eviction (holes in a file cannot be told from absent chunks by a passthrough reader), and any
// guess about what will be read again beyond recency.
#include "fs/cache/budget.h"

#include <algorithm>
#include <cassert>

namespace glintfs {
namespace {
constexpr uint64_t kUnlimited = UINT64_MAX / 2;
}

Budget::Budget(Limits limits) : limits_(limits) {}

void Budget::SetLimits(Limits limits) {
  MutexLock lock(mu_);
  limits_ = limits;
}

void Budget::SetDiskHeadroom(uint64_t bytes) {
  MutexLock lock(mu_);
  headroom_ = std::min(bytes, kUnlimited);
}

uint64_t Budget::MaxLocked() const {
  const uint64_t by_disk = used_ + headroom_;
  return limits_.max_bytes == 0 ? by_disk : std::min(limits_.max_bytes, by_disk);
}

uint64_t Budget::LowLocked() const {
  return static_cast<uint64_t>(static_cast<double>(MaxLocked()) * limits_.low_mark);
}

Budget::Item* Budget::FindLocked(RowId row) {
  auto it = items_.find(row);
  return it == items_.end() ? nullptr : it->second.get();
}

void Budget::Add(RowId row, uint64_t bytes, bool pinned, bool in_use) {
  MutexLock lock(mu_);
  auto item = std::make_unique<Item>();
  item->row = row;
  item->bytes = bytes;
  item->pinned = pinned;
  item->users = in_use ? 1 : 0;
  if (!pinned && !in_use) lru_.push_back(*item);
  used_ += bytes;
  const bool added = items_.emplace(row, std::move(item)).second;
  assert(added);
  (void)added;
}

void Budget::Grow(RowId row, uint64_t bytes) {
  MutexLock lock(mu_);
  Item* item = FindLocked(row);
  if (item == nullptr) return;
  item->bytes += bytes;
  used_ += bytes;
}

void Budget::Remove(RowId row) {
  {
    MutexLock lock(mu_);
    auto it = items_.find(row);
    if (it == items_.end()) return;
    used_ -= it->second->bytes;
    if (headroom_ < kUnlimited) headroom_ += it->second->bytes;
    if (it->second->evicting) evicting_ -= it->second->bytes;
    items_.erase(it);
  }
  evicted_.NotifyAll();
}

bool Budget::Acquire(RowId row, bool touch) {
  MutexLock lock(mu_);
  Item* item = FindLocked(row);
  if (item == nullptr || item->evicting) return false;
  ++item->users;
  if (touch) item->unlink();
  return true;
}

void Budget::Touch(RowId row) {
  MutexLock lock(mu_);
  if (Item* item = FindLocked(row); item != nullptr && item->users > 0) item->unlink();
}

void Budget::Release(RowId row) {
  MutexLock lock(mu_);
  Item* item = FindLocked(row);
  if (item == nullptr) return;
  assert(item->users > 0);
  if (--item->users == 0 && !item->pinned && !item->is_linked()) lru_.push_back(*item);
}

void Budget::SetPinned(RowId row, bool pinned) {
  MutexLock lock(mu_);
  Item* item = FindLocked(row);
  if (item == nullptr || item->pinned == pinned) return;
  item->pinned = pinned;
  if (pinned) item->unlink();
  if (!pinned && item->users == 0 && !item->evicting) lru_.push_back(*item);
}

bool Budget::Reserve(RowId row, uint64_t bytes, const EvictFunction& evict) {
  for (;;) {
    std::vector<Victim> victims;
    {
      MutexLock lock(mu_);
      Item* item = FindLocked(row);
      if (item == nullptr) return false;
      const uint64_t max = MaxLocked();
      if (used_ + bytes <= max) {
        used_ += bytes;
        reserved_ += bytes;
        headroom_ -= std::min(headroom_, headroom_ < kUnlimited ? bytes : 0);
        item->bytes += bytes;
        return true;
      }
      if (used_ - evicting_ + bytes <= max) {  // another thread is making room
        evicted_.Wait(mu_);
        continue;
      }
      const uint64_t low = LowLocked();
      victims = ChooseLocked(low > bytes ? low - bytes : 0, max > bytes ? max - bytes : 0, false);
      if (victims.empty()) return false;
    }
    evict(victims);
  }
}

bool Budget::HasRoomFor(uint64_t bytes) {
  MutexLock lock(mu_);
  const uint64_t max = MaxLocked(), low = LowLocked();
  if (used_ - evicting_ + bytes <= max) return true;
  return !ChooseLocked(low > bytes ? low - bytes : 0, max > bytes ? max - bytes : 0, true).empty();
}

void Budget::Settle(RowId row, uint64_t bytes, bool stored) {
  MutexLock lock(mu_);
  reserved_ -= bytes;
  if (stored) return;
  used_ -= bytes;
  if (headroom_ < kUnlimited) headroom_ += bytes;
  if (Item* item = FindLocked(row)) item->bytes -= bytes;
}

// Victims that bring what is used to `target`; none at all if even with all of them it would stay above `must`: evicting
// without making room would only lose data.
std::vector<Budget::Victim> Budget::ChooseLocked(uint64_t target, uint64_t must, bool dry_run) {
  std::vector<Victim> victims;
  uint64_t left = used_ - evicting_;
  for (const Item& item : lru_) {
    if (left <= target) break;
    if (item.users > 0) continue;
    victims.push_back({item.row, item.bytes});
    left -= item.bytes;
  }
  if (left > must) return {};
  if (!dry_run)
    for (const Victim& victim : victims) MarkLocked(*FindLocked(victim.row));
  return victims;
}

void Budget::MarkLocked(Item& item) {
  item.unlink();
  item.evicting = true;
  evicting_ += item.bytes;
}

std::vector<Budget::Victim> Budget::ChooseVictims(uint64_t target, bool dry_run) {
  MutexLock lock(mu_);
  return ChooseLocked(target, UINT64_MAX, dry_run);
}

bool Budget::ChooseVictim(RowId row, bool even_pinned) {
  MutexLock lock(mu_);
  Item* item = FindLocked(row);
  if (item == nullptr || item->evicting || item->users > 0 || (item->pinned && !even_pinned)) return false;
  MarkLocked(*item);
  return true;
}

bool Budget::OverLimit() {
  MutexLock lock(mu_);
  return used_ - evicting_ > MaxLocked() || headroom_ == 0;
}

uint64_t Budget::LowMarkBytes() {
  MutexLock lock(mu_);
  return LowLocked();
}

Budget::Use Budget::GetUse() {
  MutexLock lock(mu_);
  return {.used = used_, .reserved = reserved_, .max_bytes = limits_.max_bytes};
}

uint64_t Budget::BytesOf(RowId row) {
  MutexLock lock(mu_);
  const Item* item = FindLocked(row);
  return item == nullptr ? 0 : item->bytes;
}

}  // namespace glintfs
