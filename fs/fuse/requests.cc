#include "fs/fuse/requests.h"

#include <utility>
#include <vector>

namespace glintfs {
namespace {
thread_local uint64_t last_ended = 0;
}  // namespace

bool Requests::EndedHere(uint64_t id) { return last_ended == id; }

void Requests::Begin(uint64_t id) {
  ++outstanding_;
  Shard& shard = ShardOf(id);
  MutexLock lock(shard.mu);
  shard.entries.try_emplace(id);
}

void Requests::End(uint64_t id) {
  last_ended = id;
  Shard& shard = ShardOf(id);
  std::function<void()> dropped;  // may hold the last reference to an image: destroyed without the lock
  {
    MutexLock lock(shard.mu);
    const auto it = shard.entries.find(id);
    if (it == shard.entries.end()) return;
    dropped = std::move(it->second.cancel);
    shard.entries.erase(it);
  }
  dropped = nullptr;
  --outstanding_;
}

void Requests::Park(uint64_t id, std::function<void()> cancel) {
  Shard& shard = ShardOf(id);
  bool now = stopping_;
  {
    MutexLock lock(shard.mu);
    const auto it = shard.entries.find(id);
    if (it == shard.entries.end()) return;
    it->second.cancel = cancel;
    now = now || it->second.interrupted;
  }
  // InterruptAll sets stopping_ before it looks at the shards: either it finds the entry, or this sees the flag.
  if (now || stopping_) cancel();
}

void Requests::Interrupt(uint64_t id) {
  Shard& shard = ShardOf(id);
  std::function<void()> cancel;
  {
    MutexLock lock(shard.mu);
    const auto it = shard.entries.find(id);
    if (it == shard.entries.end()) return;
    it->second.interrupted = true;
    cancel = it->second.cancel;
  }
  if (cancel) cancel();
}

void Requests::InterruptAll() {
  stopping_ = true;
  for (Shard& shard : shards_) {
    std::vector<std::function<void()>> cancels;
    {
      MutexLock lock(shard.mu);
      for (auto& [id, entry] : shard.entries) {
        entry.interrupted = true;
        if (entry.cancel) cancels.push_back(entry.cancel);
      }
    }
    for (const auto& cancel : cancels) cancel();
  }
}

}  // namespace glintfs
