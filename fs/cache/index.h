// Index: what the cache knows, durably: images, their chunk sets and hashes, use, the queue, pins. An SQLite database (WAL,
// synchronous=FULL), so that a commit survives a power loss. Format: docs/cache-format.md.
//
// One thread of its own writes. Apply() hands it a batch and waits; batches that arrive together share one transaction.
// Chunks must be on disk (File::Sync) before the batch that names them: that is the janitor's part of the crash order.
//
// Thread-safe. No method may be called under a glintfs::Mutex.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "backends/backend.h"
#include "fs/base/result.h"
#include "fs/cache/cache_stats.h"
#include "fs/cache/image_status.h"

namespace glintfs {

enum class Verdict : int {  // stored: do not renumber
  kUnknown = 0,     // the source was not asked for a checksum yet
  kNoChecksum = 1,  // it has none
  kPending = 2,     // it has one; not compared yet
  kVerified = 3,
  kFailed = 4,      // invalid
};

// One row of the image table.
struct ImageRow {
  RowId row = 0;
  ImageInfo info;
  uint32_t generation = 0;
  uint64_t chunks_present = 0;
  uint64_t disk_bytes = 0;
  bool suspect = false;     // chunks were written before an unclean end and not all are checked
  bool superseded = false;  // the source has another version, or none
  Verdict verdict = Verdict::kUnknown;
  std::optional<Checksum> checksum;
  std::string error;        // of the last verification
  uint64_t hits = 0;
  Nanos last_access{0};     // wall
  Nanos last_progress{0};   // wall
};

// Part of an image's chunk set: kChunksPerSegment chunks from segment · kChunksPerSegment on.
struct ChunkSegment {
  static constexpr uint64_t kChunks = 1024;

  uint64_t segment = 0;
  std::vector<uint64_t> present;  // bitmap words, kChunks/64 of them at most
  std::vector<uint64_t> hashes;   // XXH3-64 of each chunk; 0 where absent
};

struct QueueRow {
  std::string name;
  uint64_t position = 0;
  Nanos added{0};
  int attempts = 0;
  Nanos next_try{0};
  std::string error;
};

struct IndexBatch {
  std::vector<ImageRow> put_images;
  std::vector<std::pair<RowId, ChunkSegment>> put_segments;
  std::vector<RowId> remove_images;  // with their segments
  std::vector<QueueRow> put_queue;
  std::vector<std::string> remove_queue;
  std::vector<std::string> add_pins, remove_pins;
  std::vector<std::pair<std::string, std::string>> put_aliases;  // alias, own name of the image
  std::vector<std::string> remove_aliases;
  std::optional<uint64_t> next_row;  // rows below it may be in use

  bool empty() const;
};

struct IndexContent {
  bool clean = true;              // the last daemon ended with Close()
  uint64_t next_row = 1;
  std::vector<ImageRow> images;   // least recently used first
  std::vector<QueueRow> queue;    // in order
  std::vector<std::string> pins;
  std::vector<std::pair<std::string, std::string>> aliases;  // of images in it
  std::string note;               // what was dropped and why, for the log; empty when nothing was
};

class Index {
 public:
  // Opens or makes the database and reads it. An index that SQLite calls damaged, or of an older format that cannot be
  // migrated, is set aside as <path>.damaged and a new one begun (content.note says so). kInvalid: a newer format, or
  // another chunk size.
  static Result<std::unique_ptr<Index>> Open(const std::string& path, uint64_t chunk_size, IndexContent& content);
  virtual ~Index() = default;  // without Close(): the end counts as unclean

  // Durable when it returns. On an error nothing of the batch is stored.
  virtual Result<void> Apply(IndexBatch batch) = 0;
  virtual Result<std::vector<ChunkSegment>> LoadSegments(RowId row) = 0;
  // Everything applied, and the end marked as clean.
  virtual Result<void> Close() = 0;
  virtual IndexHealth health() const = 0;
};

}  // namespace glintfs
