// What is known about one image, as shown in xattrs, the control API and log lines. Plain values.
#pragma once

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
  ScrubStatus scrub;
};

}  // namespace glintfs
