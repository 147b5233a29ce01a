// The one door to system calls on files of the cache directory, so that tests can fail them, count them and drop what was
// never synced. Paths are relative to the directory the Storage was opened on, as built by fs/cache/layout.
// Thread-safe. No method may be called under a glintfs::Mutex.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "fs/base/result.h"

namespace glintfs {

class File {
 public:
  virtual ~File() = default;

  // Reads exactly buffer.size() bytes at `offset`; kIo on a short file.
  virtual Result<void> ReadAt(std::span<std::byte> buffer, uint64_t offset) const = 0;
  // The same from the disk itself and not from memory, as far as the system can: what readers have in memory stays there, and
  // what is read here does not go there. Slower.
  virtual Result<void> ReadFromDisk(std::span<std::byte> buffer, uint64_t offset) const { return ReadAt(buffer, offset); }
  virtual Result<void> WriteAt(std::span<const std::byte> data, uint64_t offset) = 0;
  // fdatasync: what was written before the call survives a power loss after it.
  virtual Result<void> Sync() = 0;
  // A descriptor that may be spliced from and passed through, or -1 when there is none (fakes).
  virtual int fd() const { return -1; }
};

struct SpaceInfo {
  uint64_t total = 0;       // bytes of the file system
  uint64_t available = 0;   // bytes left for an ordinary user
  uint64_t block_size = 4096;
};

class Storage {
 public:
  virtual ~Storage() = default;

  // Opens for reading and writing. kNotFound when absent; kCorrupt when its size is not `size`.
  virtual Result<std::unique_ptr<File>> Open(const std::string& path, uint64_t size) = 0;
  // Makes a new sparse file of `size` bytes (mode 0600) and its parent directory (0700). An existing one is replaced.
  virtual Result<std::unique_ptr<File>> Create(const std::string& path, uint64_t size) = 0;
  virtual Result<void> Remove(const std::string& path) = 0;  // kNotFound when absent
  struct Found {
    std::string path;
    uint64_t size = 0;       // bytes
    uint64_t allocated = 0;  // bytes of disk
  };
  // Calls `found` for each regular file below `directory`, two levels deep.
  virtual Result<void> Walk(const std::string& directory, const std::function<void(const Found&)>& found) = 0;
  virtual Result<SpaceInfo> Space() = 0;
};

// Files below `directory`, which must exist.
Result<std::unique_ptr<Storage>> OpenPosixStorage(const std::string& directory);

}  // namespace glintfs
