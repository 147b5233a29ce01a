// DirBackend: a directory, local or on a network mount, as a source: "dir:///srv/images".
//
// Shows regular files and directories. Symbolic links are followed as long as they stay inside the directory. The
// version of an image is device, inode, size, mtime and ctime (ns), checked again after each piece that is read and
// before it is passed on. A directory that is gone although it was there (an unmounted NFS) makes names kUnavailable,
// not kNotFound.
//
// A call the kernel does not come back from (a hard NFS mount whose server is gone) cannot be cancelled: for a directory on a
// network mount the registry wraps this backend in Detached.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "backends/backend.h"
#include "fs/base/unique_fd.h"

namespace glintfs {

// Resolves names below a root directory without ever leaving it. Immutable but for one remembered fact; thread-safe.
class DirRoot {
 public:
  // `use_openat2` is false only in tests: older kernels and some sandboxes refuse that call.
  explicit DirRoot(std::string path, bool use_openat2 = true) : path_(std::move(path)), use_openat2_(use_openat2) {}

  const std::string& path() const { return path_; }

  // An O_PATH descriptor of `name` ("" is the root itself). kNotFound, kAccessDenied (also for links that lead
  // outside), kUnavailable when the root is no longer mounted, or is missing and `name` is not "": that is told at mount time.
  Result<UniqueFd> Resolve(std::string_view name) const;

  // The same, open for reading; the descriptor's type is not checked.
  Result<UniqueFd> OpenForRead(std::string_view name, int flags) const;

 private:
  Result<UniqueFd> OpenRoot(bool asked_for_root) const;
  Result<UniqueFd> ResolveBelow(int root, const std::string& name) const;
  Result<UniqueFd> ResolveAndCompare(int root, const std::string& name) const;

  const std::string path_;
  const bool use_openat2_;
  mutable std::atomic<bool> was_mount_{false};  // the root was seen to be a mount point
};

class DirBackend final : public Backend {
 public:
  DirBackend(std::string root, int max_parallel);

  int max_parallel_fetches() const override { return max_parallel_; }

 private:
  Result<NameInfo> DoStat(std::string_view name, std::stop_token stop) override;
  Result<Listing> DoList(std::string_view directory, std::string_view cursor, std::stop_token stop) override;
  Result<std::unique_ptr<ImageReader>> DoOpen(const ImageInfo& image, std::stop_token stop) override;

  const std::shared_ptr<const DirRoot> root_;  // shared with the readers, which may outlive the backend
  const int max_parallel_;
};

}  // namespace glintfs
