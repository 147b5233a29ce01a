#include "backends/ceph/window.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <optional>

namespace glintfs {
namespace {

constexpr size_t kMostSpare = 8;             // buffers
constexpr uint64_t kLeastSpare = 1 << 20;  // bytes

const Error kGivenUp{Errc::kCancelled, "fetch: given up"};

// The memory of one read after the other. Its share of the budget goes back with it.
struct Buffer {
  Buffer(std::shared_ptr<ReadBudget> from, uint64_t bytes)
      : budget(std::move(from)), size(bytes), data(budget->TakeMemory(bytes)) {}
  ~Buffer() {
    budget->GiveMemory(std::move(data), size);
    budget->Give(size);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  const std::shared_ptr<ReadBudget> budget;
  const uint64_t size;
  ReadBudget::Memory data;
};

// What the fetch and the callbacks of its reads share.
struct Flight {
  std::shared_ptr<PieceSource> source;
  std::mutex mu;  // a leaf, as in SleepUnlessStopped
  std::condition_variable_any changed;
};

struct Piece {
  Extent extent;
  std::shared_ptr<Buffer> buffer;
  std::optional<int64_t> result;  // under Flight::mu until it is there
};

class Done final : public PieceDone {
 public:
  Done(std::shared_ptr<Flight> flight, std::shared_ptr<Piece> piece) : flight_(std::move(flight)), piece_(std::move(piece)) {}

  void Finish(int64_t result) override {
    {
      const std::lock_guard lock(flight_->mu);
      piece_->result = result;
      flight_->changed.notify_all();
    }
    delete this;
  }

 private:
  const std::shared_ptr<Flight> flight_;
  const std::shared_ptr<Piece> piece_;
};

class Window {
 public:
  Window(std::shared_ptr<PieceSource> source, std::shared_ptr<ReadBudget> budget, uint64_t piece_size, Extent extent)
      : flight_(std::make_shared<Flight>()),
        budget_(std::move(budget)),
        piece_size_(piece_size),
        next_(extent.offset),
        end_(extent.end()),
        buffer_size_(std::min(piece_size, extent.length)) {
    flight_->source = std::move(source);
  }

  Result<void> Run(DataSink& sink, const std::stop_token& stop) {
    for (;;) {
      GLINTFS_TRY(Fill(stop));
      if (pieces_.empty()) return {};
      GLINTFS_ASSIGN(const size_t ready, WaitForSome(stop));
      GLINTFS_TRY(flight_->source->Confirm(stop));
      for (size_t i = 0; i < ready; ++i) {
        if (stop.stop_requested()) return kGivenUp;
        const std::shared_ptr<Piece> piece = std::move(pieces_.front());
        pieces_.pop_front();
        if (!sink.Write(std::span(piece->buffer->data.get(), piece->extent.length))) return {};
        spare_ = piece->buffer;
        if (next_ < end_) GLINTFS_TRY(StartNext(stop));
      }
    }
  }

 private:
  // Starts what there is room for: one piece in any case.
  Result<void> Fill(const std::stop_token& stop) {
    while (next_ < end_ && pieces_.size() * piece_size_ < kWindowBytes) {
      if (!spare_ && !budget_->TryTake(buffer_size_)) {
        if (!pieces_.empty()) return {};
        if (!budget_->Take(buffer_size_, stop)) return kGivenUp;
      }
      if (!spare_) spare_ = std::make_shared<Buffer>(budget_, buffer_size_);
      GLINTFS_TRY(StartNext(stop));
    }
    spare_.reset();
    return {};
  }

  // REQUIRES: spare_ and next_ < end_
  Result<void> StartNext(const std::stop_token& stop) {
    auto piece = std::make_shared<Piece>();
    piece->extent = {next_, std::min(end_, (next_ / piece_size_ + 1) * piece_size_) - next_};
    piece->buffer = std::move(spare_);
    spare_.reset();
    auto done = std::make_unique<Done>(flight_, piece);
    const int err = flight_->source->Start(piece->extent, piece->buffer->data.get(), done.get());
    if (err != 0) return flight_->source->ErrorOf(-err, stop);
    done.release();
    next_ = piece->extent.end();
    pieces_.push_back(std::move(piece));
    return {};
  }

  // How many pieces at the front have come; an error when the first one failed.
  Result<size_t> WaitForSome(const std::stop_token& stop) {
    size_t ready = 0;
    int64_t failed = 0;
    {
      std::unique_lock lock(flight_->mu);
      if (!flight_->changed.wait(lock, stop, [this] { return pieces_.front()->result.has_value(); })) return kGivenUp;
      while (ready < pieces_.size() && IsGood(*pieces_[ready])) ++ready;
      if (ready == 0) failed = *pieces_.front()->result;
    }
    if (ready > 0) return ready;
    if (failed < 0) return flight_->source->ErrorOf(static_cast<int>(-failed), stop);
    return Error{Errc::kStale,
                 fmt::format("read {} of {} bytes: the image became shorter", failed, pieces_.front()->extent.length)};
  }

  static bool IsGood(const Piece& piece) { return piece.result && *piece.result == static_cast<int64_t>(piece.extent.length); }

  const std::shared_ptr<Flight> flight_;
  const std::shared_ptr<ReadBudget> budget_;
  const uint64_t piece_size_;
  uint64_t next_;
  const uint64_t end_;
  const uint64_t buffer_size_;  // the same for all: they are used again
  std::shared_ptr<Buffer> spare_;
  std::deque<std::shared_ptr<Piece>> pieces_;  // in order; those at the front are the next to be passed on
};

}  // namespace

ReadBudget::Memory ReadBudget::TakeMemory(uint64_t bytes) {
  {
    const std::lock_guard lock(mu_);
    const auto fits = std::find_if(spare_.begin(), spare_.end(), [&](const auto& spare) { return spare.first == bytes; });
    if (fits != spare_.end()) {
      Memory memory = std::move(fits->second);
      spare_.erase(fits);
      return memory;
    }
  }
  return std::make_unique_for_overwrite<std::byte[]>(bytes);
}

void ReadBudget::GiveMemory(Memory memory, uint64_t bytes) {
  if (bytes < kLeastSpare) return;
  const std::lock_guard lock(mu_);
  if (spare_.size() == kMostSpare) spare_.erase(spare_.begin());  // the oldest; of a size that is no longer asked for, perhaps
  spare_.emplace_back(bytes, std::move(memory));
}

bool ReadBudget::TryTake(uint64_t bytes) {
  const std::lock_guard lock(mu_);
  if (free_ < bytes) return false;
  free_ -= bytes;
  return true;
}

bool ReadBudget::Take(uint64_t bytes, std::stop_token stop) {
  std::unique_lock lock(mu_);
  if (!changed_.wait(lock, stop, [&] { return free_ >= bytes; })) return false;
  free_ -= bytes;
  return true;
}

void ReadBudget::Give(uint64_t bytes) {
  const std::lock_guard lock(mu_);
  free_ += bytes;
  changed_.notify_all();
}

Result<void> FetchThroughWindow(std::shared_ptr<PieceSource> source, std::shared_ptr<ReadBudget> budget, uint64_t piece_size,
                                Extent extent, DataSink& sink, std::stop_token stop) {
  return Window(std::move(source), std::move(budget), piece_size, extent).Run(sink, stop);
}

}  // namespace glintfs
