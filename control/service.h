// Service: what the control API can ask of the daemon. The daemon implements it; tests of the API use a fake.
// Thread-safe; a call may take as long as the source takes to answer (Resolve), never longer than ask_deadline.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backends/meter.h"
#include "control/operations.h"
#include "fs/base/result.h"
#include "fs/cache/cache.h"
#include "fs/cache/image_status.h"

namespace glintfs {

// As the kernel counts it.
struct ProcessStats {
  Nanos started{0};        // wall clock
  double cpu_seconds = 0;
  uint64_t open_fds = 0, max_fds = 0;
  uint64_t resident_bytes = 0, virtual_bytes = 0;
};

struct ServiceStatus {
  std::string version;       // of glintfs
  std::string source;
  std::string mountpoint;
  std::string mount_problem;  // why nothing of ours shows there although we run; empty: it does
  std::string cache_directory;
  Nanos uptime{0};
  bool source_reachable = true;
  std::string source_error;  // why not, with when it was noticed
  std::string fill;          // "full" | "demand"
  uint64_t chunk_size = 0;
  std::string passthrough_refused;  // why complete images are not read by the kernel itself; empty: they are
  CacheStats cache;
  BackendStats backend;
  ProcessStats process;
};

class Service {
 public:
  virtual ~Service() = default;

  virtual ServiceStatus Status() = 0;
  virtual std::vector<ImageStatus> Images() = 0;                     // cached ones, by name
  virtual std::optional<ImageStatus> Image(std::string_view name) = 0;
  virtual std::vector<QueueEntry> Queue() = 0;

  // Asks the source for `name` and puts it in the queue. kNotFound: the source has no such image; kIsDirectory: it is a
  // directory; kUnavailable: the source cannot be asked and nothing is known about the name.
  // `now`: it goes before all others, also the one that is being cached, which goes on afterwards where it stood.
  virtual Result<void> QueueImage(std::string_view name, bool now) = 0;
  // Takes it off the queue and stops its fill, also one in the background of a reader; what is cached stays. kNotFound: neither.
  virtual Result<void> CancelFill(std::string_view name) = 0;
  virtual Result<void> Evict(std::string_view name) = 0;             // also takes it off the queue
  virtual PruneResult ClearCache() = 0;
  virtual void ClearQueue() = 0;
  virtual PruneResult Prune(std::optional<uint64_t> target, bool dry_run) = 0;
  virtual PruneResult Clean() = 0;
  virtual Result<void> SetPinned(std::string_view name, bool pinned) = 0;
  virtual std::vector<std::string> Pins() = 0;  // by name, cached or not

  // Has every byte on disk read again, soon: ImageStatus::scrub tells how far it is. kNotFound: nothing of it is cached.
  virtual Result<void> Scrub(std::string_view name) = 0;
  virtual uint64_t ScrubAll() = 0;  // how many images

  // At most `most` of the events after `sequence`.
  virtual EventPage Events(uint64_t sequence, size_t most) = 0;
  virtual Activity Current() = 0;

  virtual std::vector<SettingValue> Settings() = 0;
  // All or none. kInvalid: an unknown name, a value that is not allowed, or a setting that only a new mount changes.
  virtual Result<std::vector<SettingChange>> ChangeSettings(const std::map<std::string, std::string>& values) = 0;

  // What the source has in `directory` ("" is the root). Errors as for QueueImage; kNotDirectory.
  virtual Result<SourceListing> SourceEntries(std::string_view directory) = 0;

  // Looks at what the daemon depends on. Takes as long as the source takes to answer, at most ask_deadline.
  virtual std::vector<Finding> Doctor() = 0;

  // What the source has under `name`, cached or not. Errors as QueueImage.
  virtual Result<ImageInfo> FindImage(std::string_view name) = 0;
  // Those that have `name` as their name: the image at that path or, where the source knows names besides, all that are called so.
  // None is an empty answer.
  virtual Result<std::vector<ImageInfo>> FindImagesNamed(std::string_view name) = 0;
};

}  // namespace glintfs
