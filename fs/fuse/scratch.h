// Scratch: the small writable part of a mount with layout=glance-cache, real files of a directory beside the cache's data. Glance
// keeps its lock file and its SQLite database there, tries xattrs, and leaves markers.
//
//   <mount>/NAME                  files of <directory>/root; never the name of an image (IsImageId)
//   <mount>/queue/, invalid/      <directory>/queue, <directory>/invalid
//   <mount>/incomplete/           empty; every image id in it is there as an empty file that nobody can write
//
// incomplete/ID being there is what keeps Glance from writing an image: it takes ID for being written by somebody else, and hands its
// own store's data to the client.
//
// Files are regular ones, one level deep, with one name. Nothing else in the directory is shown: no links, no devices, no further
// directories. Their sizes together stay within a limit, files that are unlinked and still open included.
//
// Functions return 0 or an errno. Thread-safe; the count of bytes is exact as long as one at a time changes the names of a directory,
// and one at a time the size of a file, which is how the kernel asks. None waits for anything but the local disk.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "backends/backend.h"
#include "fs/base/clock.h"
#include "fs/base/mutex.h"
#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fs/fuse/node_table.h"

namespace glintfs {

// "8d2f6f9e-0a3c-4f37-9d55-f6a4f2a4b1c0": what Glance gives its images for a name.
bool IsImageId(std::string_view name);

// Ids of the nodes in the scratch area. Those of directories mean the same to every daemon; those of files are never given out
// again, so that a later daemon answers them ESTALE.
inline constexpr NodeId kScratchBit = 1ull << 61;
constexpr bool IsScratchNode(NodeId node) { return node >> 61 == 1; }

struct ScratchStat {
  NodeId node = 0;
  bool is_directory = false;
  uint64_t number = 0;  // of the file in its file system; 0: none
  std::string name;     // of a directory
  uint64_t size = 0;    // bytes
  Nanos modified{0}, accessed{0};  // wall clock
};

class Scratch {
 public:
  struct Limits {
    uint64_t bytes = 64 << 20;  // of all files together
    size_t files = 4'096;
  };
  struct Use {
    uint64_t bytes = 0;
    size_t files = 0;
  };

  // Makes `directory` (0700) and what is missing in it. Each error is one line that says what to do.
  static Result<std::unique_ptr<Scratch>> Open(const std::string& directory, Limits limits, Clock& clock = Clock::System());

  // `directory` is kRootNode or one of ours. Adds one lookup to a file; Forget takes them away.
  int Lookup(NodeId directory, std::string_view name, ScratchStat& stat);
  void Forget(NodeId node, uint64_t count);
  int Stat(NodeId node, ScratchStat& stat);
  // The names in it; of the root without the three directories.
  int List(NodeId directory, std::vector<ListEntry>& entries);
  static bool IsDirectory(NodeId node);

  // Makes the file, or opens the one that is there unless O_EXCL is among `flags`; adds one lookup.
  int Create(NodeId directory, std::string_view name, int flags, ScratchStat& stat);
  int MakeDirectory(NodeId directory, std::string_view name);  // EEXIST for those there are, else EPERM
  int Unlink(NodeId directory, std::string_view name);
  int Rename(NodeId from, std::string_view name, NodeId to, std::string_view new_name, unsigned flags);

  // Handles are not needed: what the kernel has open it has also looked up.
  int Open(NodeId node, int flags);
  int Read(NodeId node, uint64_t offset, std::span<std::byte> buffer, size_t& got);
  int Write(NodeId node, uint64_t offset, std::span<const std::byte> bytes);  // all of them, or an error
  int Truncate(NodeId node, uint64_t size);
  int SetTimes(NodeId node, std::optional<Nanos> accessed, std::optional<Nanos> modified);
  int Sync(NodeId node);

  // user.* only
  int GetXattr(NodeId node, const std::string& name, std::string& value);
  int ListXattr(NodeId node, std::string& names);
  int SetXattr(NodeId node, const std::string& name, std::string_view value, int flags);
  int RemoveXattr(NodeId node, const std::string& name);

  Use use();

 private:
  static constexpr NodeId kQueueNode = kScratchBit | 1, kInvalidNode = kScratchBit | 2, kIncompleteNode = kScratchBit | 3;
  static constexpr NodeId kPhantomNode = kScratchBit | 4;  // every file in incomplete/
  enum Directory { kRoot, kQueue, kInvalid, kIncomplete };
  struct File {
    UniqueFd fd;  // open as long as the kernel knows the file; so its number is not given out again
  };
  struct Known {  // by its number in the file system
    NodeId node = 0;  // 0: not known to the kernel
    std::shared_ptr<File> file;
    uint64_t lookups = 0;
    uint64_t size = 0;  // what it takes of the limit
    bool unlinked = false;
  };

  Scratch(Limits limits, Clock& clock);
  Result<void> OpenDirectory(const std::string& directory);
  Result<void> CountFiles();

  static std::optional<Directory> DirectoryOf(NodeId node);
  // EINVAL, ENAMETOOLONG; EPERM for what is no name of a scratch file in this directory.
  static int CheckName(Directory directory, std::string_view name);
  // The number of the regular file of this name; ENOENT also for anything else that lies there.
  int NumberOf(Directory directory, const std::string& name, uint64_t& number, bool* other = nullptr);
  int Look(Directory directory, const std::string& name, int flags, ScratchStat& stat);
  std::shared_ptr<File> Find(NodeId node);
  int Grow(NodeId node, uint64_t size);
  void SetSize(NodeId node, uint64_t size);
  void NoteUnlinked(uint64_t number);
  void ReportFull(const char* what);

  // Constant after Open.
  const Limits limits_;
  std::array<UniqueFd, 3> directories_;  // kRoot, kQueue, kInvalid
  dev_t device_ = 0;

  std::atomic<int64_t> full_reported_{0};  // wall clock, seconds
  Clock& clock_;
  Mutex mu_;
  std::unordered_map<uint64_t, Known> files_ GUARDED_BY(mu_);     // by number
  std::unordered_map<NodeId, uint64_t> numbers_ GUARDED_BY(mu_);  // of the files that the kernel knows
  uint64_t bytes_ GUARDED_BY(mu_) = 0;
  NodeId next_node_ GUARDED_BY(mu_);
};

}  // namespace glintfs
