#include "fs/fuse/mount_checks.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>

#include "fs/base/unique_fd.h"

namespace glintfs {
namespace {

bool InPath(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::istringstream directories(path != nullptr ? path : "/usr/bin:/bin");
  for (std::string directory; std::getline(directories, directory, ':');)
    if (::access((directory + "/" + program).c_str(), X_OK) == 0) return true;
  return false;
}

bool UsersMayAllowOther() {
  std::ifstream file("/etc/fuse.conf");
  for (std::string line; std::getline(file, line);) {
    line.erase(0, line.find_first_not_of(" \t"));
    line.erase(line.find_last_not_of(" \t\r") + 1);
    if (line == "user_allow_other") return true;
  }
  return false;
}

}  // namespace

Result<void> CheckMountpoint(const std::string& mountpoint, bool nonempty) {
  struct stat st{};
  if (::stat(mountpoint.c_str(), &st) != 0) {
    if (errno == ENOENT)
      return Error{Errc::kNotFound, fmt::format("mount point {} does not exist: create it", mountpoint)};
    if (errno == ENOTCONN)
      return Error{Errc::kBusy, fmt::format("mount point {} is a mount whose daemon is gone: run 'umount {}' first",
                                            mountpoint, mountpoint)};
    return ErrnoError(errno, "mount point " + mountpoint);
  }
  if (!S_ISDIR(st.st_mode))
    return Error{Errc::kNotDirectory, fmt::format("mount point {} is no directory", mountpoint)};
  if (nonempty) return {};
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(mountpoint.c_str()), ::closedir);
  if (!directory) return ErrnoError(errno, "mount point " + mountpoint);
  while (const dirent* entry = ::readdir(directory.get())) {
    if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) continue;
    return Error{Errc::kInvalid,
                 fmt::format("mount point {} is not empty: use an empty one, or -o nonempty", mountpoint)};
  }
  return {};
}

Result<void> CheckFuse(bool allow_other) {
  const UniqueFd device(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!device.valid()) {
    if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
      return Error{Errc::kNotSupported,
                   "there is no /dev/fuse: run 'modprobe fuse'; a container needs --device /dev/fuse"};
    if (errno == EACCES || errno == EPERM)
      return Error{Errc::kAccessDenied, "/dev/fuse may not be opened: give it mode 0666, as usual, or mount as root"};
    return ErrnoError(errno, "open /dev/fuse");
  }
  if (::geteuid() == 0) return {};
  if (!InPath("fusermount3"))
    return Error{Errc::kNotSupported, "fusermount3 is missing: install the package fuse3, or mount as root"};
  if (allow_other && !UsersMayAllowOther())
    return Error{Errc::kAccessDenied, "allow_other needs the line 'user_allow_other' in /etc/fuse.conf, or root"};
  return {};
}

}  // namespace glintfs
