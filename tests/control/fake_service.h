// FakeService: a daemon without a mount, steered by the test. Thread-safe.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/service.h"
#include "fs/base/mutex.h"

namespace glintfs::testing {

inline ImageStatus MakeImage(const std::string& name, uint64_t size, ImageState state, uint64_t cached) {
  ImageStatus image;
  image.info = {{"dir:///images", name, "v1"}, size, std::chrono::seconds(1'600'000'000)};
  image.state = state;
  image.chunk_size = 256 * 1024;
  image.chunks = (size + image.chunk_size - 1) / image.chunk_size;
  image.chunks_present = cached / image.chunk_size;
  image.cached_bytes = cached;
  image.disk_bytes = cached;
  image.hits = 7;
  image.last_access = std::chrono::milliseconds(1'700'000'000'500);
  image.last_progress = std::chrono::milliseconds(1'700'000'000'250);
  return image;
}

class FakeService final : public Service {
 public:
  // ---- Steering.
  void AddImage(const ImageStatus& image) {
    MutexLock lock(mu_);
    images_[image.info.id.name] = image;
  }
  void AddQueued(const QueueEntry& entry) {
    MutexLock lock(mu_);
    queue_.push_back(entry);
  }
  void RemoveQueued(std::string_view name) {
    MutexLock lock(mu_);
    std::erase_if(queue_, [&](const QueueEntry& entry) { return entry.name == name; });
  }
  void FailNext(std::string_view name, Errc code) {  // every call that takes this name
    MutexLock lock(mu_);
    failures_[std::string(name)] = code;
  }
  void SetStatus(const ServiceStatus& status) {
    MutexLock lock(mu_);
    status_ = status;
  }
  // While closed, QueueImage waits, like for a source that does not answer.
  void CloseGate() {
    MutexLock lock(mu_);
    gate_closed_ = true;
  }
  void OpenGate() {
    MutexLock lock(mu_);
    gate_closed_ = false;
    gate_.NotifyAll();
  }
  int waiting_at_gate() {
    MutexLock lock(mu_);
    return waiting_;
  }
  // "queue a.img", "evict a.img", "prune 5000000000 dry", …, in order.
  std::vector<std::string> calls() {
    MutexLock lock(mu_);
    return calls_;
  }

  // ---- Service.
  ServiceStatus Status() override {
    MutexLock lock(mu_);
    return status_;
  }
  std::vector<ImageStatus> Images() override {
    MutexLock lock(mu_);
    std::vector<ImageStatus> images;
    for (const auto& [name, image] : images_) images.push_back(image);
    return images;
  }
  std::optional<ImageStatus> Image(std::string_view name) override {
    MutexLock lock(mu_);
    const auto it = images_.find(std::string(name));
    return it == images_.end() ? std::nullopt : std::optional<ImageStatus>(it->second);
  }
  std::vector<QueueEntry> Queue() override {
    MutexLock lock(mu_);
    return queue_;
  }
  Result<void> QueueImage(std::string_view name) override {
    MutexLock lock(mu_);
    ++waiting_;
    while (gate_closed_) gate_.Wait(mu_);
    --waiting_;
    GLINTFS_TRY(Note("queue", name));
    QueueEntry entry;
    entry.name = name;
    queue_.push_back(entry);
    return {};
  }
  Result<void> Evict(std::string_view name) override {
    MutexLock lock(mu_);
    GLINTFS_TRY(Note("evict", name));
    if (images_.erase(std::string(name)) == 0)
      return Error{Errc::kNotFound, "nothing is cached of " + std::string(name)};
    return {};
  }
  PruneResult ClearCache() override {
    MutexLock lock(mu_);
    calls_.push_back("clear cache");
    return {};
  }
  void ClearQueue() override {
    MutexLock lock(mu_);
    calls_.push_back("clear queue");
    queue_.clear();
  }
  PruneResult Prune(std::optional<uint64_t> target, bool dry_run) override {
    MutexLock lock(mu_);
    calls_.push_back("prune " + (target ? std::to_string(*target) : "low") + (dry_run ? " dry" : ""));
    return {2, 3'000'000, {"old.img", "older.img"}};
  }
  PruneResult Clean() override {
    MutexLock lock(mu_);
    calls_.push_back("clean");
    return {1, 1'000'000, {"stalled.img"}};
  }
  Result<void> SetPinned(std::string_view name, bool pinned) override {
    MutexLock lock(mu_);
    return Note(pinned ? "pin" : "unpin", name);
  }

 private:
  Result<void> Note(std::string_view what, std::string_view name) REQUIRES(mu_) {
    calls_.push_back(std::string(what) + " " + std::string(name));
    const auto it = failures_.find(std::string(name));
    if (it != failures_.end()) return Error{it->second, std::string(ErrcName(it->second)) + ": " + std::string(name)};
    return {};
  }

  Mutex mu_;
  CondVar gate_;
  bool gate_closed_ GUARDED_BY(mu_) = false;
  int waiting_ GUARDED_BY(mu_) = 0;
  ServiceStatus status_ GUARDED_BY(mu_);
  std::map<std::string, ImageStatus> images_ GUARDED_BY(mu_);
  std::vector<QueueEntry> queue_ GUARDED_BY(mu_);
  std::map<std::string, Errc> failures_ GUARDED_BY(mu_);
  std::vector<std::string> calls_ GUARDED_BY(mu_);
};

}  // namespace glintfs::testing
