// Scratch: what is in its files. The limit counts sizes, not blocks: a file of holes takes of it what it would need when written.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>

#include "fs/base/log.h"
#include "fs/fuse/scratch.h"

namespace glintfs {
namespace {

constexpr size_t kXattrMax = 4'096;        // bytes of one value that is set
constexpr size_t kXattrBuffer = 64 << 10;  // what the kernel allows a value, or all names, to take

timespec ToTimespec(std::optional<Nanos> time) {
  if (!time) return {.tv_sec = 0, .tv_nsec = UTIME_OMIT};
  return {.tv_sec = static_cast<time_t>(time->count() / 1'000'000'000), .tv_nsec = static_cast<long>(time->count() % 1'000'000'000)};
}

bool IsUserXattr(std::string_view name) { return name.starts_with("user.") && name.size() > 5; }

}  // namespace

int Scratch::Open(NodeId node, int flags) {
  if (node == kPhantomNode) return (flags & O_ACCMODE) == O_RDONLY && (flags & O_TRUNC) == 0 ? 0 : EPERM;
  if (IsDirectory(node)) return EISDIR;
  return Find(node) ? 0 : ESTALE;
}

int Scratch::Read(NodeId node, uint64_t offset, std::span<std::byte> buffer, size_t& got) {
  got = 0;
  if (node == kPhantomNode) return 0;
  if (IsDirectory(node)) return EISDIR;
  const auto file = Find(node);
  if (!file) return ESTALE;
  while (got < buffer.size()) {
    const ssize_t n = ::pread(file->fd.get(), buffer.data() + got, buffer.size() - got, static_cast<off_t>(offset + got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) break;
    got += static_cast<size_t>(n);
  }
  return 0;
}

int Scratch::Write(NodeId node, uint64_t offset, std::span<const std::byte> bytes) {
  if (node == kPhantomNode) return EPERM;
  if (IsDirectory(node)) return EISDIR;
  const auto file = Find(node);
  if (!file) return ESTALE;
  if (offset > INT64_MAX - bytes.size()) return EFBIG;
  if (const int err = Grow(node, offset + bytes.size()); err != 0) return err;
  int err = 0;
  for (size_t done = 0; done < bytes.size() && err == 0;) {
    const ssize_t n = ::pwrite(file->fd.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (n >= 0) {
      done += static_cast<size_t>(n);
    } else if (errno != EINTR) {
      err = errno;
    }
  }
  if (err == 0) return 0;
  struct stat st{};
  if (::fstat(file->fd.get(), &st) == 0) SetSize(node, static_cast<uint64_t>(st.st_size));
  return err;
}

int Scratch::Truncate(NodeId node, uint64_t size) {
  if (node == kPhantomNode) return EPERM;
  if (IsDirectory(node)) return EISDIR;
  const auto file = Find(node);
  if (!file) return ESTALE;
  if (size > INT64_MAX) return EFBIG;
  if (const int err = Grow(node, size); err != 0) return err;
  const int err = ::ftruncate(file->fd.get(), static_cast<off_t>(size)) == 0 ? 0 : errno;
  struct stat st{};
  if (::fstat(file->fd.get(), &st) == 0) SetSize(node, static_cast<uint64_t>(st.st_size));
  return err;
}

// Takes of the limit what a file of at least `size` bytes needs, before it is written.
int Scratch::Grow(NodeId node, uint64_t size) {
  {
    MutexLock lock(mu_);
    const auto number = numbers_.find(node);
    if (number == numbers_.end()) return ESTALE;
    Known& known = files_[number->second];
    if (size <= known.size) return 0;
    const uint64_t more = size - known.size;
    if (bytes_ <= limits_.bytes && more <= limits_.bytes - bytes_) {
      bytes_ += more;
      known.size = size;
      return 0;
    }
  }
  ReportFull("bytes");
  return ENOSPC;
}

void Scratch::SetSize(NodeId node, uint64_t size) {
  MutexLock lock(mu_);
  const auto number = numbers_.find(node);
  if (number == numbers_.end()) return;
  Known& known = files_[number->second];
  bytes_ += size - known.size;
  known.size = size;
}

void Scratch::ReportFull(const char* what) {
  const int64_t now = clock_.WallNow().count() / 1'000'000'000;
  int64_t before = full_reported_;
  if (now - before < 60 || !full_reported_.compare_exchange_strong(before, now)) return;
  LogWarn("the scratch area is full: at most {} bytes in {} files ({} reached). It is for Glance's own small files; remove what else "
          "lies in the mount's root, queue/ and invalid/", limits_.bytes, limits_.files, what);
}

int Scratch::SetTimes(NodeId node, std::optional<Nanos> accessed, std::optional<Nanos> modified) {
  if (node == kPhantomNode || IsDirectory(node)) return EPERM;
  const auto file = Find(node);
  if (!file) return ESTALE;
  const timespec times[2] = {ToTimespec(accessed), ToTimespec(modified)};
  return ::futimens(file->fd.get(), times) == 0 ? 0 : errno;
}

int Scratch::Sync(NodeId node) {
  if (node == kPhantomNode || node == kIncompleteNode) return 0;
  if (const auto directory = DirectoryOf(node)) return ::fsync(directories_[*directory].get()) == 0 ? 0 : errno;
  const auto file = Find(node);
  if (!file) return ESTALE;
  return ::fsync(file->fd.get()) == 0 ? 0 : errno;
}

// ---- Xattrs, kept by the file system below

int Scratch::GetXattr(NodeId node, const std::string& name, std::string& value) {
  if (!IsUserXattr(name) || node == kPhantomNode || IsDirectory(node)) return ENODATA;
  const auto file = Find(node);
  if (!file) return ESTALE;
  value.resize(kXattrBuffer);
  const ssize_t n = ::fgetxattr(file->fd.get(), name.c_str(), value.data(), value.size());
  if (n < 0) return errno;
  value.resize(static_cast<size_t>(n));
  return 0;
}

int Scratch::ListXattr(NodeId node, std::string& names) {
  names.clear();
  if (node == kPhantomNode || IsDirectory(node)) return 0;
  const auto file = Find(node);
  if (!file) return ESTALE;
  std::string all(kXattrBuffer, '\0');
  const ssize_t n = ::flistxattr(file->fd.get(), all.data(), all.size());
  if (n < 0) return errno;
  all.resize(static_cast<size_t>(n));
  for (size_t at = 0; at < all.size();) {
    const std::string name = all.substr(at, all.find('\0', at) - at);
    if (IsUserXattr(name)) names.append(name).push_back('\0');
    at += name.size() + 1;
  }
  return 0;
}

int Scratch::SetXattr(NodeId node, const std::string& name, std::string_view value, int flags) {
  if (!IsUserXattr(name)) return EOPNOTSUPP;
  if (node == kPhantomNode || IsDirectory(node)) return EPERM;
  const auto file = Find(node);
  if (!file) return ESTALE;
  if (value.size() > kXattrMax) return ENOSPC;
  return ::fsetxattr(file->fd.get(), name.c_str(), value.data(), value.size(), flags) == 0 ? 0 : errno;
}

int Scratch::RemoveXattr(NodeId node, const std::string& name) {
  if (!IsUserXattr(name)) return ENODATA;
  if (node == kPhantomNode || IsDirectory(node)) return EPERM;
  const auto file = Find(node);
  if (!file) return ESTALE;
  return ::fremovexattr(file->fd.get(), name.c_str()) == 0 ? 0 : errno;
}

}  // namespace glintfs
