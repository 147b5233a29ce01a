// ReadOp: one read in progress. Whoever holds the unique_ptr owns it; it is answered exactly once, by a Done that returns true
// or by Fail, called without a lock held, from any thread, and destroyed right after.
#pragma once

#include <boost/intrusive/list_hook.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "fs/base/clock.h"
#include "fs/base/file.h"
#include "fs/base/result.h"

namespace glintfs {

// The bytes of a read: either a range of a data file, all of it present, or bytes in memory (bypass). Valid during the call
// that passes it.
struct ReadData {
  const File* file = nullptr;       // when set, the bytes are file[offset, offset+length)
  uint64_t offset = 0;
  size_t length = 0;
  std::span<const std::byte> bytes;  // when `file` is null; bytes.size() == length
};

class ReadOp : public boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::safe_link>> {
 public:
  // `id` is the caller's name for this read, for CachedImage::Cancel.
  ReadOp(uint64_t op_id, uint64_t op_offset, size_t op_length) : id(op_id), offset(op_offset), length(op_length) {}
  virtual ~ReadOp() = default;

  // False: `data.file` could not be read, and nothing was answered. The image then checks the file against its hashes, and
  // calls again, with bytes that were fetched anew if need be, or calls Fail.
  virtual bool Done(const ReadData& data) = 0;
  virtual void Fail(const Error& error) = 0;

  const uint64_t id;
  const uint64_t offset;
  const size_t length;

 private:
  friend class CachedImage;
  // Chunks that reached this read in memory because the cache had no room for them; they are gone for everyone else soon.
  struct Held {
    uint64_t chunk;
    std::shared_ptr<const std::vector<std::byte>> bytes;
  };
  std::vector<Held> held_;
  uint64_t parked_on_ = 0;  // chunk; meaningful while parked
  int failed_replies_ = 0;
  Nanos began_{0};       // 0: a read that is nobody's
  bool waited_ = false;  // it was parked
};

}  // namespace glintfs
