// CacheQueue: images to be cached on request, one after the other, on one thread of its own. Durable through the index; a
// failed one is tried again with back-off and shows its error while the others go on. One whose checksum is wrong is given up:
// it would be fetched as a whole again and again, to the same end.
//
// Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "backends/backend.h"
#include "fs/base/clock.h"
#include "fs/base/mutex.h"
#include "fs/base/thread.h"
#include "fs/cache/cache.h"
#include "fs/cache/index.h"

namespace glintfs {

class CachedImage;

class CacheQueue {
 public:
  struct Callbacks {
    std::function<Result<void>(IndexBatch)> store;
    // The image a name stands for now, ready to be filled. May wait for the source.
    std::function<Result<std::shared_ptr<CachedImage>>(const std::string& name, std::stop_token)> open;
    // The image is complete: make that durable.
    std::function<void()> completed;
    // It was taken off the queue, for trying again would not help.
    std::function<void(const std::string& name, const Error& error)> gave_up;
    // The set of queued names changed: they are not evicted.
    std::function<void(const std::string& name, bool queued)> protect;
  };
  CacheQueue(Callbacks callbacks, Clock& clock, std::vector<QueueRow> rows);
  ~CacheQueue();

  void Start();
  void Stop();

  // When it is queued it is tried at once. `now`: before all others, also the one that is being cached; that goes on
  // afterwards, and its attempt does not count as failed.
  Result<void> Add(const std::string& name, uint64_t size, bool now = false);
  // `end_fill`: its fill ends even if somebody has the image open.
  Result<void> Remove(std::string_view name, bool end_fill = false);
  std::vector<std::string> Clear();  // what was in it
  bool Contains(std::string_view name);
  std::vector<QueueEntry> List();

  // From ImageHost::OnFillEnded.
  void OnFillEnded(RowId row, const std::optional<Error>& error);

 private:
  void Run(std::stop_token stop);
  std::optional<std::string> NextLocked(Nanos& wait) REQUIRES(mu_);
  std::vector<QueueRow> MoveToFrontLocked(const QueueRow& row) REQUIRES(mu_);
  Result<void> CacheOne(const std::string& name, std::stop_token stop);
  void Finish(const std::string& name, const Result<void>& result);

  const Callbacks callbacks_;
  Clock& clock_;
  Mutex mu_;
  CondVar changed_;
  std::vector<QueueRow> rows_ GUARDED_BY(mu_);  // in order
  std::unordered_map<std::string, uint64_t> sizes_ GUARDED_BY(mu_);  // of those in rows_, as far as they are known
  uint64_t next_position_ GUARDED_BY(mu_) = 1;
  std::string running_ GUARDED_BY(mu_);         // name; empty when none
  bool cancel_running_ GUARDED_BY(mu_) = false;
  bool end_fill_ GUARDED_BY(mu_) = false;       // with cancel_running_
  bool preempt_ GUARDED_BY(mu_) = false;        // another one goes before the one that runs
  std::optional<RowId> waiting_for_ GUARDED_BY(mu_);
  std::optional<Result<void>> fill_result_ GUARDED_BY(mu_);
  bool stopping_ GUARDED_BY(mu_) = false;
  Thread thread_;
};

}  // namespace glintfs
