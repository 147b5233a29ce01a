// Backend: where images come from. One implementation per scheme (dir, http, …), made by backends/registry.
//
// The public methods are a front door: they check both sides of the contract (names, extents, lengths), so that neither
// a careless caller nor a lying server gets past them, and call the private virtuals that an implementation provides.
//
// Thread-safety: every method may be called from any number of threads. They block (network, disk): never call them
// from a FUSE worker or under a glintfs::Mutex. All end soon after their stop_token is triggered, with kCancelled.
//
// Errors: kNotFound is an answer of the source; kUnavailable and kTimedOut mean it could not be asked. Callers rely on
// the difference ("cannot ask" is not "deleted").
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/clock.h"
#include "fs/base/result.h"

namespace glintfs {

class BackendMeter;

// Immutable: a new version at the source is a new image.
struct ImageId {
  std::string source;   // what is mounted, as normalised by the backend: "http://host/images/"
  std::string name;     // relative to the source, components joined by '/', no leading '/'
  std::string version;  // opaque, never empty; equal versions mean equal bytes

  friend bool operator==(const ImageId&, const ImageId&) = default;
};

struct ImageInfo {
  ImageId id;
  uint64_t size = 0;     // bytes
  Nanos mtime{0};        // since 1970-01-01 UTC; 0 when unknown

  friend bool operator==(const ImageInfo&, const ImageInfo&) = default;
};

// What a name stands for. `image` is filled only when it is not a directory.
struct NameInfo {
  bool is_directory = false;
  ImageInfo image;
  // `image` has a name of its own (image.id.name), and the one asked for is another for it: it is kept once under both.
  bool alias = false;
};

struct ListEntry {
  std::string name;  // one component
  bool is_directory = false;
};

// One page of a directory. Ask again with `next_cursor` until it is empty.
struct Listing {
  std::vector<ListEntry> entries;
  std::string next_cursor;
};

struct Checksum {
  std::string algorithm;  // md5 | sha1 | sha256 | sha512 | crc32 | crc32c | crc64nvme
  std::string hex;        // lower case; of a CRC its value, most significant digit first

  friend bool operator==(const Checksum&, const Checksum&) = default;
};

struct Extent {
  uint64_t offset = 0;  // bytes
  uint64_t length = 0;  // bytes

  uint64_t end() const { return offset + length; }
  friend bool operator==(const Extent&, const Extent&) = default;
};

// Receives bytes in order. May block (that is the back-pressure). Called from the thread that called Fetch, never
// concurrently.
class DataSink {
 public:
  virtual ~DataSink() = default;
  // false: enough, stop; Fetch then returns success.
  virtual bool Write(std::span<const std::byte> data) = 0;
};

// Reads one version of one image.
class ImageReader {
 public:
  explicit ImageReader(uint64_t size) : size_(size) {}
  virtual ~ImageReader() = default;

  // Passes exactly the bytes of `extent` to `sink`, all from the version this reader was opened for, or returns an
  // error. On an error the bytes already passed are right, and in order from extent.offset.
  //   kStale         the source now holds another version
  //   kNotFound      the image is gone
  //   kNotSupported  the source cannot start in the middle; only extents that start at 0 work
  //   kUnavailable, kTimedOut, kAccessDenied, kInvalid (the answer makes no sense), kCancelled
  // REQUIRES: extent.length > 0 and extent.end() <= size
  Result<void> Fetch(Extent extent, DataSink& sink, std::stop_token stop);

  // Ranges known to be zeros, in order and disjoint: present without a transfer. Empty when nothing is known.
  virtual Result<std::vector<Extent>> Holes(std::stop_token) { return std::vector<Extent>(); }

  uint64_t size() const { return size_; }

 private:
  virtual Result<void> DoFetch(Extent extent, DataSink& sink, std::stop_token stop) = 0;

  const uint64_t size_;
};

class Backend {
 public:
  explicit Backend(std::string source) : source_(std::move(source)) {}
  virtual ~Backend() = default;

  // What stands under `name` now. The empty name is the source's root directory: asked at mount time, so that a source
  // that answers "no such thing" (kNotFound) is refused there.
  Result<NameInfo> Stat(std::string_view name, std::stop_token stop);

  // One page of the names in `directory` ("" is the root). kNotSupported when the source cannot list.
  Result<Listing> List(std::string_view directory, std::string_view cursor, std::stop_token stop);

  // A reader for exactly this version. May or may not contact the source: kStale can also come from the first Fetch.
  Result<std::unique_ptr<ImageReader>> Open(const ImageInfo& image, std::stop_token stop);

  // The checksum the source publishes for the whole image, if any. Asked once per image, when it is about to be
  // verified.
  Result<std::optional<Checksum>> FindChecksum(const ImageInfo& image, std::stop_token stop);

  // How many Fetch calls at once are of use to this source.
  virtual int max_parallel_fetches() const { return 16; }

  // What was asked of the source so far; null for a backend that nobody counts for.
  virtual std::shared_ptr<const BackendMeter> meter() const { return nullptr; }

  // For status lines and ImageId::source. Holds no secret.
  const std::string& source() const { return source_; }

 private:
  virtual Result<NameInfo> DoStat(std::string_view name, std::stop_token stop) = 0;
  virtual Result<Listing> DoList(std::string_view directory, std::string_view cursor, std::stop_token stop) = 0;
  virtual Result<std::unique_ptr<ImageReader>> DoOpen(const ImageInfo& image, std::stop_token stop) = 0;
  virtual Result<std::optional<Checksum>> DoFindChecksum(const ImageInfo&, std::stop_token) {
    return std::optional<Checksum>();
  }

  const std::string source_;
};

// True when `name` can be a path below a mount: components of 1 to 255 bytes joined by single '/', none of them "." or
// "..", no NUL or control character, at most 1024 bytes. The root ("") is not a valid image name.
bool IsValidName(std::string_view name);

}  // namespace glintfs
