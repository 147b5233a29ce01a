// Requests: the kernel's requests that may have to wait, by id, so that each can be interrupted and none is forgotten
// when the mount ends.
//
//   Begin ──▶ (answered at once) ─────────────────────────────▶ End
//         └─▶ parked: Park(how to cancel) ──▶ answered ────────▶ End
//                          ▲                    ▲
//                  Interrupt before      Interrupt: cancel()
//
// An interrupt can come at any moment, also between Begin and Park: it is kept, and Park acts on it.
// Thread-safe. `cancel` is called without a lock, at most a few times, also when the request is being answered.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <unordered_map>

#include "fs/base/mutex.h"

namespace glintfs {

class Requests {
 public:
  void Begin(uint64_t id);
  void End(uint64_t id);
  // To be called after the request was handed to whoever answers it. Does nothing when it has ended.
  void Park(uint64_t id, std::function<void()> cancel);
  void Interrupt(uint64_t id);
  // Interrupts all, and from now on every one that parks.
  void InterruptAll();
  size_t outstanding() const { return static_cast<size_t>(outstanding_.load()); }

  // True when the last request that ended on the calling thread is `id`: then Park can be saved.
  static bool EndedHere(uint64_t id);

 private:
  struct Entry {
    bool interrupted = false;
    std::function<void()> cancel;
  };
  struct alignas(64) Shard {
    Mutex mu;
    std::unordered_map<uint64_t, Entry> entries GUARDED_BY(mu);
  };
  static constexpr size_t kShards = 32;

  Shard& ShardOf(uint64_t id) { return shards_[id % kShards]; }

  std::array<Shard, kShards> shards_;
  std::atomic<int64_t> outstanding_{0};
  std::atomic<bool> stopping_{false};
};

}  // namespace glintfs
