// What operators do to a running daemon and see of it, as plain values: events, activity, settings, findings.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/clock.h"

namespace glintfs {

// Something that happened to an image or to the daemon, for `glintctl events`.
struct ServiceEvent {
  enum class Kind {
    kQueued,       // asked to be cached
    kCancelled,    // taken off the queue on request, or its fill stopped
    kFilled,       // complete now
    kVerified,     // matches the checksum of the source
    kDamaged,      // a bad chunk was found on disk; it is to be fetched again
    kRepaired,     // what was found bad has been fetched again
    kInvalid,      // superseded, gone, or a wrong checksum
    kEvicted,      // removed; text has the reason
    kError,        // a fill or a fetch failed
    kSourceAway,   // the source cannot be asked
    kSourceBack,
    kSettings,     // a setting was changed
  };
  uint64_t sequence = 0;  // 1, 2, 3 … since the daemon started
  Nanos time{0};          // wall clock
  Kind kind = Kind::kQueued;
  std::string name;       // of the image; empty when it is about the daemon
  std::string text;       // one line for people; may be empty
  uint64_t bytes = 0;     // what the event is about: size filled, bytes evicted; 0 where that means nothing
};
std::string_view EventKindName(ServiceEvent::Kind kind);  // "queued", "source-away", …

struct EventPage {
  std::vector<ServiceEvent> events;  // in order, the oldest first
  uint64_t last = 0;                 // sequence of the newest event there is
  uint64_t lost = 0;                 // events between what was asked for and the first one kept
};

// What the daemon is doing right now, for `glintctl top`.
struct FetchActivity {
  std::string name;
  uint64_t offset = 0, length = 0, received = 0;  // bytes
  std::string urgency;                            // "demand", "readahead", "queued", "background"
  Nanos age{0};                                   // since it was sent to the source
};
struct FillActivity {
  std::string name;
  uint64_t size = 0, cached_bytes = 0;
  double rate = 0;      // bytes/s
  bool queued = false;  // on request, not in the background of a reader
};
struct Activity {
  std::vector<FetchActivity> fetches;  // oldest first, at most 100
  std::vector<FillActivity> fills;     // fastest first, at most 100
};

struct SettingValue {
  std::string name, value, default_value, allowed, help;
  bool changeable = false;  // while the daemon runs
};
struct SettingChange {
  std::string name, before, after;
};

// One line of `glintctl doctor`.
struct Finding {
  enum class Level { kOk, kWarn, kFail };
  std::string check;   // "passthrough", "cache disk", …
  Level level = Level::kOk;
  std::string text;    // what was found
  std::string advice;  // what to do; empty when ok
};

// An entry of a directory of the source.
struct SourceEntry {
  std::string name;  // whole, from the root of the mount
  bool is_directory = false;
};
struct SourceListing {
  std::vector<SourceEntry> entries;
  bool complete = true;  // false: the source could not be asked; only names that are known
};

}  // namespace glintfs
