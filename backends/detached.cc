// A fetch hands its pieces over one by one, without a copy:
//
//   pool thread:  inner.Fetch ─▶ Write(data): shows the piece, waits until it is taken
//   caller:       waits for a piece ─▶ its own sink ─▶ takes it    … or for the end, or for its stop_token: then it leaves, and the
//                                                                    next Write tells the inner fetch to end
#include "backends/detached.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "fs/base/mount_table.h"
#include "fs/base/mutex.h"

namespace glintfs {
namespace {

constexpr int kMaxThreads = 64;
constexpr Nanos kIdle = std::chrono::seconds(10);  // how long a thread waits for its next call

// Threads that nobody joins: one may be inside the kernel when the process ends. They own what they use.
class CallPool : public std::enable_shared_from_this<CallPool> {
 public:
  // False when all threads hang.
  bool Submit(std::function<void()> call) {
    MutexLock lock(mu_);
    if (idle_ <= static_cast<int>(calls_.size())) {
      if (threads_ >= kMaxThreads) return false;
      ++threads_;
      std::thread([self = shared_from_this()] { self->Run(); }).detach();
    }
    calls_.push_back(std::move(call));
    changed_.NotifyOne();
    return true;
  }
  void Close() {
    MutexLock lock(mu_);
    closed_ = true;
    changed_.NotifyAll();
  }

 private:
  void Run() {
    for (;;) {
      std::function<void()> call;
      {
        MutexLock lock(mu_);
        ++idle_;
        const Nanos end = Clock::System().Now() + kIdle;
        while (calls_.empty() && !closed_ && Clock::System().Now() < end) changed_.WaitFor(mu_, end - Clock::System().Now());
        --idle_;
        if (calls_.empty()) {
          --threads_;
          return;
        }
        call = std::move(calls_.front());
        calls_.pop_front();
      }
      call();
    }
  }

  Mutex mu_;
  CondVar changed_;
  std::deque<std::function<void()>> calls_ GUARDED_BY(mu_);
  int idle_ GUARDED_BY(mu_) = 0;
  int threads_ GUARDED_BY(mu_) = 0;
  bool closed_ GUARDED_BY(mu_) = false;
};

Error GivenUp() { return Error{Errc::kCancelled, "given up"}; }
Error AllHang() {
  return Error{Errc::kUnavailable, fmt::format("{} calls hang in the source's file system", kMaxThreads)};
}

// Runs `call` in the pool and returns what it returns, or kCancelled once `stop` is requested. The mutexes here and below are
// std::mutex: a stop_token may be triggered by a thread that holds anything, and the wait ends inside that call.
template <typename T>
Result<T> Call(CallPool& pool, std::function<Result<T>()> call, const std::stop_token& stop) {
  struct Outcome {
    std::mutex mu;
    std::condition_variable_any changed;
    std::optional<Result<T>> result;
  };
  const auto outcome = std::make_shared<Outcome>();
  const bool submitted = pool.Submit([outcome, call = std::move(call)] {
    Result<T> result = call();
    const std::lock_guard lock(outcome->mu);
    outcome->result.emplace(std::move(result));
    outcome->changed.notify_all();
  });
  if (!submitted) return AllHang();
  std::unique_lock lock(outcome->mu);
  if (!outcome->changed.wait(lock, stop, [&] { return outcome->result.has_value(); })) return GivenUp();
  return std::move(*outcome->result);
}

// One fetch under way, shared by its two threads.
class HandOver {
 public:
  // The pool's thread: false when nobody wants more. `data` is used until this returns.
  bool Show(std::span<const std::byte> data) {
    std::unique_lock lock(mu_);
    if (abandoned_) return false;
    piece_ = data;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !piece_ || abandoned_; });
    return !abandoned_;
  }
  void End(Result<void> result) {
    const std::lock_guard lock(mu_);
    result_.emplace(std::move(result));
    changed_.notify_all();
  }

  // The caller: the next piece, valid until Taken or Abandon; nullopt when there is none any more, or `stop` says so.
  std::optional<std::span<const std::byte>> Next(const std::stop_token& stop) {
    std::unique_lock lock(mu_);
    if (!changed_.wait(lock, stop, [this] { return piece_ || result_; })) return std::nullopt;
    return piece_;
  }
  void Taken() {
    const std::lock_guard lock(mu_);
    piece_.reset();
    changed_.notify_all();
  }
  // How it ended; kCancelled when it has not. No piece is shown any more.
  Result<void> Abandon() {
    const std::lock_guard lock(mu_);
    abandoned_ = true;
    changed_.notify_all();
    return result_ ? *result_ : Result<void>(GivenUp());
  }

 private:
  std::mutex mu_;
  std::condition_variable_any changed_;
  std::optional<std::span<const std::byte>> piece_;
  std::optional<Result<void>> result_;
  bool abandoned_ = false;
};

class HandOverSink final : public DataSink {
 public:
  explicit HandOverSink(HandOver& hand_over) : hand_over_(hand_over) {}
  bool Write(std::span<const std::byte> data) override { return hand_over_.Show(data); }

 private:
  HandOver& hand_over_;
};

class DetachedReader final : public ImageReader {
 public:
  DetachedReader(std::shared_ptr<CallPool> pool, std::shared_ptr<ImageReader> inner)
      : ImageReader(inner->size()), pool_(std::move(pool)), inner_(std::move(inner)) {}

  Result<std::vector<Extent>> Holes(std::stop_token stop) override {
    return Call<std::vector<Extent>>(*pool_, [inner = inner_, stop] { return inner->Holes(stop); }, stop);
  }

 private:
  Result<void> DoFetch(Extent extent, DataSink& sink, std::stop_token stop) override {
    const auto hand_over = std::make_shared<HandOver>();
    const bool submitted = pool_->Submit([hand_over, extent, stop, inner = inner_] {
      HandOverSink pieces(*hand_over);
      hand_over->End(inner->Fetch(extent, pieces, stop));
    });
    if (!submitted) return AllHang();
    bool more = true;
    while (more) {
      const auto piece = hand_over->Next(stop);
      if (!piece) break;
      more = sink.Write(*piece);
      if (more) hand_over->Taken();
    }
    const Result<void> result = hand_over->Abandon();
    return more ? result : Result<void>();
  }

  const std::shared_ptr<CallPool> pool_;
  const std::shared_ptr<ImageReader> inner_;
};

class Detached final : public Backend {
 public:
  explicit Detached(std::unique_ptr<Backend> inner) : Backend(inner->source()), inner_(std::move(inner)) {}
  ~Detached() override { pool_->Close(); }

  int max_parallel_fetches() const override { return inner_->max_parallel_fetches(); }
  std::shared_ptr<const BackendMeter> meter() const override { return inner_->meter(); }

 private:
  Result<NameInfo> DoStat(std::string_view name, std::stop_token stop) override {
    return Call<NameInfo>(*pool_, [inner = inner_, name = std::string(name), stop] { return inner->Stat(name, stop); }, stop);
  }
  Result<Listing> DoList(std::string_view directory, std::string_view cursor, std::stop_token stop) override {
    return Call<Listing>(*pool_,
                         [inner = inner_, directory = std::string(directory), cursor = std::string(cursor), stop] {
                           return inner->List(directory, cursor, stop);
                         },
                         stop);
  }
  Result<std::unique_ptr<ImageReader>> DoOpen(const ImageInfo& image, std::stop_token stop) override {
    auto reader = Call<std::unique_ptr<ImageReader>>(
        *pool_, [inner = inner_, image, stop] { return inner->Open(image, stop); }, stop);
    if (!reader) return reader;
    return std::unique_ptr<ImageReader>(std::make_unique<DetachedReader>(pool_, std::move(*reader)));
  }
  Result<std::optional<Checksum>> DoFindChecksum(const ImageInfo& image, std::stop_token stop) override {
    return Call<std::optional<Checksum>>(*pool_, [inner = inner_, image, stop] { return inner->FindChecksum(image, stop); }, stop);
  }

  const std::shared_ptr<Backend> inner_;
  const std::shared_ptr<CallPool> pool_ = std::make_shared<CallPool>();
};

}  // namespace

std::unique_ptr<Backend> MakeDetached(std::unique_ptr<Backend> inner) { return std::make_unique<Detached>(std::move(inner)); }

bool IsOnRemoteFileSystem(const std::string& path) {
  MountEntry best;
  for (MountEntry& mount : ReadMountTable()) {
    const bool holds = mount.path == "/" || path == mount.path || path.starts_with(mount.path + "/");
    if (holds && mount.path.size() >= best.path.size()) best = std::move(mount);
  }
  constexpr std::array kRemote = {"nfs",  "nfs4", "cifs",      "smb3",   "smbfs", "ceph",     "9p",    "afs",
                                  "coda", "gfs2", "glusterfs", "lustre", "ocfs2", "orangefs", "autofs"};
  return best.type.starts_with("fuse") || std::find(kRemote.begin(), kRemote.end(), best.type) != kRemote.end();
}

}  // namespace glintfs
