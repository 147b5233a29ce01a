#include "fs/cache/cache_queue.h"

#include <algorithm>

#include "fs/base/log.h"
#include "fs/base/size_text.h"
#include "fs/cache/cached_image.h"

namespace glintfs {
namespace {

// 1 s, 2 s, 4 s … 5 min between attempts.
Nanos BackOff(int attempts) { return std::chrono::seconds(std::min<int64_t>(300, int64_t{1} << std::min(attempts - 1, 9))); }

}  // namespace

CacheQueue::CacheQueue(Callbacks callbacks, Clock& clock, std::vector<QueueRow> rows)
    : callbacks_(std::move(callbacks)), clock_(clock), rows_(std::move(rows)) {
  MutexLock lock(mu_);
  for (const QueueRow& row : rows_) next_position_ = std::max(next_position_, row.position + 1);
}

CacheQueue::~CacheQueue() { Stop(); }

void CacheQueue::Start() {
  thread_ = Thread("queue", [this](std::stop_token stop) { Run(stop); });
}

void CacheQueue::Stop() {
  thread_.RequestStop();
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  thread_.Join();
}

Result<void> CacheQueue::Add(const std::string& name, uint64_t size, bool now) {
  QueueRow row{.name = name, .position = 0, .added = clock_.WallNow(), .attempts = 0, .next_try = Nanos(0), .error = ""};
  IndexBatch batch;
  {
    MutexLock lock(mu_);
    auto it = std::find_if(rows_.begin(), rows_.end(), [&](const QueueRow& r) { return r.name == name; });
    if (it != rows_.end()) {
      it->next_try = Nanos(0);
      row = *it;
    } else {
      row.position = next_position_++;
    }
    batch.put_queue = now ? MoveToFrontLocked(row) : std::vector<QueueRow>{row};
  }
  callbacks_.protect(name, true);
  if (auto stored = callbacks_.store(std::move(batch)); !stored) {
    if (!Contains(name)) callbacks_.protect(name, false);
    return stored;
  }
  {
    MutexLock lock(mu_);
    if (std::none_of(rows_.begin(), rows_.end(), [&](const QueueRow& r) { return r.name == name; })) rows_.push_back(row);
    sizes_[name] = size;
    if (now) (void)MoveToFrontLocked(row);
    preempt_ |= now && !running_.empty() && running_ != name;
  }
  changed_.NotifyAll();
  return {};
}

// Numbers all of them anew, with this one first, whether it is in the queue yet or not. Returns them all.
std::vector<QueueRow> CacheQueue::MoveToFrontLocked(const QueueRow& row) {
  const auto it = std::find_if(rows_.begin(), rows_.end(), [&](const QueueRow& r) { return r.name == row.name; });
  if (it != rows_.end()) std::rotate(rows_.begin(), it, it + 1);
  std::vector<QueueRow> rows;
  if (it == rows_.end()) rows.push_back(row);
  rows.insert(rows.end(), rows_.begin(), rows_.end());
  next_position_ = 1;
  for (QueueRow& r : rows) r.position = next_position_++;
  for (QueueRow& r : rows_)
    r.position = std::find_if(rows.begin(), rows.end(), [&](const QueueRow& other) { return other.name == r.name; })->position;
  return rows;
}

Result<void> CacheQueue::Remove(std::string_view name, bool end_fill) {
  {
    MutexLock lock(mu_);
    if (std::erase_if(rows_, [&](const QueueRow& r) { return r.name == name; }) == 0)
      return Error{Errc::kNotFound, fmt::format("{} is not queued", name)};
    sizes_.erase(std::string(name));
    if (running_ == name) {
      cancel_running_ = true;
      end_fill_ = end_fill;
    }
  }
  changed_.NotifyAll();
  callbacks_.protect(std::string(name), false);
  IndexBatch batch;
  batch.remove_queue.emplace_back(name);
  return callbacks_.store(std::move(batch));
}

std::vector<std::string> CacheQueue::Clear() {
  std::vector<std::string> removed;
  for (const QueueEntry& entry : List())
    if (Remove(entry.name)) removed.push_back(entry.name);
  return removed;
}

bool CacheQueue::Contains(std::string_view name) {
  MutexLock lock(mu_);
  return std::any_of(rows_.begin(), rows_.end(), [&](const QueueRow& r) { return r.name == name; });
}

std::vector<QueueEntry> CacheQueue::List() {
  MutexLock lock(mu_);
  std::vector<QueueEntry> entries;
  for (const QueueRow& row : rows_) {
    const auto size = sizes_.find(row.name);
    entries.push_back({row.name, row.added, row.attempts, row.next_try, row.error, row.name == running_,
                       size == sizes_.end() ? std::nullopt : std::optional(size->second)});
  }
  return entries;
}

void CacheQueue::OnFillEnded(RowId row, const std::optional<Error>& error) {
  {
    MutexLock lock(mu_);
    if (waiting_for_ != row) return;
    fill_result_ = error ? Result<void>(*error) : Result<void>();
  }
  changed_.NotifyAll();
}

std::optional<std::string> CacheQueue::NextLocked(Nanos& wait) {
  const Nanos now = clock_.WallNow();
  wait = std::chrono::hours(1);
  for (const QueueRow& row : rows_) {
    if (row.next_try <= now) return row.name;
    wait = std::min(wait, row.next_try - now);
  }
  return std::nullopt;
}

void CacheQueue::Run(std::stop_token stop) {
  for (;;) {
    std::string name;
    {
      MutexLock lock(mu_);
      Nanos wait;
      std::optional<std::string> next;
      while (!stopping_ && !(next = NextLocked(wait))) changed_.WaitFor(mu_, wait);
      if (stopping_) return;
      name = running_ = *next;
      cancel_running_ = end_fill_ = preempt_ = false;
      fill_result_.reset();
      waiting_for_.reset();
    }
    const Result<void> result = CacheOne(name, stop);
    Finish(name, result);
  }
}

Result<void> CacheQueue::CacheOne(const std::string& name, std::stop_token stop) {
  GLINTFS_ASSIGN(const auto image, callbacks_.open(name, stop));
  {
    MutexLock lock(mu_);
    waiting_for_ = image->row();
    if (std::any_of(rows_.begin(), rows_.end(), [&](const QueueRow& r) { return r.name == name; })) sizes_[name] = image->info().size;
  }
  image->StartFill(Urgency::kQueued);
  bool cancelled, end_fill;
  {
    MutexLock lock(mu_);
    while (!fill_result_ && !cancel_running_ && !preempt_ && !stopping_) changed_.Wait(mu_);
    waiting_for_.reset();
    if (fill_result_) return *fill_result_;
    cancelled = cancel_running_;
    end_fill = end_fill_ || (preempt_ && !cancelled && !stopping_);  // a reader's next read starts it again, in the background
  }
  if (end_fill) {
    image->CancelFill();
  } else if (cancelled && image->open_handles.load() == 0) {
    image->CancelFill();
  }
  return Error{Errc::kCancelled, cancelled ? "taken off the queue" : end_fill ? "overtaken" : "stopping"};
}

void CacheQueue::Finish(const std::string& name, const Result<void>& result) {
  IndexBatch batch;
  const bool done = result.has_value(), given_up = !done && result.error().code == Errc::kCorrupt;
  if (done) callbacks_.completed();
  Nanos wait{0};
  {
    MutexLock lock(mu_);
    running_.clear();
    if (stopping_) return;
    if (!done && preempt_ && result.error().code == Errc::kCancelled) return;  // its turn comes again
    auto it = std::find_if(rows_.begin(), rows_.end(), [&](const QueueRow& r) { return r.name == name; });
    if (it == rows_.end()) return;  // it was taken off meanwhile
    if (done || given_up) {
      batch.remove_queue.push_back(name);
      rows_.erase(it);
      sizes_.erase(name);
    } else {
      wait = BackOff(++it->attempts);
      it->next_try = clock_.WallNow() + wait;
      it->error = result.error().ToString();
      batch.put_queue.push_back(*it);
    }
  }
  if (done) {
    LogInfo("{}: cached on request", name);
    callbacks_.protect(name, false);
  } else if (given_up) {
    LogError("{}: taken off the queue: {}", name, result.error().ToString());
    callbacks_.protect(name, false);
  } else {
    LogWarn("{}: cannot be cached now: {}; next try in {}", name, result.error().ToString(), FormatDuration(wait));
  }
  if (auto stored = callbacks_.store(std::move(batch)); !stored)
    LogWarn("the queue cannot be stored: {}", stored.error().message);
  if (given_up) callbacks_.gave_up(name, result.error());
}

}  // namespace glintfs
