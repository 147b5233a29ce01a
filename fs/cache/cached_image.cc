// The read side: deciding under the lock, acting after it. Every public method follows the same form: lock, decide, collect
// Actions, unlock, Perform. What to fetch is decided in cached_image_plan.cc, the fetching is in cached_image_fetch.cc, the
// checking in cached_image_check.cc.
//
// Left out on purpose: a map from chunk to waiting reads. An image has tens of parked reads at most (the kernel's
// max_background bounds them); a scan of the list per finished chunk costs less than keeping a map right.
#include "fs/cache/cached_image.h"

#include <algorithm>
#include <cassert>

#include "fs/base/log.h"

namespace glintfs {
namespace {

constexpr int kMaxFailedReplies = 3;
constexpr Nanos kLongWait = std::chrono::seconds(1);
constexpr Nanos kNoSecondWait = std::chrono::milliseconds(500);

}  // namespace

CachedImage::CachedImage(ImageInfo info, RowId row, uint64_t chunk_size, ImageHost& host, Stored stored)
    : info_(std::move(info)),
      row_(row),
      chunk_size_(chunk_size),
      chunks_((info_.size + chunk_size - 1) / chunk_size),
      host_(host),
      preexisting_file_(stored.file != nullptr),
      file_(std::move(stored.file)),
      generation_(stored.generation),
      present_(chunks_),
      suspect_(chunks_),
      charged_(chunks_),
      hashes_(chunks_, 0) {
  MutexLock lock(mu_);
  for (const ChunkSegment& s : stored.segments) {
    const uint64_t first = s.segment * ChunkSegment::kChunks;
    if (first >= chunks_) continue;
    const uint64_t here = std::min(chunks_ - first, ChunkSegment::kChunks);
    if (s.hashes.size() < here || s.present.size() < (here + 63) / 64) continue;
    present_.LoadWords(first / 64, std::span(s.present).first((here + 63) / 64));
    std::copy_n(s.hashes.begin(), here, hashes_.begin() + static_cast<ptrdiff_t>(first));
  }
  charged_ = present_;
  if (stored.suspect) suspect_ = present_;
}

CachedImage::~CachedImage() {
  assert(parked_.empty());
  host_.OnDestroyed(row_);
}

uint64_t CachedImage::ChunkLength(uint64_t chunk) const {
  return std::min(chunk_size_, info_.size - chunk * chunk_size_);
}

// ---------------------------------------------------------------------------------------------------- reads

void CachedImage::Read(std::unique_ptr<ReadOp> op) {
  op->began_ = host_.clock().Now();
  Advance(std::move(op), true);
}

void CachedImage::Advance(std::unique_ptr<ReadOp> op, bool first) {
  for (;;) {
    Actions actions;
    Decision decision;
    const uint64_t offset = op->offset, length = op->length;
    {
      MutexLock lock(mu_);
      decision = DecideLocked(op, first, actions);
    }
    if (first && decision != Decision::kFail) {
      auto& counter = decision == Decision::kParked ? host_.counters().read_misses : host_.counters().read_hits;
      counter.fetch_add(1, std::memory_order_relaxed);
    }
    first = false;
    const Error error = actions.error;
    Perform(std::move(actions));
    switch (decision) {
      case Decision::kParked: return;  // `op` belongs to the parked list, or is answered already
      case Decision::kReady: return Reply(std::move(op));
      case Decision::kFail: return op->Fail(error);
      case Decision::kCheck: CheckRange(offset, length); break;
    }
  }
}

CachedImage::Decision CachedImage::DecideLocked(std::unique_ptr<ReadOp>& op, bool first, Actions& actions) {
  if (failed_) {
    actions.error = *failed_;
    return Decision::kFail;
  }
  if (op->offset >= info_.size || op->length == 0) return Decision::kReady;
  const uint64_t end = std::min(info_.size, op->offset + op->length);
  const uint64_t from = op->offset / chunk_size_, last = (end - 1) / chunk_size_;
  const auto ahead = first && !present_.full() ? readahead_.OnRead(op->offset, end - op->offset) : std::nullopt;

  bool suspect = false;
  uint64_t absent = last + 1;
  for (uint64_t chunk = from; chunk <= last && absent > last; ++chunk) {
    if (present_.Has(chunk)) {
      suspect |= suspect_.Has(chunk);
    } else if (std::any_of(op->held_.begin(), op->held_.end(), [chunk](const auto& h) { return h.chunk == chunk; })) {
      continue;
    } else if (Buffer bytes = FindTransientLocked(chunk, end)) {
      op->held_.push_back({chunk, std::move(bytes)});
    } else {
      absent = chunk;
    }
  }
  if (absent <= last && first && op->began_ < gave_up_until_ && op->began_.count() != 0) {
    actions.error = *gave_up_;
    return Decision::kFail;
  }
  if (absent <= last) DemandLocked(absent, last, first && !readahead_.last_was_sequential(), actions);
  if (ahead) AheadLocked(*ahead, actions);
  if (first)
    PlanFillOnReadLocked(absent, actions);
  else
    PlanFillLocked(actions);
  if (absent > last) return suspect ? Decision::kCheck : Decision::kReady;
  op->parked_on_ = absent;
  op->waited_ = true;
  parked_.push_back(*op.release());
  parked_count_.fetch_add(1, std::memory_order_relaxed);
  host_.counters().reads_parked.fetch_add(1, std::memory_order_relaxed);
  return Decision::kParked;
}

// The kernel's page cache asks again, page by page, for what its readahead did not get: a program would wait twice for one
// read(2). So for a moment after a read has waited long in vain, others fail alike.
void CachedImage::GaveUpLocked(const Error& error, const OpList& failed) {
  if (error.code != Errc::kTimedOut && error.code != Errc::kUnavailable) return;
  const Nanos now = host_.clock().Now();
  for (const auto& op : failed) {
    if (op->began_.count() == 0 || now - op->began_ < kLongWait) continue;
    gave_up_ = error;
    gave_up_until_ = now + kNoSecondWait;
    return;
  }
}

// With fill=full a read starts a fill of what is absent.
void CachedImage::PlanFillOnReadLocked(uint64_t first_absent, Actions& actions) {
  if (!fill_ && !present_.full() && !sealed_ && !fills_held_ && host_.clock().Now() >= fill_retry_at_ && host_.MayFill(info_.size)) {
    fill_ = Urgency::kBackground;
    fill_cursor_ = std::min(first_absent, chunks_);
  }
  PlanFillLocked(actions);
}

bool CachedImage::IsHitLocked(uint64_t offset, size_t length) const {
  if (failed_ || length == 0 || offset >= info_.size) return false;
  if (present_.full() && suspect_.empty()) return true;
  const uint64_t last = (std::min(info_.size, offset + length) - 1) / chunk_size_;
  for (uint64_t chunk = offset / chunk_size_; chunk <= last; ++chunk)
    if (!present_.Has(chunk) || suspect_.Has(chunk)) return false;
  return true;
}

std::optional<CachedImage::Hit> CachedImage::TryRead(uint64_t offset, size_t length) {
  Actions actions;
  Hit hit{};
  {
    MutexLock lock(mu_);
    if (!IsHitLocked(offset, length)) return std::nullopt;
    hit = {.file = file_.get(), .length = static_cast<size_t>(std::min<uint64_t>(length, info_.size - offset)),
           .latency = &host_.counters().hit_latency};
    if (!present_.full()) {
      if (const auto ahead = readahead_.OnRead(offset, hit.length)) AheadLocked(*ahead, actions);
      PlanFillOnReadLocked((offset + hit.length + chunk_size_ - 1) / chunk_size_, actions);
    }
  }
  host_.counters().read_hits.fetch_add(1, std::memory_order_relaxed);
  host_.counters().bytes_read.fetch_add(hit.length, std::memory_order_relaxed);
  Perform(std::move(actions));
  return hit;
}

CachedImage::Buffer CachedImage::FindTransientLocked(uint64_t chunk, uint64_t read_end) {
  for (Transient& t : transient_) {
    if (t.chunk != chunk) continue;
    if (read_end >= chunk * chunk_size_ + t.bytes->size()) t.used = true;
    return t.bytes;
  }
  return nullptr;
}

void CachedImage::Reply(std::unique_ptr<ReadOp> op) {
  if (op->offset >= info_.size || op->length == 0) {
    op->Done({});
    return;
  }
  std::shared_ptr<File> file;
  {
    MutexLock lock(mu_);
    file = file_;
  }
  const size_t length = static_cast<size_t>(std::min<uint64_t>(op->length, info_.size - op->offset));
  if (!op->held_.empty()) return ReplyMixed(std::move(op), file);
  CountBytes(*op, length);
  if (op->Done({.file = file.get(), .offset = op->offset, .length = length, .bytes = {}})) return CountLatency(*op);
  // The cache may fail, the read does not: chunks that cannot be read are dropped and fetched.
  if (++op->failed_replies_ > kMaxFailedReplies) return op->Fail({Errc::kIo, "the data file cannot be read"});
  CheckRange(op->offset, length);
  Advance(std::move(op), false);
}

// Some chunks are in memory only (bypass), the others in the data file.
void CachedImage::ReplyMixed(std::unique_ptr<ReadOp> op, const std::shared_ptr<File>& file) {
  const size_t length = static_cast<size_t>(std::min<uint64_t>(op->length, info_.size - op->offset));
  std::vector<std::byte> bytes(length);
  for (uint64_t at = op->offset; at < op->offset + length;) {
    const uint64_t chunk = at / chunk_size_, in_chunk = at % chunk_size_;
    const uint64_t n = std::min(ChunkLength(chunk) - in_chunk, op->offset + length - at);
    const auto out = std::span(bytes).subspan(at - op->offset, n);
    auto held = std::find_if(op->held_.begin(), op->held_.end(), [chunk](const auto& h) { return h.chunk == chunk; });
    if (held != op->held_.end()) {
      std::copy_n(held->bytes->begin() + static_cast<ptrdiff_t>(in_chunk), n, out.begin());
    } else if (auto read = file->ReadAt(out, at); !read) {
      host_.StorageFailed(read.error());
      CheckRange(at, n);  // it is absent now: fetch it like any other
      return Advance(std::move(op), false);
    }
    at += n;
  }
  CountBytes(*op, length);
  op->Done({.file = nullptr, .offset = op->offset, .length = length, .bytes = bytes});
  CountLatency(*op);
}

// Before the answer, so that who has it finds it counted. A read that is nobody's (Refetch) does not count.
void CachedImage::CountBytes(const ReadOp& op, size_t length) {
  if (op.began_.count() == 0) return;
  CacheCounters& counters = host_.counters();
  counters.bytes_read.fetch_add(length, std::memory_order_relaxed);
  if (!op.held_.empty())
    counters.bytes_from_bypass.fetch_add(length, std::memory_order_relaxed);
  else if (op.waited_)
    counters.bytes_from_store.fetch_add(length, std::memory_order_relaxed);
}

void CachedImage::CountLatency(const ReadOp& op) {
  if (op.began_.count() == 0) return;
  CacheCounters& counters = host_.counters();
  (op.waited_ ? counters.miss_latency : counters.hit_latency).Count(host_.clock().Now() - op.began_);
}

bool CachedImage::Cancel(uint64_t op_id) {
  std::unique_ptr<ReadOp> found;
  {
    MutexLock lock(mu_);
    auto it = std::find_if(parked_.begin(), parked_.end(), [op_id](const ReadOp& op) { return op.id == op_id; });
    if (it == parked_.end()) return false;
    found.reset(&*it);
    parked_.erase(it);
  }
  Unparked(1);
  found->Fail({Errc::kCancelled, "interrupted"});
  return true;
}

void CachedImage::Abort(Error error) {
  Actions actions;
  {
    MutexLock lock(mu_);
    failed_ = error;
    StopFillLocked(error, actions);  // the queue may wait for its end
    for (const auto& flight : in_flight_.all()) flight->end = flight->next;
    while (!parked_.empty()) {
      actions.fail.emplace_back(&parked_.front());
      parked_.pop_front();
    }
  }
  actions.error = std::move(error);
  Perform(std::move(actions));
}

void CachedImage::DropFlights() {
  InFlight dropped;  // destroyed without the lock
  MutexLock lock(mu_);
  std::swap(dropped, in_flight_);
}

// ---------------------------------------------------------------------------------------------------- after the lock

void CachedImage::Unparked(size_t reads) {
  if (reads == 0) return;
  parked_count_.fetch_sub(static_cast<int>(reads), std::memory_order_relaxed);
  host_.counters().reads_parked.fetch_sub(reads, std::memory_order_relaxed);
}

void CachedImage::Perform(Actions actions) {
  for (auto& flight : actions.enqueue) host_.Enqueue(std::move(flight));
  for (const auto& flight : actions.requeue) host_.Requeue(flight);
  Unparked(actions.fail.size() + actions.restart.size());
  for (auto& op : actions.fail) op->Fail(actions.error);
  for (auto& op : actions.restart) Advance(std::move(op), false);
  if (actions.fill_ended) host_.OnFillEnded(*this, std::move(actions.fill_error));
}

// ---------------------------------------------------------------------------------------------------- checkpoint, progress

void CachedImage::MarkDirtyLocked(uint64_t chunk) { dirty_segments_.insert(chunk / ChunkSegment::kChunks); }

CachedImage::Dirty CachedImage::TakeDirty() {
  MutexLock lock(mu_);
  Dirty dirty{.file = file_, .generation = generation_, .segments = {}, .chunks_present = present_.count(),
              .suspect = !suspect_.empty(), .dropped = std::exchange(dropped_, false)};
  for (const uint64_t number : dirty_segments_) {
    const uint64_t first = number * ChunkSegment::kChunks;
    const uint64_t here = std::min(chunks_ - first, ChunkSegment::kChunks);
    const auto words = present_.words().subspan(first / 64, (here + 63) / 64);
    const auto hashes = std::span(hashes_).subspan(first, here);
    dirty.segments.push_back({number, {words.begin(), words.end()}, {hashes.begin(), hashes.end()}});
  }
  dirty_segments_.clear();
  dirty_ = false;
  return dirty;
}

// A checkpoint failed. After a failed fdatasync the kernel calls the pages clean though they never reached the disk: they read
// well until memory is short, and no later sync writes them. So these chunks are absent again; fetching writes them anew.
void CachedImage::ReturnDirty(const Dirty& dirty, bool lost_writes) {
  bool report;
  {
    MutexLock lock(mu_);
    for (const ChunkSegment& s : dirty.segments) {
      dirty_segments_.insert(s.segment);
      const uint64_t first = s.segment * ChunkSegment::kChunks;
      for (uint64_t i = 0; lost_writes && i < s.hashes.size(); ++i) {
        suspect_.Remove(first + i);
        if (present_.Remove(first + i)) dropped_ = true;
      }
    }
    dropped_ |= dirty.dropped;
    report = !std::exchange(dirty_, true);
  }
  if (report) host_.OnDirty(shared_from_this());
}

std::optional<FetchStatus> CachedImage::Describe(const Flight& flight) {
  const Nanos now = host_.clock().Now();
  MutexLock lock(mu_);
  if (!flight.running || flight.next >= flight.end) return std::nullopt;
  const uint64_t offset = flight.begin * chunk_size_;
  return FetchStatus{.name = info_.id.name,
                     .offset = offset,
                     .length = std::min(info_.size, flight.end * chunk_size_) - offset,
                     .received = (flight.next - flight.begin) * chunk_size_,
                     .urgency = UrgencyName(flight.urgency.load()),
                     .age = now - flight.begun};
}

uint64_t CachedImage::PresentRun(uint64_t from) {
  MutexLock lock(mu_);
  return present_.FirstAbsent(from, chunks_);
}

CachedImage::Progress CachedImage::progress() {
  MutexLock lock(mu_);
  Progress p{.chunks_present = present_.count(), .cached_bytes = present_.count() * chunk_size_, .complete = present_.full(),
             .filling = fill_.has_value(), .queued = fill_ == Urgency::kQueued, .fill_rate = fill_ ? rate_ : 0, .error = fill_error_};
  if (chunks_ > 0 && present_.Has(chunks_ - 1)) p.cached_bytes -= chunk_size_ - ChunkLength(chunks_ - 1);
  if (fill_ && host_.clock().Now() - window_start_ > std::chrono::seconds(3)) p.fill_rate = 0;  // it has stalled
  return p;
}

}  // namespace glintfs
