// DaemonService: what the control API asks of the daemon, answered from its parts. Thread-safe.
#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "backends/backend.h"
#include "control/service.h"
#include "fs/base/clock.h"
#include "fs/base/mutex.h"
#include "fs/base/own_mount.h"
#include "fs/cache/cache.h"
#include "fs/catalog/catalog.h"
#include "fs/event_log.h"
#include "fs/running_settings.h"

namespace glintfs {

class DaemonService final : public Service {
 public:
  // All arguments outlive the service.
  DaemonService(RunningSettings& settings, EventLog& events, Backend& backend, Cache& cache, Catalog& catalog, Clock& clock);

  // What Status and Doctor tell of the mount. REQUIRES: before calls come in.
  void SetMount(std::shared_ptr<const OwnMount> mount) { mount_ = std::move(mount); }
  // As Session::passthrough_refused. REQUIRES: once, before or while calls come in.
  void SetPassthrough(std::string refused);
  // Ends the calls that wait for the source, with kCancelled; later ones fail at once.
  void Cancel() { stopping_.request_stop(); }

  ServiceStatus Status() override;
  std::vector<ImageStatus> Images() override { return cache_.List(); }
  std::optional<ImageStatus> Image(std::string_view name) override { return cache_.StatusOf(cache_.OwnName(name)); }
  std::vector<QueueEntry> Queue() override { return cache_.Queue(); }

  Result<void> QueueImage(std::string_view name, bool now) override;
  Result<void> CancelFill(std::string_view name) override;
  Result<void> Evict(std::string_view given) override;
  PruneResult ClearCache() override { return cache_.Clear(); }
  void ClearQueue() override { cache_.ClearQueue(); }
  PruneResult Prune(std::optional<uint64_t> target, bool dry_run) override { return cache_.Prune(target, dry_run); }
  PruneResult Clean() override { return cache_.Clean(); }
  Result<void> SetPinned(std::string_view name, bool pinned) override {
    return cache_.SetPinned(cache_.OwnName(name), pinned);
  }
  std::vector<std::string> Pins() override { return cache_.Pins(); }

  Result<void> Scrub(std::string_view name) override { return cache_.Scrub(cache_.OwnName(name)); }
  uint64_t ScrubAll() override { return cache_.ScrubAll(); }
  EventPage Events(uint64_t sequence, size_t most) override { return events_.After(sequence, most); }
  Activity Current() override;
  std::vector<SettingValue> Settings() override { return settings_.List(); }
  Result<std::vector<SettingChange>> ChangeSettings(const std::map<std::string, std::string>& values) override;
  Result<SourceListing> SourceEntries(std::string_view directory) override;
  std::vector<Finding> Doctor() override;

  Result<ImageInfo> FindImage(std::string_view name) override;
  Result<std::vector<ImageInfo>> FindImagesNamed(std::string_view name) override;

 private:
  RunningSettings& settings_;
  EventLog& events_;
  Backend& backend_;
  Cache& cache_;
  Catalog& catalog_;
  Clock& clock_;
  const Nanos started_;
  std::shared_ptr<const OwnMount> mount_ = std::make_shared<OwnMount>();
  std::stop_source stopping_;
  Mutex mu_;
  std::string passthrough_refused_ GUARDED_BY(mu_) = "not mounted yet";
};

}  // namespace glintfs
