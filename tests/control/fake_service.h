// FakeService: a daemon without a mount, steered by the test. Thread-safe.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
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
  // Asked for `alias`, it answers with the image of another name.
  void AddAlias(const std::string& alias, const ImageStatus& image) {
    MutexLock lock(mu_);
    images_[alias] = image;
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
  // Gives it the next sequence number. `shown`: false keeps it back until the next one that is, and loses it then.
  void AddEvent(ServiceEvent event, bool shown = true) {
    MutexLock lock(mu_);
    event.sequence = (events_.empty() ? 0 : events_.back().sequence) + 1 + std::exchange(kept_back_, shown ? 0 : kept_back_ + 1);
    if (shown) events_.push_back(std::move(event));
  }
  int event_pages() {
    MutexLock lock(mu_);
    return event_pages_;
  }
  void LoseEvents() {  // all but the newest
    MutexLock lock(mu_);
    while (events_.size() > 1) events_.erase(events_.begin());
  }
  void SetActivity(Activity activity) {
    MutexLock lock(mu_);
    activity_ = std::move(activity);
  }
  void SetSettings(std::vector<SettingValue> settings) {
    MutexLock lock(mu_);
    settings_ = std::move(settings);
  }
  void SetSource(std::map<std::string, std::vector<SourceEntry>> directories, bool complete = true) {
    MutexLock lock(mu_);
    source_ = std::move(directories);
    source_complete_ = complete;
  }
  void SetFindings(std::vector<Finding> findings) {
    MutexLock lock(mu_);
    findings_ = std::move(findings);
  }
  // Lets the daemon know less than it did: what a restart does.
  void ForgetEvents() {
    MutexLock lock(mu_);
    events_.clear();
  }
  // While closed, QueueImage, SourceEntries and Doctor wait, like for a source that does not answer.
  void CloseGate() {
    MutexLock lock(mu_);
    gate_closed_ = true;
  }
  void OpenGate() {
    MutexLock lock(mu_);
    gate_closed_ = false;
    gate_.NotifyAll();
  }
  // How often the list of images, one image, the queue or the activity was asked for.
  int looks() {
    MutexLock lock(mu_);
    return looks_;
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
    ++looks_;
    std::vector<ImageStatus> images;
    for (const auto& [name, image] : images_) images.push_back(image);
    return images;
  }
  std::optional<ImageStatus> Image(std::string_view name) override {
    MutexLock lock(mu_);
    ++looks_;
    const auto it = images_.find(std::string(name));
    return it == images_.end() ? std::nullopt : std::optional<ImageStatus>(it->second);
  }
  std::vector<QueueEntry> Queue() override {
    MutexLock lock(mu_);
    ++looks_;
    return queue_;
  }
  Result<void> QueueImage(std::string_view name, bool now) override {
    MutexLock lock(mu_);
    PassGate();
    GLINTFS_TRY(Note(now ? "queue now" : "queue", name));
    if (source_.contains(std::string(name))) return Error{Errc::kIsDirectory, std::string(name) + " is a directory"};
    QueueEntry entry;
    entry.name = name;
    queue_.insert(now ? queue_.begin() : queue_.end(), entry);
    return {};
  }
  Result<void> CancelFill(std::string_view name) override {
    MutexLock lock(mu_);
    GLINTFS_TRY(Note("cancel", name));
    if (std::erase_if(queue_, [&](const QueueEntry& entry) { return entry.name == name; }) == 0)
      return Error{Errc::kNotFound, std::string(name) + " is not being cached"};
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
    std::erase_if(images_, [](const auto& image) { return !image.second.pinned && image.second.open_count == 0; });
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
    GLINTFS_TRY(Note(pinned ? "pin" : "unpin", name));
    if (pinned) pins_.emplace(name); else pins_.erase(std::string(name));
    return {};
  }
  std::vector<std::string> Pins() override {
    MutexLock lock(mu_);
    std::set<std::string> pins = pins_;
    for (const auto& [name, image] : images_)
      if (image.pinned) pins.insert(name);
    return {pins.begin(), pins.end()};
  }
  Result<void> Scrub(std::string_view name) override {
    MutexLock lock(mu_);
    GLINTFS_TRY(Note("scrub", name));
    const auto it = images_.find(std::string(name));
    if (it == images_.end()) return Error{Errc::kNotFound, "nothing is cached of " + std::string(name)};
    it->second.scrub.state = ScrubStatus::State::kWaiting;
    return {};
  }
  uint64_t ScrubAll() override {
    MutexLock lock(mu_);
    calls_.push_back("scrub all");
    for (auto& [name, image] : images_) image.scrub.state = ScrubStatus::State::kWaiting;
    return images_.size();
  }
  EventPage Events(uint64_t sequence, size_t most) override {
    MutexLock lock(mu_);
    ++event_pages_;
    EventPage page;
    for (const ServiceEvent& event : events_)
      if (event.sequence > sequence && page.events.size() < most) page.events.push_back(event);
    if (!events_.empty()) page.last = events_.back().sequence;
    if (!page.events.empty() && page.events.front().sequence > sequence + 1)
      page.lost = page.events.front().sequence - sequence - 1;
    return page;
  }
  Activity Current() override {
    MutexLock lock(mu_);
    ++looks_;
    return activity_;
  }
  std::vector<SettingValue> Settings() override {
    MutexLock lock(mu_);
    return settings_;
  }
  Result<std::vector<SettingChange>> ChangeSettings(const std::map<std::string, std::string>& values) override {
    MutexLock lock(mu_);
    std::vector<SettingChange> changes;
    for (const auto& change : values) {
      const std::string &name = change.first, &value = change.second;
      const auto it = std::find_if(settings_.begin(), settings_.end(), [&](const SettingValue& s) { return s.name == name; });
      if (it == settings_.end()) return Error{Errc::kInvalid, "unknown option " + name};
      if (!it->changeable) return Error{Errc::kInvalid, "option " + name + ": changes with the next mount only"};
      changes.push_back({name, it->value, value});
      it->value = value;
    }
    return changes;
  }
  Result<SourceListing> SourceEntries(std::string_view directory) override {
    MutexLock lock(mu_);
    PassGate();
    GLINTFS_TRY(Note("list", directory));
    const auto it = source_.find(std::string(directory));
    if (it == source_.end()) return Error{Errc::kNotFound, "there is no " + std::string(directory)};
    return SourceListing{it->second, source_complete_};
  }
  std::vector<Finding> Doctor() override {
    MutexLock lock(mu_);
    PassGate();
    return findings_;
  }

  // The source has the images, and others by further names.
  void AddNamed(const std::string& name, const ImageInfo& image) {
    MutexLock lock(mu_);
    named_.emplace(name, image);
  }
  Result<ImageInfo> FindImage(std::string_view name) override {
    MutexLock lock(mu_);
    const auto failure = failures_.find(std::string(name));
    if (failure != failures_.end()) return Error{failure->second, std::string(ErrcName(failure->second)) + ": " + std::string(name)};
    const auto it = images_.find(std::string(name));
    if (it == images_.end()) return Error{Errc::kNotFound, "there is no " + std::string(name)};
    return it->second.info;
  }
  Result<std::vector<ImageInfo>> FindImagesNamed(std::string_view name) override {
    std::vector<ImageInfo> found;
    auto image = FindImage(name);
    if (image) found.push_back(*image);
    if (!image && image.error().code != Errc::kNotFound) return image.error();
    MutexLock lock(mu_);
    const auto [begin, end] = named_.equal_range(std::string(name));
    for (auto it = begin; it != end; ++it) found.push_back(it->second);
    return found;
  }

 private:
  void PassGate() REQUIRES(mu_) {
    ++waiting_;
    while (gate_closed_) gate_.Wait(mu_);
    --waiting_;
  }
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
  int looks_ GUARDED_BY(mu_) = 0;
  ServiceStatus status_ GUARDED_BY(mu_);
  std::map<std::string, ImageStatus> images_ GUARDED_BY(mu_);
  std::set<std::string> pins_ GUARDED_BY(mu_);
  std::vector<QueueEntry> queue_ GUARDED_BY(mu_);
  std::map<std::string, Errc> failures_ GUARDED_BY(mu_);
  std::multimap<std::string, ImageInfo> named_ GUARDED_BY(mu_);
  std::vector<std::string> calls_ GUARDED_BY(mu_);
  std::vector<ServiceEvent> events_ GUARDED_BY(mu_);
  uint64_t kept_back_ GUARDED_BY(mu_) = 0;
  int event_pages_ GUARDED_BY(mu_) = 0;
  Activity activity_ GUARDED_BY(mu_);
  std::vector<SettingValue> settings_ GUARDED_BY(mu_);
  std::map<std::string, std::vector<SourceEntry>> source_ GUARDED_BY(mu_);
  bool source_complete_ GUARDED_BY(mu_) = true;
  std::vector<Finding> findings_ GUARDED_BY(mu_);
};

}  // namespace glintfs::testing
