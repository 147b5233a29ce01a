// Two daemons may start at once, and each may find the stale socket of a third. Looking, removing and binding therefore
// happen under an flock of the directory; no lock file stays behind. Between bind and listen nobody can connect, so
// mode and group are set there and the umask of the process need not be touched.
#include "control/unix_listener.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace glintfs {
namespace {

constexpr mode_t kSocketMode = 0660;
constexpr int kBacklog = 128;

Result<sockaddr_un> Address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return Error{Errc::kInvalid,
                 fmt::format("control socket {}: the path is longer than {} bytes, choose a shorter one", path,
                             sizeof address.sun_path - 1)};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// mkdir -p with `mode`, whatever the umask.
Result<void> MakeDirectories(const std::filesystem::path& directory, mode_t mode) {
  std::error_code ignored;
  if (std::filesystem::is_directory(directory, ignored)) return {};
  if (directory.has_relative_path()) GLINTFS_TRY(MakeDirectories(directory.parent_path(), mode));
  if (::mkdir(directory.c_str(), mode) != 0) {
    if (errno == EEXIST && std::filesystem::is_directory(directory, ignored)) return {};
    return ErrnoError(errno, "cannot make the directory of the control socket, " + directory.string());
  }
  if (::chmod(directory.c_str(), mode) != 0) return ErrnoError(errno, "chmod " + directory.string());
  return {};
}

Result<UniqueFd> NewSocket() {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return ErrnoError(errno, "control socket");
  return fd;
}

// Removes what a daemon that is gone left at `path`.
Result<void> RemoveStale(const std::string& path, const sockaddr_un& address) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? Result<void>() : ErrnoError(errno, "control socket " + path);
  }
  if (!S_ISSOCK(info.st_mode)) {
    return Error{Errc::kInvalid,
                 fmt::format("control socket {}: something else than a socket is there, remove it", path)};
  }
  GLINTFS_ASSIGN(const UniqueFd probe, NewSocket());
  // Success and EAGAIN (its backlog is full) both mean that somebody listens.
  const int rc = ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  if (rc == 0 || errno == EAGAIN) {
    return Error{Errc::kBusy,
                 fmt::format("control socket {}: another daemon listens there, choose another control=", path)};
  }
  if (errno != ECONNREFUSED) return ErrnoError(errno, "control socket " + path);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    return ErrnoError(errno, "cannot remove the stale control socket " + path);
  return {};
}

Result<void> SetAccess(const std::string& path, std::optional<gid_t> group) {
  if (group && ::chown(path.c_str(), static_cast<uid_t>(-1), *group) != 0) {
    return ErrnoError(errno, fmt::format("cannot give the control socket {} to group {}", path, *group));
  }
  if (::chmod(path.c_str(), kSocketMode) != 0) return ErrnoError(errno, "chmod of the control socket " + path);
  return {};
}

}  // namespace

Result<UnixListener> UnixListener::Listen(const std::string& path, std::optional<gid_t> group) {
  std::error_code failed;
  const std::filesystem::path absolute = std::filesystem::absolute(path, failed).lexically_normal();
  if (path.empty() || failed || !absolute.has_filename()) {
    return Error{Errc::kInvalid, fmt::format("control socket '{}': not the path of a file", path)};
  }
  GLINTFS_ASSIGN(const sockaddr_un address, Address(absolute.string()));
  // An ordinary user's group may be that of all users: it is let in only where it was asked for.
  GLINTFS_TRY(MakeDirectories(absolute.parent_path(), ::geteuid() == 0 || group ? 0755 : 0700));

  const UniqueFd directory(::open(absolute.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return ErrnoError(errno, "control socket " + absolute.string());
  while (::flock(directory.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return ErrnoError(errno, "lock of " + absolute.parent_path().string());
  }
  GLINTFS_TRY(RemoveStale(absolute.string(), address));

  GLINTFS_ASSIGN(UniqueFd fd, NewSocket());
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return ErrnoError(errno, "cannot make the control socket " + absolute.string());
  }
  UnixListener listener;  // from here on its destructor cleans up
  listener.path_ = absolute.string();
  listener.fd_ = std::move(fd);
  struct stat info {};
  if (::lstat(listener.path_.c_str(), &info) != 0) return ErrnoError(errno, "control socket " + listener.path_);
  listener.device_ = info.st_dev;
  listener.inode_ = info.st_ino;
  GLINTFS_TRY(SetAccess(listener.path_, group));
  if (::lstat(listener.path_.c_str(), &info) != 0) return ErrnoError(errno, "control socket " + listener.path_);
  listener.group_ = info.st_gid;
  listener.group_may_write_ = (info.st_mode & S_IWGRP) != 0;
  if (::listen(listener.fd_.get(), kBacklog) != 0) return ErrnoError(errno, "listen on " + listener.path_);
  return listener;
}

UnixListener::~UnixListener() {
  struct stat info {};
  if (path_.empty() || ::lstat(path_.c_str(), &info) != 0) return;
  if (info.st_dev == device_ && info.st_ino == inode_) ::unlink(path_.c_str());
}

}  // namespace glintfs
