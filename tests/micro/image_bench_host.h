// What a CachedImage needs around it to be measured alone: a host that queues flights, a source that answers at once from memory
// and a data file that takes everything.
#pragma once

#include <cstring>
#include <deque>
#include <vector>

#include "fs/base/mutex.h"
#include "fs/cache/cached_image.h"

namespace glintfs::bench {

inline constexpr uint64_t kMarkEvery = 4096;  // bytes; each offset that is a multiple begins with its own number + 1

inline void Mark(std::span<std::byte> bytes, uint64_t offset) {
  for (size_t at = 0; at + sizeof(uint64_t) <= bytes.size(); at += kMarkEvery) {
    const uint64_t mark = offset + at + 1;
    std::memcpy(bytes.data() + at, &mark, sizeof mark);
  }
}

inline bool HasMark(std::span<const std::byte> bytes, uint64_t offset) {
  uint64_t mark = 0;
  std::memcpy(&mark, bytes.data(), sizeof mark);
  return mark == offset + 1;
}

class MemoryReader final : public ImageReader {
 public:
  explicit MemoryReader(uint64_t image_size) : ImageReader(image_size) {}

 private:
  Result<void> DoFetch(Extent extent, DataSink& sink, std::stop_token) override {
    std::vector<std::byte> bytes(extent.length);
    Mark(bytes, extent.offset);
    sink.Write(bytes);
    return {};
  }
};

class DroppingFile final : public File {
 public:
  Result<void> ReadAt(std::span<std::byte>, uint64_t) const override { return Error{Errc::kIo, "nothing is kept"}; }
  Result<void> WriteAt(std::span<const std::byte>, uint64_t) override { return {}; }
  Result<void> Sync() override { return {}; }
};

class Host final : public ImageHost {
 public:
  // The next flight, in the order they came; null when `stop` was asked for.
  std::shared_ptr<Flight> WaitForFlight(const std::stop_token& stop) {
    MutexLock lock(mu_);
    while (flights_.empty() && !stop.stop_requested()) queued_.Wait(mu_);
    if (flights_.empty()) return nullptr;
    auto flight = std::move(flights_.front());
    flights_.pop_front();
    return flight;
  }
  // Call after stop was requested.
  void WakeAll() {
    { MutexLock lock(mu_); }
    queued_.NotifyAll();
  }

  Clock& clock() override { return Clock::System(); }
  CacheCounters& counters() override { return counters_; }
  bool MayFill(uint64_t) const override { return false; }
  int MaxFillFlights() const override { return 1; }
  uint64_t FillExtentBytes() const override { return 8 << 20; }
  void Enqueue(std::shared_ptr<Flight> flight) override {
    {
      MutexLock lock(mu_);
      flights_.push_back(std::move(flight));
    }
    queued_.NotifyOne();
  }
  void Requeue(const std::shared_ptr<Flight>&) override {}
  Nanos Pace(const Flight&, uint64_t, std::stop_token) override { return {}; }
  Result<std::shared_ptr<ImageReader>> OpenReader(const ImageInfo& image, std::stop_token) override {
    return std::shared_ptr<ImageReader>(std::make_shared<MemoryReader>(image.size));
  }
  Result<std::shared_ptr<File>> CreateFile(RowId, uint64_t, uint32_t& generation) override {
    generation = 1;
    return std::shared_ptr<File>(std::make_shared<DroppingFile>());
  }
  bool Reserve(RowId, uint64_t) override { return true; }
  void Settle(RowId, uint64_t, bool) override {}
  void StorageFailed(const Error&) override {}
  bool StorageUsable() override { return true; }
  void OnDirty(std::shared_ptr<CachedImage>) override {}
  void OnFillEnded(CachedImage&, std::optional<Error>) override {}
  void OnFetchFailed(CachedImage&, const Error&) override {}
  void OnStale(CachedImage&) override {}
  void OnDropped(RowId, uint64_t) override {}
  void OnDestroyed(RowId) override {}

 private:
  CacheCounters counters_;
  Mutex mu_;
  CondVar queued_;
  std::deque<std::shared_ptr<Flight>> flights_ GUARDED_BY(mu_);
};

}  // namespace glintfs::bench
