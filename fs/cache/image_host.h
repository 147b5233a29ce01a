// ImageHost: what a CachedImage needs of the cache it lives in. Cache implements it; tests of CachedImage use a small fake.
// Thread-safe. Nothing here is called under a lock, but for the group that says so.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <stop_token>

#include "backends/backend.h"
#include "fs/base/clock.h"
#include "fs/base/file.h"
#include "fs/base/latency_histogram.h"
#include "fs/base/result.h"
#include "fs/cache/flight.h"
#include "fs/cache/image_status.h"

namespace glintfs {

struct CacheCounters {
  std::atomic<uint64_t> read_hits{0}, read_misses{0}, bytes_read{0}, reads_parked{0};
  std::atomic<uint64_t> bytes_fetched[kUrgencies] = {};
  std::atomic<uint64_t> fetch_errors{0}, bypassed_bytes{0};
  std::atomic<uint64_t> checksum_ok{0}, checksum_failed{0}, bad_chunks{0};
  std::atomic<uint64_t> bytes_from_store{0}, bytes_from_bypass{0};  // parts of bytes_read
  std::atomic<uint64_t> passthrough_opens{0}, storage_errors{0};
  std::array<std::atomic<uint64_t>, kRemovals> removed{}, removed_bytes{};
  LatencyHistogram hit_latency, miss_latency;
};

class ImageHost {
 public:
  virtual ~ImageHost() = default;

  // Called under the image's lock: these take none.
  virtual Clock& clock() = 0;
  virtual CacheCounters& counters() = 0;
  // May an image of this size be filled in the background (fill=full, and it fits)?
  virtual bool MayFill(uint64_t size) const = 0;
  // How many fill extents of one image may be in flight, and how long each is.
  virtual int MaxFillFlights() const = 0;
  virtual uint64_t FillExtentBytes() const = 0;

  virtual void Enqueue(std::shared_ptr<Flight> flight) = 0;
  // Its urgency was raised: move it if it still waits.
  virtual void Requeue(const std::shared_ptr<Flight>& flight) = 0;
  // Called for each piece (0 bytes) and each chunk of a flight: sleeps as the rate limit and more urgent flights ask, and
  // returns for how long.
  virtual Nanos Pace(const Flight& flight, uint64_t bytes, std::stop_token stop) = 0;

  virtual Result<std::shared_ptr<ImageReader>> OpenReader(const ImageInfo& image, std::stop_token stop) = 0;
  // The data file of a new image; `generation` is set to what Layout needs to find it again. Fails when there is no room, or
  // when the cache directory refuses (StorageFailed was told then).
  virtual Result<std::shared_ptr<File>> CreateFile(RowId row, uint64_t size, uint32_t& generation) = 0;

  // Room for `bytes` of disk; false: none to be had. Each true is followed by one Settle.
  virtual bool Reserve(RowId row, uint64_t bytes) = 0;
  virtual void Settle(RowId row, uint64_t bytes, bool stored) = 0;
  // The cache directory refused a write or a read: it is reported, and left alone for a while.
  virtual void StorageFailed(const Error& error) = 0;
  virtual bool StorageUsable() = 0;

  virtual void OnDirty(std::shared_ptr<CachedImage> image) = 0;       // has something for the next checkpoint
  virtual void OnFillEnded(CachedImage& image, std::optional<Error> error) = 0;
  virtual void OnFetchFailed(CachedImage& image, const Error& error) = 0;  // of a fetch that is no fill's
  virtual void OnStale(CachedImage& image) = 0;                       // the source has another version
  virtual void OnDropped(RowId row, uint64_t chunk) = 0;              // a chunk that was present turned out bad
  virtual void OnDestroyed(RowId row) = 0;                            // from ~CachedImage
};

}  // namespace glintfs
