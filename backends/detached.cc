// A fetch hands its pieces over one by one, without a copy:
//
//   pool thread:  inner.Fetch ─▶ Write(data): shows the piece, waits until it is taken
//   caller:       waits for a piece ─▶ its own sink ─▶ takes it    … or for the end, or for its stop_token: then it leaves, and the
//                                                                    next Write tells the inner fetch to end
#include "backends/detached.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <mutex>

#include "backends/workers.h"
#include "fs/base/mount_table.h"

namespace glintfs {
namespace {

Error GivenUp() { return Error{Errc::kCancelled, "given up"}; }

// One fetch under way, shared by its two threads. A leaf std::mutex: the wait is ended by a stop_token, see SleepUnlessStopped.
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
  DetachedReader(std::shared_ptr<Workers> workers, std::shared_ptr<ImageReader> inner)
      : ImageReader(inner->size()), workers_(std::move(workers)), inner_(std::move(inner)) {}

  Result<std::vector<Extent>> Holes(std::stop_token stop) override {
    return workers_->Call<std::vector<Extent>>(
        "holes", [inner = inner_](std::stop_token token) { return inner->Holes(token); }, std::move(stop));
  }

 private:
  Result<void> DoFetch(Extent extent, DataSink& sink, std::stop_token stop) override {
    const auto hand_over = std::make_shared<HandOver>();
    workers_->Post([hand_over, extent, stop, inner = inner_] {
      HandOverSink pieces(*hand_over);
      hand_over->End(inner->Fetch(extent, pieces, stop));
    });
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

  const std::shared_ptr<Workers> workers_;
  const std::shared_ptr<ImageReader> inner_;
};

class Detached final : public Backend {
 public:
  explicit Detached(std::unique_ptr<Backend> inner) : Backend(inner->source()), inner_(std::move(inner)) {}
  ~Detached() override { workers_->Close(Nanos(0)); }

  int max_parallel_fetches() const override { return inner_->max_parallel_fetches(); }
  std::shared_ptr<const BackendMeter> meter() const override { return inner_->meter(); }

 private:
  template <typename T, typename Ask>
  Result<T> Call(std::string_view what, Ask ask, std::stop_token stop) {
    return workers_->Call<T>(what, [inner = inner_, ask](std::stop_token token) { return ask(*inner, token); }, std::move(stop));
  }

  Result<NameInfo> DoStat(std::string_view name, std::stop_token stop) override {
    return Call<NameInfo>(
        "stat", [name = std::string(name)](Backend& inner, std::stop_token token) { return inner.Stat(name, token); }, stop);
  }
  Result<Listing> DoList(std::string_view directory, std::string_view cursor, std::stop_token stop) override {
    return Call<Listing>("list",
                         [directory = std::string(directory), cursor = std::string(cursor)](
                             Backend& inner, std::stop_token token) { return inner.List(directory, cursor, token); },
                         stop);
  }
  Result<std::unique_ptr<ImageReader>> DoOpen(const ImageInfo& image, std::stop_token stop) override {
    auto reader = Call<std::unique_ptr<ImageReader>>(
        "open", [image](Backend& inner, std::stop_token token) { return inner.Open(image, token); }, stop);
    if (!reader) return reader;
    return std::unique_ptr<ImageReader>(std::make_unique<DetachedReader>(workers_, std::move(*reader)));
  }
  Result<std::optional<Checksum>> DoFindChecksum(const ImageInfo& image, std::stop_token stop) override {
    return Call<std::optional<Checksum>>(
        "checksum", [image](Backend& inner, std::stop_token token) { return inner.FindChecksum(image, token); }, stop);
  }

  const std::shared_ptr<Backend> inner_;
  const std::shared_ptr<Workers> workers_ = std::make_shared<Workers>();
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
