// UnixListener: a listening Unix stream socket in the file system.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace glintfs {

class UnixListener {
 public:
  // Makes the parent directory when it is missing (0755, or 0700 for an ordinary user without `group`), removes the socket of a daemon that is gone, and listens.
  // The socket has mode 0660 before anybody can connect; `group` is its group, else what the directory gives.
  //   kBusy     another process listens there
  //   kInvalid  the path is too long for a socket, or something else than a socket is there
  //   kAccessDenied, kIo  the directory cannot be made or written
  static Result<UnixListener> Listen(const std::string& path, std::optional<gid_t> group);

  UnixListener(UnixListener&&) = default;
  UnixListener& operator=(UnixListener&&) = delete;
  // Removes the socket file, unless another one has taken its place.
  ~UnixListener();

  UniqueFd TakeDescriptor() { return std::move(fd_); }
  gid_t group() const { return group_; }  // of the socket file
  bool group_may_write() const { return group_may_write_; }
  const std::string& path() const { return path_; }  // absolute

 private:
  UnixListener() = default;

  std::string path_;  // empty once moved from
  UniqueFd fd_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
  gid_t group_ = 0;
  bool group_may_write_ = false;
};

}  // namespace glintfs
