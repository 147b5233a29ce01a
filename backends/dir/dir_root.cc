// How names stay inside the root:
//
//   openat2(RESOLVE_BENEATH)      the usual way; the kernel refuses every step outside
//     EXDEV                       a link left the tree, or is absolute and may still lead back into it:
//     ENOSYS, EPERM               no openat2 here:
//   openat(O_PATH), then compare  the opened object's own path (/proc/self/fd) with the root's; O_PATH has no side
//                                 effects, and what was compared is the descriptor that is used: nobody can swap it
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include "backends/dir/dir_backend.h"
#include "backends/dir/source_errno.h"
#include "fs/base/log.h"

namespace glintfs {
namespace {

constexpr int kPathFlags = O_PATH | O_CLOEXEC;

std::string FdPath(int fd) {
  std::string buffer(PATH_MAX, '\0');
  const ssize_t n = ::readlink(fmt::format("/proc/self/fd/{}", fd).c_str(), buffer.data(), buffer.size());
  buffer.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return buffer;
}

bool IsMountRoot(int fd) {
  struct statx info{};
  if (::statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, 0, &info) != 0) return false;
  return (info.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) != 0 && (info.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

}  // namespace

Result<UniqueFd> DirRoot::OpenRoot(bool asked_for_root) const {
  UniqueFd root(::open(path_.c_str(), kPathFlags | O_DIRECTORY));
  if (!root.valid()) {
    const int err = errno;
    Error error = SourceErrno(err, path_);
    if (!asked_for_root && (err == ENOENT || err == ENOTDIR)) error.code = Errc::kUnavailable;
    return error;
  }
  if (IsMountRoot(root.get())) {
    was_mount_ = true;
  } else if (was_mount_) {
    return Error{Errc::kUnavailable, path_ + " is no longer mounted"};
  }
  return root;
}

Result<UniqueFd> DirRoot::ResolveAndCompare(int root, const std::string& name) const {
  UniqueFd fd(::openat(root, name.c_str(), kPathFlags));
  if (!fd.valid()) return SourceErrno(errno, path_ + "/" + name);
  const std::string root_path = FdPath(root);
  const std::string path = FdPath(fd.get());
  const bool inside =
      !root_path.empty() && (root_path == "/" || path == root_path || path.starts_with(root_path + "/"));
  if (!inside) return Error{Errc::kAccessDenied, fmt::format("{}/{}: the link leads out of the source", path_, name)};
  return fd;
}

Result<UniqueFd> DirRoot::ResolveBelow(int root, const std::string& name) const {
  struct open_how how{};
  how.flags = kPathFlags;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  for (int attempt = 0; use_openat2_ && attempt < 100; ++attempt) {
    const long fd = ::syscall(SYS_openat2, root, name.c_str(), &how, sizeof(how));
    if (fd >= 0) return UniqueFd(static_cast<int>(fd));
    if (errno == EAGAIN || errno == EINTR) continue;  // a rename was under way
    if (errno == EXDEV || errno == ENOSYS || errno == EPERM) break;
    return SourceErrno(errno, path_ + "/" + name);
  }
  return ResolveAndCompare(root, name);
}

Result<UniqueFd> DirRoot::Resolve(std::string_view name) const {
  GLINTFS_ASSIGN(UniqueFd root, OpenRoot(name.empty()));
  if (name.empty()) return root;
  return ResolveBelow(root.get(), std::string(name));
}

Result<UniqueFd> DirRoot::OpenForRead(std::string_view name, int flags) const {
  GLINTFS_ASSIGN(UniqueFd path, Resolve(name));
  UniqueFd fd(::open(fmt::format("/proc/self/fd/{}", path.get()).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags));
  const int err = errno;
  if (fd.valid()) return fd;
  Error error = SourceErrno(err, fmt::format("{}/{}", path_, name));
  if (err == ENOTDIR) error.code = Errc::kNotDirectory;  // it exists, but O_DIRECTORY was asked for
  return error;
}

}  // namespace glintfs
