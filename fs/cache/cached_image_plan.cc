// What to fetch, decided under the image's lock: what a demand read needs now, what a stream will need soon, what a fill wants
// at all; and what happens to a flight that has what someone needs sooner. Nothing here does I/O or calls out.
#include <algorithm>
#include <cassert>

#include "fs/cache/cached_image.h"

namespace glintfs {
namespace {

// A sequential read waits for a chunk that a running flight will bring when it is this near, or this soon at the flight's
// rate. A random read has less patience.
constexpr uint64_t kNearBytes = 1 << 20;
constexpr double kSoonSeconds = 0.05;
constexpr double kSoonSecondsRandom = 0.02;
constexpr double kPatienceWithReaders = 5;
// The least a demand flight takes over from a flight that has not started: a sequential reader would want it next anyway.
constexpr uint64_t kTakeoverBytes = 1 << 20;
constexpr uint64_t kReadaheadPiece = 4 << 20;
constexpr uint64_t kMinFillExtent = 1 << 20;
constexpr uint64_t kFirstFillExtent = 512 << 10;    // until it is known whether the source can start in the middle
constexpr double kSlowConnection = 4 * (1 << 20);  // bytes/s: a store that is slower is likely to have more for others
constexpr Nanos kRateWindow = std::chrono::milliseconds(100);
constexpr Nanos kGrowPause = std::chrono::seconds(5);

}  // namespace

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
    // Behind another reader's own stream one waits longer than behind a fill.
    const double scale = old_urgency <= Urgency::kReadahead ? kPatienceWithReaders : 1;
    const bool near = (chunk - flight.next) * chunk_size_ <= (random ? 0 : kNearBytes);
    if (near || wait <= (random ? kSoonSecondsRandom : kSoonSeconds) * scale) {
      RaiseLocked(flight, Urgency::kDemand, actions);
      return old_end;
    }
    if (wait <= kSoonSeconds * scale) {
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
      1, std::min(host_.FillExtentBytes(), can_seek_ ? std::max(remaining, kMinFillExtent) : kFirstFillExtent) / chunk_size_);
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
  fill_error_ = error && error->code != Errc::kCancelled ? error->ToString() : "";  // what somebody wanted is no error
  if (error && error->code != Errc::kCancelled) {
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

void CachedImage::HoldFills() {
  fills_held_ = true;
  CancelFill();
}

// Of urgency `least` and less.
void CachedImage::EndFlights(Urgency least) {
  Actions actions;
  {
    MutexLock lock(mu_);
    StopFillLocked(Error{Errc::kCancelled, "the fill was cancelled"}, actions);
    for (const auto& flight : in_flight_.all())
      if (flight->urgency.load() >= least && (flight->fill || least == Urgency::kDemand)) flight->end = flight->next;
    OrphansLocked(actions.restart);
  }
  Perform(std::move(actions));
}

// How many extents of a fill are in flight is found by trying: twice as many (four times, while each is slow), and if that is not
// faster by a sixth, back. A far or throttled store ends up with all of them, a near one with one or two. Nothing is tried while
// there can be only one. True when there are to be more.
bool CachedImage::AdaptFillLocked(uint64_t bytes) {
  const Nanos now = host_.clock().Now();
  if (window_start_.count() == 0 || now - window_start_ > std::chrono::seconds(3)) {
    window_start_ = now;
    window_bytes_ = 0;
  }
  window_bytes_ += bytes;
  const Nanos window = now - window_start_;
  if (window < kRateWindow || window_bytes_ < 2 * chunk_size_ * static_cast<uint64_t>(fill_parallel_)) return false;
  rate_ = static_cast<double>(window_bytes_) / std::chrono::duration<double>(window).count();
  window_start_ = now;
  window_bytes_ = 0;
  if (!can_seek_) return false;

  const int before = fill_parallel_;
  if (rate_ > rate_before_growth_ * 1.17 && now >= grow_again_at_) {
    rate_before_growth_ = rate_;
    fill_parallel_ = std::min(host_.MaxFillFlights(), before * (rate_ < kSlowConnection * before ? 4 : 2));
  } else if (now >= grow_again_at_) {
    fill_parallel_ = std::max(1, before / 2);
    grow_again_at_ = now + kGrowPause;
    rate_before_growth_ = 0;
  }
  return fill_parallel_ > before;
}

}  // namespace glintfs
