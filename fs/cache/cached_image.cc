// The read side: deciding under the lock, acting after it. Every public method follows the same form: lock, decide, collect
// Actions, unlock, Perform. The fetch side is in cached_image_fetch.cc.
//
// Left out on purpose: a map from chunk to waiting reads. An image has tens of parked reads at most (the kernel's
// max_background bounds them); a scan of the list per finished chunk costs less than keeping a map right.
#include "fs/cache/cached_image.h"

#include <algorithm>
#include <cassert>

#include "fs/base/log.h"

namespace glintfs {
namespace {

// A sequential read waits for a chunk that a running flight will bring when it is this near, or this soon at the flight's
// rate. A random read has less patience.
constexpr uint64_t kNearBytes = 1 << 20;
constexpr double kSoonSeconds = 0.05;
constexpr double kSoonSecondsRandom = 0.001;
// The least a demand flight takes over from a flight that has not started: a sequential reader would want it next anyway.
constexpr uint64_t kTakeoverBytes = 1 << 20;
constexpr uint64_t kReadaheadPiece = 4 << 20;
constexpr int kMaxFailedReplies = 3;
constexpr uint64_t kMinFillExtent = 1 << 20;

ChunkSet AllChunks(const ChunkSet& like) {
  ChunkSet set(like.size());
  std::vector<uint64_t> words(like.words().begin(), like.words().end());
  set.LoadWords(0, words);
  return set;
}

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
  charged_ = AllChunks(present_);
  if (stored.suspect) suspect_ = AllChunks(present_);
}

CachedImage::~CachedImage() {
  assert(parked_.empty());
  host_.OnDestroyed(row_);
}

uint64_t CachedImage::ChunkLength(uint64_t chunk) const {
  return std::min(chunk_size_, info_.size - chunk * chunk_size_);
}

// ---------------------------------------------------------------------------------------------------- reads

void CachedImage::Read(std::unique_ptr<ReadOp> op) { Advance(std::move(op), true); }

void CachedImage::Advance(std::unique_ptr<ReadOp> op, bool first) {
  for (;;) {
    Actions actions;
    Decision decision;
    const uint64_t offset = op->offset, length = op->length;
    {
      MutexLock lock(mu_);
      decision = DecideLocked(op, first, actions);
    }
    if (first) {
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
  if (absent > last) {
    if (ahead) AheadLocked(*ahead, actions);
    return suspect ? Decision::kCheck : Decision::kReady;
  }
  DemandLocked(absent, last, first && !readahead_.last_was_sequential(), actions);
  if (ahead) AheadLocked(*ahead, actions);
  const Nanos now = host_.clock().Now();
  if (first && !fill_ && now >= fill_retry_at_ && host_.MayFill(info_.size)) {
    fill_ = Urgency::kBackground;
    fill_cursor_ = absent;
  }
  PlanFillLocked(actions);
  op->parked_on_ = absent;
  op->parked_since_ = now.count();
  parked_.push_back(*op.release());
  parked_count_.fetch_add(1, std::memory_order_relaxed);
  host_.counters().reads_parked.fetch_add(1, std::memory_order_relaxed);
  return Decision::kParked;
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
  host_.counters().bytes_read.fetch_add(length, std::memory_order_relaxed);
  if (!op->held_.empty()) return ReplyMixed(std::move(op), file);
  if (op->Done({.file = file.get(), .offset = op->offset, .length = length, .bytes = {}})) return;
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
  op->Done({.file = nullptr, .offset = op->offset, .length = length, .bytes = bytes});
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
    fill_.reset();
    for (const auto& flight : in_flight_.all()) flight->end = flight->next;
    while (!parked_.empty()) {
      actions.fail.emplace_back(&parked_.front());
      parked_.pop_front();
    }
  }
  actions.error = std::move(error);
  Perform(std::move(actions));
}

// ---------------------------------------------------------------------------------------------------- planning

// Puts every absent chunk of [from, last] in flight, at once: flights that have it already are hurried or cut.
void CachedImage::DemandLocked(uint64_t from, uint64_t last, bool random, Actions& actions) {
  if (sequential_only_) {
    if (in_flight_.all().empty()) AddFlightLocked(Urgency::kDemand, 0, chunks_, false, actions);
    for (const auto& flight : in_flight_.all()) RaiseLocked(*flight, Urgency::kDemand, actions);
    return;
  }
  for (uint64_t chunk = from; chunk <= last;) {
    if (present_.Has(chunk)) {
      ++chunk;
    } else if (Flight* flight = in_flight_.Find(chunk)) {
      chunk = HurryLocked(*flight, chunk, last, random, actions);
    } else {
      const auto run = in_flight_.NextFree(present_, chunk, last + 1);
      AddFlightLocked(Urgency::kDemand, chunk, run.end, false, actions);
      chunk = run.end;
    }
  }
}

// A demand read wants `chunk` (up to `last`) of a flight. Returns the first chunk that is not settled by this.
//   soon here             wait for it
//   not so soon           a flight of its own for these chunks; the old one will bring them again, and they are dropped then:
//                         a few chunks twice cost less than the connection and what is under way on it
//   far (slow source)     cut the old flight at `chunk` and take over its tail
//   not started yet       split it, at no cost
uint64_t CachedImage::HurryLocked(Flight& flight, uint64_t chunk, uint64_t last, bool random, Actions& actions) {
  const uint64_t old_end = flight.end;
  const Urgency old_urgency = flight.urgency.load();
  const uint64_t wanted_end = std::min(old_end, last + 1);
  if (flight.running) {
    const double wait = SecondsUntilLocked(flight, chunk);
    const bool near = (chunk - flight.next) * chunk_size_ <= (random ? 0 : kNearBytes);
    if (near || wait <= (random ? kSoonSecondsRandom : kSoonSeconds)) {
      RaiseLocked(flight, Urgency::kDemand, actions);
      return old_end;
    }
    if (wait <= kSoonSeconds) {
      AddFlightLocked(Urgency::kDemand, chunk, wanted_end, false, actions);
      return old_end;
    }
  }
  if (!flight.running && chunk == flight.next) {
    // A sequential reader will want more of it than this read does.
    const uint64_t takeover = old_urgency <= Urgency::kReadahead ? chunk + kTakeoverBytes / chunk_size_ : 0;
    flight.end = std::min(old_end, std::max(wanted_end, takeover));
    RaiseLocked(flight, Urgency::kDemand, actions);
  } else {
    flight.end = chunk;
    AddFlightLocked(Urgency::kDemand, chunk, wanted_end, false, actions);
  }
  const uint64_t tail = std::max(flight.end, wanted_end);
  if (tail < old_end) AddFlightLocked(old_urgency, tail, old_end, flight.fill, actions);
  return old_end;
}

// When `chunk` will be here, at the rate the flight has had so far.
double CachedImage::SecondsUntilLocked(const Flight& flight, uint64_t chunk) const {
  constexpr double kGuess = 100e6;  // bytes/s, before the first chunk
  const double distance = static_cast<double>((chunk - flight.next + 1) * chunk_size_);
  const double seconds = std::chrono::duration<double>(host_.clock().Now() - flight.started).count();
  const double done = static_cast<double>((flight.next - flight.begin) * chunk_size_);
  return done == 0 ? std::max(seconds, distance / kGuess) : distance * seconds / done;
}

void CachedImage::AheadLocked(const Extent& bytes, Actions& actions) {
  if (sequential_only_ || bytes.offset >= info_.size) return;
  const uint64_t end = (std::min(bytes.end(), info_.size) + chunk_size_ - 1) / chunk_size_;
  const uint64_t piece = std::max<uint64_t>(1, kReadaheadPiece / chunk_size_);
  for (const auto& flight : in_flight_.all())
    if (flight->next < end && flight->end > bytes.offset / chunk_size_) RaiseLocked(*flight, Urgency::kReadahead, actions);
  for (uint64_t chunk = bytes.offset / chunk_size_; chunk < end;) {
    const auto run = in_flight_.NextFree(present_, chunk, end);
    if (run.begin == run.end) return;
    const uint64_t stop = std::min(run.end, run.begin + piece);
    AddFlightLocked(Urgency::kReadahead, run.begin, stop, false, actions);
    chunk = stop;
  }
}

void CachedImage::PlanFillLocked(Actions& actions) {
  if (!fill_ || failed_) return;
  // Shorter towards the end, so that the last extents of a slow source end together and not one long after the others.
  const uint64_t remaining = (chunks_ - present_.count()) * chunk_size_ / (2 * static_cast<uint64_t>(host_.MaxFillFlights()));
  const uint64_t piece = std::max<uint64_t>(
      1, std::min(host_.FillExtentBytes(), std::max(remaining, kMinFillExtent)) / chunk_size_);
  const int parallel = sequential_only_ ? 1 : std::min(fill_parallel_, host_.MaxFillFlights());
  while (fill_flights_ < parallel) {
    // Until a fetch from the middle has worked, one at a time: from a source that cannot do it nothing is fetched twice.
    if (!can_seek_ && !sequential_only_ && !in_flight_.all().empty()) return;
    if (sequential_only_) {
      if (!present_.full() && in_flight_.all().empty()) AddFlightLocked(*fill_, 0, chunks_, true, actions);
      return;
    }
    auto run = in_flight_.NextFree(present_, std::min(fill_cursor_, chunks_), chunks_);
    if (run.begin == run.end) run = in_flight_.NextFree(present_, 0, std::min(fill_cursor_, chunks_));
    if (run.begin == run.end) return;
    const uint64_t end = std::min(run.end, run.begin + piece);
    AddFlightLocked(*fill_, run.begin, end, true, actions);
    fill_cursor_ = end;
  }
}

void CachedImage::StopFillLocked(std::optional<Error> error, Actions& actions) {
  if (!fill_) return;
  const bool queued = *fill_ == Urgency::kQueued;
  fill_.reset();
  actions.fill_ended = true;
  fill_error_ = error ? error->ToString() : "";
  if (error) {
    // A queued fill has the queue to try again; a background one is tried again from here on the next read.
    const int exponent = std::min(fill_failures_++, 6);
    if (!queued) fill_retry_at_ = host_.clock().Now() + std::chrono::seconds(1 << exponent);
  } else {
    fill_failures_ = 0;
  }
  actions.fill_error = std::move(error);
}

void CachedImage::AddFlightLocked(Urgency urgency, uint64_t begin, uint64_t end, bool fill, Actions& actions) {
  assert(begin < end && end <= chunks_);
  auto flight = std::make_shared<Flight>(shared_from_this(), urgency, begin, end, fill);
  if (fill) ++fill_flights_;
  if (in_flight_.Find(begin) != nullptr) {
    in_flight_.AddFirst(flight);  // it overtakes
  } else {
    in_flight_.Add(flight);
  }
  actions.enqueue.push_back(std::move(flight));
}

void CachedImage::RaiseLocked(Flight& flight, Urgency to, Actions& actions) {
  if (!flight.Raise(to)) return;
  if (auto shared = in_flight_.Share(&flight)) actions.requeue.push_back(std::move(shared));
}

void CachedImage::StartFill(Urgency urgency) {
  Actions actions;
  {
    MutexLock lock(mu_);
    if (failed_) {
      fill_ = urgency;
      StopFillLocked(*failed_, actions);
    } else if (present_.full()) {
      fill_ = urgency;
      StopFillLocked(std::nullopt, actions);
    } else {
      if (!fill_ || urgency < *fill_) fill_ = urgency;
      for (const auto& flight : in_flight_.all())
        if (flight->fill) RaiseLocked(*flight, *fill_, actions);
      fill_error_.clear();
      PlanFillLocked(actions);
    }
  }
  Perform(std::move(actions));
}

bool CachedImage::filling() {
  MutexLock lock(mu_);
  return fill_.has_value();
}

void CachedImage::CancelFill() {
  Actions actions;
  {
    MutexLock lock(mu_);
    StopFillLocked(Error{Errc::kCancelled, "the fill was cancelled"}, actions);
    for (const auto& flight : in_flight_.all())
      if (flight->fill && flight->urgency.load() >= Urgency::kQueued) flight->end = flight->next;
    OrphansLocked(actions.restart);
  }
  Perform(std::move(actions));
}

void CachedImage::StoreEmpty() {
  if (auto file = EnsureFile(); !file) return;
  {
    MutexLock lock(mu_);
    dirty_ = true;
  }
  host_.OnDirty(shared_from_this());
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

// A checkpoint failed. After a failed fdatasync the kernel may have dropped the pages: those chunks are suspect now.
void CachedImage::ReturnDirty(const Dirty& dirty, bool lost_writes) {
  bool report;
  {
    MutexLock lock(mu_);
    for (const ChunkSegment& s : dirty.segments) {
      dirty_segments_.insert(s.segment);
      const uint64_t first = s.segment * ChunkSegment::kChunks;
      for (uint64_t i = 0; lost_writes && i < s.hashes.size(); ++i)
        if (present_.Has(first + i)) suspect_.Add(first + i);
    }
    dropped_ |= dirty.dropped;
    report = !std::exchange(dirty_, true);
  }
  if (report) host_.OnDirty(shared_from_this());
}

uint64_t CachedImage::PresentRun(uint64_t from) {
  MutexLock lock(mu_);
  return present_.FirstAbsent(from, chunks_);
}

CachedImage::Progress CachedImage::progress() {
  MutexLock lock(mu_);
  Progress p{.chunks_present = present_.count(), .cached_bytes = present_.count() * chunk_size_, .complete = present_.full(),
             .filling = fill_.has_value(), .fill_rate = fill_ ? rate_ : 0, .error = fill_error_};
  if (chunks_ > 0 && present_.Has(chunks_ - 1)) p.cached_bytes -= chunk_size_ - ChunkLength(chunks_ - 1);
  if (fill_ && host_.clock().Now() - window_start_ > std::chrono::seconds(3)) p.fill_rate = 0;  // it has stalled
  return p;
}

}  // namespace glintfs
