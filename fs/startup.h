// What is looked at before anything is mounted, each failure one line that says what to do.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "backends/backend.h"
#include "fs/base/result.h"
#include "fs/options.h"

namespace glintfs {

inline constexpr std::string_view kMountType = "fuse.glintfs";  // in mountinfo

// The mount point is an empty directory (or any, with nonempty), and neither the cache nor a dir:// source is below it,
// nor it below them. The dead mount of a daemon that was killed is taken away first.
Result<void> CheckPlaces(const Options& options);

// Directories that were made for this start. Those that are still empty go with this object, so that a refused start leaves
// none behind.
class MadeDirectories {
 public:
  MadeDirectories() = default;
  MadeDirectories(MadeDirectories&&) = default;
  MadeDirectories& operator=(MadeDirectories&&) = delete;
  ~MadeDirectories();

  Result<void> Make(const std::string& path, mode_t mode);  // success too when it is there already

 private:
  std::vector<std::string> paths_;
};

// Makes the cache directory (0700) and its parents (0755) as needed; it must be writable.
Result<MadeDirectories> PrepareCacheDirectory(const Options& options);

// Asks the source for its root, for at most `limit`. An error when it answers that there is nothing to mount (kNotFound: no
// such root, which may be a file system that is not mounted); the reason, with has_value(), when it could not be asked: then the mount serves what is cached. Empty: all is well.
Result<std::string> AskSource(Backend& backend, Nanos limit);

// Detaches what is mounted at `path`, on top, whoever mounted it, without waiting for anybody. As an ordinary user through fusermount3.
void DetachMount(const std::string& path);

}  // namespace glintfs
