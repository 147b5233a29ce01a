// What is known about one image, as shown in xattrs, the control API and log lines. Plain values.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "backends/backend.h"

namespace glintfs {

// The row of an image in the index. Never reused, so that it can stand in a node id.
using RowId = uint64_t;

enum class ImageState {
  kAbsent,    // nothing cached
  kPartial,   // some chunks
  kComplete,  // all chunks
  kVerified,  // all chunks, and the whole matches the source's checksum
  kInvalid,   // superseded, failed its checksum, or damaged: never served to a new open, removed once closed
};
std::string_view ImageStateName(ImageState state);  // "absent", …

// A look at every byte on disk that somebody asked for: chunks against their hashes, the whole against the source's checksum.
struct ScrubStatus {
  enum class State {
    kNever,     // not asked for since the daemon started
    kWaiting,   // its turn comes
    kRunning,
    kGood,      // all that is cached was right
    kRepaired,  // bad chunks were found, and are fetched again
    kFailed,    // could not be done or repaired: see error
  };
  State state = State::kNever;
  uint64_t checked_bytes = 0;  // so far
  uint64_t bad_chunks = 0;     // found
  Nanos finished{0};           // wall clock; 0: not yet
  std::string error;
};
std::string_view ScrubStateName(ScrubStatus::State state);  // "never", …

// Why an image left the cache.
enum class Removal {
  kRoom,        // evicted to make room for another one
  kLimit,       // evicted because the limit was lowered, or the file system fills up
  kPrune,       // evicted by an operator's prune
  kRequest,     // evicted by name, or with all others
  kSuperseded,  // the source has another version, or none
  kInvalid,     // it failed its checksum
  kStalled,     // partial, and without progress for stall_time
  kDamaged,     // a part of it on disk was bad, and its file was not to be written any more
  kLost,        // its data file was gone
};
inline constexpr size_t kRemovals = 9;
std::string_view RemovalName(Removal reason);  // "room", …

// One request to the source that is under way.
struct FetchStatus {
  std::string name;
  uint64_t offset = 0, length = 0, received = 0;  // bytes; received in whole chunks
  std::string_view urgency;                       // "demand", …
  Nanos age{0};                                   // since it was sent
};
// An image that is being filled.
struct FillStatus {
  std::string name;
  uint64_t size = 0, cached_bytes = 0;
  double rate = 0;  // bytes/s
  bool queued = false;
};

struct ImageStatus {
  ImageInfo info;
  RowId row = 0;
  ImageState state = ImageState::kAbsent;
  uint64_t chunk_size = 0;
  uint64_t chunks = 0;
  uint64_t chunks_present = 0;
  uint64_t cached_bytes = 0;  // bytes of the image that are present, zeros included
  uint64_t disk_bytes = 0;    // what it takes of max_size
  uint64_t hits = 0;          // opens that found the image in the cache, at least in part
  Nanos last_access{0};       // wall clock; 0: never
  Nanos last_progress{0};     // wall clock of the last chunk that was stored
  bool pinned = false;
  bool filling = false;
  int open_count = 0;
  double fill_rate = 0;       // bytes/s over the last seconds, while filling
  std::string error;          // the last fill or verification error, empty when none
  std::optional<Checksum> checksum;
  bool checksum_asked = true;  // false: whether the source has one is not known yet
  ScrubStatus scrub;
};

}  // namespace glintfs
