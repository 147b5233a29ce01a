#include "fs/base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "fs/base/mutex.h"
#include "fs/base/unique_fd.h"

namespace glintfs {
namespace {

class PosixFile final : public File {
 public:
  PosixFile(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  Result<void> ReadAt(std::span<std::byte> buffer, uint64_t offset) const override {
    AssertNoLockHeld();
    while (!buffer.empty()) {
      const ssize_t n = ::pread(fd_.get(), buffer.data(), buffer.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoError(errno, "read " + path_);
      if (n == 0) return Error{Errc::kIo, "read " + path_ + ": file is shorter than its image"};
      buffer = buffer.subspan(static_cast<size_t>(n));
      offset += static_cast<uint64_t>(n);
    }
    return {};
  }

  // Through a descriptor of its own, opened with O_DIRECT for this one call: that costs microseconds, the disk more. Where the
  // file system knows no direct reads, what the kernel keeps of the range is dropped before and after instead.
  Result<void> ReadFromDisk(std::span<std::byte> buffer, uint64_t offset) const override {
    AssertNoLockHeld();
    constexpr size_t kAlignment = 4096;
    if (offset % kAlignment == 0 && !buffer.empty()) {
      const std::string self = "/proc/self/fd/" + std::to_string(fd_.get());
      const UniqueFd direct(::open(self.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
      const size_t padded = (buffer.size() + kAlignment - 1) / kAlignment * kAlignment;
      const std::unique_ptr<void, void (*)(void*)> aligned(std::aligned_alloc(kAlignment, padded), std::free);
      if (direct.valid() && aligned && ReadDirect(direct.get(), {static_cast<std::byte*>(aligned.get()), padded}, buffer, offset))
        return {};
    }
    ::posix_fadvise(fd_.get(), static_cast<off_t>(offset), static_cast<off_t>(buffer.size()), POSIX_FADV_DONTNEED);
    const Result<void> read = ReadAt(buffer, offset);
    ::posix_fadvise(fd_.get(), static_cast<off_t>(offset), static_cast<off_t>(buffer.size()), POSIX_FADV_DONTNEED);
    return read;
  }

  Result<void> WriteAt(std::span<const std::byte> data, uint64_t offset) override {
    AssertNoLockHeld();
    while (!data.empty()) {
      const ssize_t n = ::pwrite(fd_.get(), data.data(), data.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoError(errno, "write " + path_);
      data = data.subspan(static_cast<size_t>(n));
      offset += static_cast<uint64_t>(n);
    }
    return {};
  }

  Result<void> Sync() override {
    AssertNoLockHeld();
    if (::fdatasync(fd_.get()) != 0) return ErrnoError(errno, "fdatasync " + path_);
    return {};
  }

  int fd() const override { return fd_.get(); }

 private:
  // False: not all of it could be read so. The last block of a file may be a short one.
  static bool ReadDirect(int fd, std::span<std::byte> aligned, std::span<std::byte> out, uint64_t offset) {
    size_t done = 0;
    while (done < out.size()) {
      const ssize_t n = ::pread(fd, aligned.data() + done, aligned.size() - done, static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      done += static_cast<size_t>(n);
      if (done < out.size() && done % 512 != 0) return false;
    }
    std::memcpy(out.data(), aligned.data(), out.size());
    return true;
  }

  const UniqueFd fd_;
  const std::string path_;
};

class PosixStorage final : public Storage {
 public:
  PosixStorage(UniqueFd dir, std::string path) : dir_(std::move(dir)), path_(std::move(path)) {}

  Result<std::unique_ptr<File>> Open(const std::string& path, uint64_t size) override {
    AssertNoLockHeld();
    UniqueFd fd(::openat(dir_.get(), path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (!fd.valid()) return ErrnoError(errno, "open " + path);
    struct stat st{};
    if (::fstat(fd.get(), &st) != 0) return ErrnoError(errno, "stat " + path);
    if (!S_ISREG(st.st_mode) || static_cast<uint64_t>(st.st_size) != size)
      return Error{Errc::kCorrupt, path + " is not a file of the expected size"};
    return std::unique_ptr<File>(std::make_unique<PosixFile>(std::move(fd), path));
  }

  Result<std::unique_ptr<File>> Create(const std::string& path, uint64_t size) override {
    AssertNoLockHeld();
    constexpr int kFlags = O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW;
    UniqueFd fd(::openat(dir_.get(), path.c_str(), kFlags, 0600));
    if (!fd.valid() && errno == ENOENT) {
      GLINTFS_TRY(MakeParents(path));
      fd.Reset(::openat(dir_.get(), path.c_str(), kFlags, 0600));
    }
    if (!fd.valid()) return ErrnoError(errno, "create " + path);
    if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) return ErrnoError(errno, "set size of " + path);
    return std::unique_ptr<File>(std::make_unique<PosixFile>(std::move(fd), path));
  }

  Result<void> Remove(const std::string& path) override {
    AssertNoLockHeld();
    if (::unlinkat(dir_.get(), path.c_str(), 0) != 0) return ErrnoError(errno, "remove " + path);
    return {};
  }

  Result<void> Walk(const std::string& directory, const std::function<void(const Found&)>& found) override {
    AssertNoLockHeld();
    return WalkLevel(directory, 2, found);
  }

  Result<SpaceInfo> Space() override {
    AssertNoLockHeld();
    struct statvfs st{};
    if (::fstatvfs(dir_.get(), &st) != 0) return ErrnoError(errno, "statvfs " + path_);
    return SpaceInfo{.total = st.f_blocks * st.f_frsize, .available = st.f_bavail * st.f_frsize, .block_size = st.f_frsize};
  }

 private:
  Result<void> MakeParents(const std::string& path) {
    for (size_t slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
      if (::mkdirat(dir_.get(), path.substr(0, slash).c_str(), 0700) != 0 && errno != EEXIST)
        return ErrnoError(errno, "make directory for " + path);
    }
    return {};
  }

  Result<void> WalkLevel(const std::string& directory, int depth, const std::function<void(const Found&)>& found) {
    UniqueFd fd(::openat(dir_.get(), directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.valid()) return errno == ENOENT ? Result<void>() : ErrnoError(errno, "open directory " + directory);
    std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(fd.get()), ::closedir);
    if (!dir) return ErrnoError(errno, "read directory " + directory);
    const int raw = fd.Release();  // owned by `dir` now
    while (const dirent* entry = ::readdir(dir.get())) {
      const std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      struct stat st{};
      if (::fstatat(raw, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
      if (S_ISDIR(st.st_mode) && depth > 1) GLINTFS_TRY(WalkLevel(directory + "/" + name, depth - 1, found));
      if (S_ISREG(st.st_mode))
        found({directory + "/" + name, static_cast<uint64_t>(st.st_size), static_cast<uint64_t>(st.st_blocks) * 512});
    }
    return {};
  }

  const UniqueFd dir_;
  const std::string path_;
};

}  // namespace

Result<std::unique_ptr<Storage>> OpenPosixStorage(const std::string& directory) {
  UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoError(errno, "open cache directory " + directory);
  return std::unique_ptr<Storage>(std::make_unique<PosixStorage>(std::move(fd), directory));
}

}  // namespace glintfs
