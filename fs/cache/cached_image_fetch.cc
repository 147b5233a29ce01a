// The fetch side of CachedImage: what a worker does with one flight.
//
//   RunFlight:  BeginFlight ─▶ ImageReader::Fetch ─▶ ChunkSink ─▶ FinishChunk (store, mark, wake) … ─▶ EndFlight
//
// A chunk's bytes count as present only after its pwrite returned; a checkpoint (janitor) syncs the file before the index
// names the chunk. Zero chunks are holes: no blocks, no transfer back.
#include <algorithm>
#include <cstring>
#include <thread>

#if defined(__x86_64__)
#include <xxh_x86dispatch.h>  // the widest vector code that this CPU has; the same hash
#else
#include <xxhash.h>
#endif

#include "fs/base/log.h"
#include "fs/cache/cached_image.h"

namespace glintfs {
namespace {

constexpr uint64_t kMaxTransientBytes = 16 << 20;  // in memory, per image that has no room on disk
constexpr uint64_t kBypassWindow = 4 << 20;        // readahead of an image that is not being stored

bool IsZero(std::span<const std::byte> data) {
  return data.empty() || (data[0] == std::byte{0} && std::memcmp(data.data(), data.data() + 1, data.size() - 1) == 0);
}

// Where a chunk is put together, kept by its thread from one flight to the next: fresh pages for each flight cost a demand read
// more than the copy into them.
thread_local std::vector<std::byte> kept_buffer;

}  // namespace

uint64_t HashChunk(std::span<const std::byte> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

// Cuts a flight's byte stream into chunks.
class ChunkSink final : public DataSink {
 public:
  ChunkSink(CachedImage& image, Flight& flight, const Extent& extent, std::stop_token stop)
      : image_(image), flight_(flight), chunk_(extent.offset / image.chunk_size_), end_(extent.end()), stop_(std::move(stop)),
        buffered_(std::move(kept_buffer)) {
    buffered_.clear();
  }
  ~ChunkSink() override { kept_buffer = std::move(buffered_); }

  bool Write(std::span<const std::byte> data) override {
    Pace(0);
    while (!data.empty()) {
      const uint64_t want = image_.ChunkLength(chunk_);
      std::span<const std::byte> whole;
      if (buffered_.empty() && data.size() >= want) {
        whole = data.first(want);
        data = data.subspan(want);
      } else {
        const size_t n = std::min<size_t>(want - buffered_.size(), data.size());
        if (buffered_.capacity() < want) buffered_.reserve(want);
        buffered_.insert(buffered_.end(), data.begin(), data.begin() + static_cast<ptrdiff_t>(n));
        data = data.subspan(n);
        whole = buffered_;
      }
      image_.ServeEarly(chunk_, whole);
      if (whole.size() < want) break;
      Pace(whole.size());
      const bool more = image_.FinishChunk(flight_, chunk_, whole);
      buffered_.clear();
      ++chunk_;
      // At the end of the extent there is nothing to cut off: "enough" would cost the connection.
      const bool at_end = chunk_ * image_.chunk_size_ >= end_;
      if ((!more && !at_end) || stop_.stop_requested()) return false;
    }
    return true;
  }

 private:
  // What it takes says nothing about the source: it does not count for the flight's speed.
  void Pace(uint64_t bytes) {
    const Nanos waited = image_.host_.Pace(flight_, bytes, stop_);
    if (waited.count() == 0) return;
    MutexLock lock(image_.mu_);
    flight_.started += waited;
  }

  CachedImage& image_;
  Flight& flight_;
  uint64_t chunk_;
  const uint64_t end_;  // bytes
  const std::stop_token stop_;
  std::vector<std::byte> buffered_;
};

void CachedImage::RunFlight(const std::shared_ptr<Flight>& flight, std::stop_token stop) {
  auto reader = Reader(stop);
  if (!reader) return EndFlight(flight, reader.error());
  Extent extent;
  if (!BeginFlight(*flight, extent)) return EndFlight(flight, {});
  ChunkSink sink(*this, *flight, extent, stop);
  Result<void> result = (*reader)->Fetch(extent, sink, stop);
  if (result && stop.stop_requested()) result = Error{Errc::kCancelled, "stopping"};
  if (!result && result.error().code == Errc::kNotSupported && extent.offset != 0) {
    LogInfo("{}: the source cannot start in the middle; it is streamed from its start", info_.id.name);
    MutexLock lock(mu_);
    sequential_only_ = true;
    result = {};
  }
  EndFlight(flight, result);
}

Result<std::shared_ptr<ImageReader>> CachedImage::Reader(std::stop_token stop) {
  {
    MutexLock lock(mu_);
    if (reader_) return reader_;
  }
  GLINTFS_ASSIGN(auto reader, host_.OpenReader(info_, stop));
  const auto holes = reader->Holes(stop);
  {
    MutexLock lock(mu_);
    if (reader_) return reader_;  // another worker was first
    reader_ = reader;
  }
  if (holes && !holes->empty()) MarkHoles(*holes);
  return reader;
}

// Chunks that lie wholly in known zeros are present without a transfer. Reads parked on them start over when the flight that
// has them ends or, at the latest, finds them present.
void CachedImage::MarkHoles(const std::vector<Extent>& holes) {
  const std::vector<std::byte> zeros(chunk_size_);
  const uint64_t hash_of_zeros = HashChunk(zeros);  // once: an empty image of 10 GiB has 40,000 chunks of them
  for (const Extent& hole : holes) {
    uint64_t chunk = (hole.offset + chunk_size_ - 1) / chunk_size_;
    for (; chunk < chunks_ && chunk * chunk_size_ + ChunkLength(chunk) <= hole.end(); ++chunk) {
      bool take;
      {
        MutexLock lock(mu_);
        const Flight* flight = in_flight_.Find(chunk);
        take = !present_.Has(chunk) && (flight == nullptr || !flight->running);
      }
      const auto data = std::span(zeros).first(ChunkLength(chunk));
      if (!take || !StoreChunk(chunk, data, true)) continue;
      const uint64_t hash = data.size() == zeros.size() ? hash_of_zeros : HashChunk(data);
      MutexLock lock(mu_);
      hashes_[chunk] = hash;
      present_.Add(chunk);
      MarkDirtyLocked(chunk);
    }
  }
  bool report;
  {
    MutexLock lock(mu_);
    report = !dirty_segments_.empty() && !std::exchange(dirty_, true);
  }
  if (report) host_.OnDirty(shared_from_this());
}

// Fixes what the flight will ask for: its first run of absent chunks. The rest of it, if any, becomes a flight of its own.
bool CachedImage::BeginFlight(Flight& flight, Extent& extent) {
  Actions actions;
  bool go = false;
  {
    MutexLock lock(mu_);
    if (!sequential_only_ || flight.begin != 0) {
      flight.next = present_.FirstAbsent(flight.next, flight.end);
      const uint64_t run_end = present_.FirstPresent(flight.next, flight.end);
      if (run_end < flight.end) {
        const uint64_t rest = flight.end;
        flight.end = run_end;
        if (present_.FirstAbsent(run_end, rest) < rest && !failed_)
          AddFlightLocked(flight.urgency.load(), present_.FirstAbsent(run_end, rest), rest, flight.fill, actions);
      }
    }
    if (flight.next < flight.end && !failed_) {
      flight.running = go = true;
      flight.begun = flight.started = host_.clock().Now();
      extent.offset = flight.next * chunk_size_;
      extent.length = std::min(info_.size, flight.end * chunk_size_) - extent.offset;
    }
  }
  Perform(std::move(actions));
  return go;
}

// Parked reads that lie within what has arrived of a chunk are answered at once, from memory: they need not wait for the rest
// of it, nor for its way to the disk. The reader mostly wakes on this very CPU: it gets it at once, or it would wait for
// the rest of the chunk and its pwrite, a third of what a cold read takes.
void CachedImage::ServeEarly(uint64_t chunk, std::span<const std::byte> prefix) {
  if (parked_count_.load(std::memory_order_relaxed) == 0) return;
  const uint64_t begin = chunk * chunk_size_;
  OpList ready;
  {
    MutexLock lock(mu_);
    if (failed_) return;
    for (auto it = parked_.begin(); it != parked_.end();) {
      ReadOp& op = *it;
      const uint64_t end = std::min(info_.size, op.offset + op.length);
      if (op.parked_on_ != chunk || op.offset < begin || end > begin + prefix.size()) {
        ++it;
        continue;
      }
      it = parked_.erase(it);
      ready.emplace_back(&op);
    }
  }
  Unparked(ready.size());
  for (auto& op : ready) {
    const size_t length = static_cast<size_t>(std::min(info_.size, op->offset + op->length) - op->offset);
    CountBytes(*op, length);
    op->Done({.file = nullptr, .offset = op->offset, .length = length, .bytes = prefix.subspan(op->offset - begin, length)});
    CountLatency(*op);
  }
  if (!ready.empty()) std::this_thread::yield();
}

bool CachedImage::FinishChunk(Flight& flight, uint64_t chunk, std::span<const std::byte> data) {
  bool have;
  {
    MutexLock lock(mu_);
    if (failed_) return false;
    // A source that starts over sends what is here already; so does a flight that was overtaken.
    have = present_.Has(chunk) || std::find(storing_.begin(), storing_.end(), chunk) != storing_.end();
    if (!have) storing_.push_back(chunk);
  }
  host_.counters().bytes_fetched[static_cast<int>(flight.urgency.load())].fetch_add(data.size(), std::memory_order_relaxed);
  const bool zero = !have && IsZero(data);
  const uint64_t hash = have ? 0 : HashChunk(data);
  const bool stored = !have && StoreChunk(chunk, data, zero);
  Buffer transient;
  std::string why_not;
  if (!have && !stored) {
    transient = std::make_shared<const std::vector<std::byte>>(data.begin(), data.end());
    why_not = sealed_                   ? "its data file is to be left as it is"
              : host_.StorageUsable() ? "the cache is full and nothing can be evicted"
                                        : "the cache cannot store";
  }

  Actions actions;
  bool report = false, more;
  {
    MutexLock lock(mu_);
    flight.next = chunk + 1;
    gave_up_until_ = Nanos(0);  // it answers
    if (!have) std::erase(storing_, chunk);
    const bool seek_seen = !can_seek_ && !sequential_only_ && flight.begin > 0;
    if (seek_seen) can_seek_ = true;
    if (stored) {
      present_.Add(chunk);
      suspect_.Remove(chunk);
      hashes_[chunk] = hash;
      if (!zero) charged_.Add(chunk);
      MarkDirtyLocked(chunk);
      report = !std::exchange(dirty_, true);
    }
    for (auto it = parked_.begin(); it != parked_.end();) {
      ReadOp& op = *it;
      if (have || op.parked_on_ != chunk) {
        ++it;
        continue;
      }
      it = parked_.erase(it);
      if (transient) op.held_.push_back({chunk, transient});
      actions.restart.emplace_back(&op);
    }
    // A fill that finds no room ends; so does readahead that nobody could take in. A reader's own fetch goes on.
    if (transient) {
      const bool kept = AddTransientLocked(chunk, transient, !actions.restart.empty());
      if (flight.fill) StopFillLocked(Error{Errc::kNoSpace, std::move(why_not)}, actions);
      if (actions.restart.empty() && (flight.fill || !kept)) flight.end = std::min(flight.end, flight.next);
    }
    more = flight.next < flight.end;
    const bool grown = flight.fill && AdaptFillLocked(data.size());
    if (seek_seen || grown) PlanFillLocked(actions);
  }
  if (transient) host_.counters().bypassed_bytes.fetch_add(data.size(), std::memory_order_relaxed);
  if (report) host_.OnDirty(shared_from_this());
  Perform(std::move(actions));
  return more;
}

// Keeps a chunk that has no room on disk in memory for a while; false when what is there is still to be read and nobody waits
// for this one.
bool CachedImage::AddTransientLocked(uint64_t chunk, const Buffer& bytes, bool wanted) {
  readahead_.set_max_window(kBypassWindow);
  if ((transient_.size() + 1) * chunk_size_ > kMaxTransientBytes) {
    auto victim = std::find_if(transient_.begin(), transient_.end(), [](const Transient& t) { return t.used; });
    if (victim == transient_.end() && !wanted) {
      // Chunks that were never read to their end must not block the others for ever.
      transient_.front().used = true;
      return false;
    }
    transient_.erase(victim == transient_.end() ? transient_.begin() : victim);
  }
  transient_.push_back({chunk, bytes, false});
  return true;
}

// True when the chunk is on its way to the disk. Whatever the cache directory says, the read goes on: false means "not kept".
bool CachedImage::StoreChunk(uint64_t chunk, std::span<const std::byte> data, bool zero) {
  if (sealed_ || !host_.StorageUsable()) return false;
  auto file = EnsureFile();
  if (!file) return false;
  bool charged;
  {
    MutexLock lock(mu_);
    charged = charged_.Has(chunk);
  }
  if (zero && !charged && (!preexisting_file_ || IsHole(**file, chunk))) return true;
  const uint64_t bytes = charged ? 0 : DiskBytes(data.size());
  if (bytes != 0 && !host_.Reserve(row_, bytes)) return false;
  auto written = (*file)->WriteAt(data, chunk * chunk_size_);
  if (bytes != 0) host_.Settle(row_, bytes, written.has_value());
  if (!written) host_.StorageFailed(written.error());
  return written.has_value();
}

// An absent chunk of a file from an earlier run may hold bytes that were written but never committed. Then its zeros are
// written like any other bytes.
bool CachedImage::IsHole(const File& file, uint64_t chunk) const {
  std::vector<std::byte> old(ChunkLength(chunk));
  return file.ReadAt(old, chunk * chunk_size_) && IsZero(old);
}

Result<std::shared_ptr<File>> CachedImage::EnsureFile() {
  {
    MutexLock lock(mu_);
    while (creating_file_) file_created_.Wait(mu_);
    if (file_) return file_;
    creating_file_ = true;
  }
  uint32_t generation = 0;
  auto created = host_.CreateFile(row_, info_.size, generation);
  {
    MutexLock lock(mu_);
    creating_file_ = false;
    if (created) {
      file_ = *created;
      generation_ = generation;
    }
  }
  file_created_.NotifyAll();
  return created;
}

void CachedImage::StoreEmpty() {
  if (auto file = EnsureFile(); !file) return;
  {
    MutexLock lock(mu_);
    dirty_ = true;
  }
  host_.OnDirty(shared_from_this());
}

// Wakes everyone this flight still owes something: on success they start over, on an error they get it.
void CachedImage::EndFlight(const std::shared_ptr<Flight>& flight, const Result<void>& result) {
  Actions actions;
  {
    MutexLock lock(mu_);
    in_flight_.Remove(flight.get());
    if (flight->fill) --fill_flights_;
    if (result) {
      OrphansLocked(actions.restart);
    } else {
      OrphansLocked(actions.fail);
      actions.error = result.error();
      GaveUpLocked(result.error(), actions.fail);
      const bool outdated = result.error().code == Errc::kStale || result.error().code == Errc::kNotFound;
      if (flight->fill || outdated) StopFillLocked(result.error(), actions);
      if (outdated) fill_retry_at_ = Nanos::max();  // this version will never be whole
    }
    if (present_.full()) StopFillLocked(std::nullopt, actions);
    PlanFillLocked(actions);
  }
  if (!result) {
    if (result.error().code != Errc::kCancelled) {
      host_.counters().fetch_errors.fetch_add(1, std::memory_order_relaxed);
      if (!flight->fill) host_.OnFetchFailed(*this, result.error());  // a fill's is told with the end of the fill
    }
    if (result.error().code == Errc::kStale || result.error().code == Errc::kNotFound) host_.OnStale(*this);
  }
  Perform(std::move(actions));
}

// Parked reads whose chunk no flight will bring.
void CachedImage::OrphansLocked(OpList& out) {
  for (auto it = parked_.begin(); it != parked_.end();) {
    ReadOp& op = *it;
    if (in_flight_.Find(op.parked_on_) != nullptr) {
      ++it;
      continue;
    }
    it = parked_.erase(it);
    out.emplace_back(&op);
  }
}

}  // namespace glintfs
