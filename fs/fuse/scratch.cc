// A file is found by its number in the file system below (st_ino), which stays when it is renamed, and is not given out again as long
// as our descriptor of it is open. So names are nowhere kept in memory, and a file that was unlinked and is still open goes on.
//
// What a name leads to is opened only after it was seen to be a regular file, without following links: who can write into the
// directory below (the daemon's user alone) could otherwise make us open what we may and Glance may not.
//
// The limit counts sizes, not blocks: a file of holes takes of it what it would need when written.
#include "fs/fuse/scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "fs/base/log.h"

namespace glintfs {
namespace {

constexpr size_t kNameMax = 255;
constexpr size_t kXattrMax = 4'096;         // bytes of one value that is set
constexpr size_t kXattrBuffer = 64 << 10;   // what the kernel allows a value, or all names, to take
constexpr std::array<const char*, 4> kNames = {"root", "queue", "invalid", "incomplete"};
constexpr NodeId kQueueNode = kScratchBit | 1, kInvalidNode = kScratchBit | 2, kIncompleteNode = kScratchBit | 3;
constexpr NodeId kPhantomNode = kScratchBit | 4;  // all of incomplete/
constexpr NodeId kFirstFile = kScratchBit | 16;

// Rises by one each 128 ms, and by one with each file: two daemons give out the same one only if the first made more than 67
// million files in the time from its start to the start of the second, divided by 128 ms.
NodeId FirstNodeAt(Nanos now) {
  const auto ticks = static_cast<uint64_t>(now.count() / 128'000'000);
  return std::max(kFirstFile, kScratchBit | ((ticks << 26) & (kScratchBit - 1)));
}

Nanos ToNanos(const timespec& time) { return Nanos(int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec); }

timespec ToTimespec(std::optional<Nanos> time) {
  if (!time) return {.tv_sec = 0, .tv_nsec = UTIME_OMIT};
  return {.tv_sec = static_cast<time_t>(time->count() / 1'000'000'000), .tv_nsec = static_cast<long>(time->count() % 1'000'000'000)};
}

bool IsUserXattr(std::string_view name) { return name.starts_with("user.") && name.size() > 5; }

}  // namespace

bool IsImageId(std::string_view name) {
  if (name.size() != 36) return false;
  for (size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    if (dash ? c != '-' : !hex) return false;
  }
  return true;
}

Scratch::Scratch(Limits limits, Clock& clock) : limits_(limits), clock_(clock), next_node_(FirstNodeAt(clock.WallNow())) {}

// ---- Beginning

Result<std::unique_ptr<Scratch>> Scratch::Open(const std::string& directory, Limits limits, Clock& clock) {
  std::unique_ptr<Scratch> scratch(new Scratch(limits, clock));
  GLINTFS_TRY(scratch->OpenDirectory(directory));
  GLINTFS_TRY(scratch->CountFiles());
  return scratch;
}

Result<void> Scratch::OpenDirectory(const std::string& directory) {
  const auto failed = [&](const std::string& path) {
    return ErrnoError(errno, "scratch directory " + path + ": remove what lies there, or make it writable");
  };
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) return failed(directory);
  const UniqueFd top(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!top.valid()) return failed(directory);
  for (size_t i = 0; i < directories_.size(); ++i) {
    if (::mkdirat(top.get(), kNames[i], 0700) != 0 && errno != EEXIST) return failed(directory + "/" + kNames[i]);
    directories_[i].Reset(::openat(top.get(), kNames[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct stat st{};
    if (!directories_[i].valid() || ::fstat(directories_[i].get(), &st) != 0) return failed(directory + "/" + kNames[i]);
    if (i == 0) device_ = st.st_dev;
    if (st.st_dev != device_) return Error{Errc::kInvalid, "scratch directory " + directory + ": must be on one file system"};
  }
  return {};
}

Result<void> Scratch::CountFiles() {
  for (const Directory directory : {kRoot, kQueue, kInvalid}) {
    std::vector<ListEntry> entries;
    const NodeId node = directory == kRoot ? kRootNode : directory == kQueue ? kQueueNode : kInvalidNode;
    if (const int err = List(node, entries); err != 0) return ErrnoError(err, std::string("scratch directory ") + kNames[directory]);
    for (const ListEntry& entry : entries) {
      struct stat st{};
      if (::fstatat(directories_[directory].get(), entry.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
      MutexLock lock(mu_);
      bytes_ += static_cast<uint64_t>(st.st_size);
      files_[st.st_ino].size = static_cast<uint64_t>(st.st_size);
    }
  }
  return {};
}

// ---- Names

std::optional<Scratch::Directory> Scratch::DirectoryOf(NodeId node) {
  switch (node) {
    case kRootNode: return kRoot;
    case kQueueNode: return kQueue;
    case kInvalidNode: return kInvalid;
    case kIncompleteNode: return kIncomplete;
    default: return std::nullopt;
  }
}

bool Scratch::IsDirectory(NodeId node) { return DirectoryOf(node).has_value(); }

int Scratch::CheckName(Directory directory, std::string_view name) {
  if (name.empty() || name == "." || name == ".." || name.find('/') != name.npos || name.find('\0') != name.npos) return EINVAL;
  if (name.size() > kNameMax) return ENAMETOOLONG;
  if (directory == kIncomplete) return EPERM;
  const bool reserved = IsImageId(name) || std::find(kNames.begin() + 1, kNames.end(), name) != kNames.end();
  return directory == kRoot && reserved ? EPERM : 0;
}

int Scratch::NumberOf(Directory directory, const std::string& name, uint64_t& number, bool* other) {
  AssertNoLockHeld();
  struct stat st{};
  if (::fstatat(directories_[directory].get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return errno;
  if (!S_ISREG(st.st_mode) || st.st_dev != device_ || st.st_nlink != 1) {
    if (other != nullptr) *other = true;
    return ENOENT;
  }
  number = st.st_ino;
  return 0;
}

int Scratch::Lookup(NodeId parent, std::string_view name, ScratchStat& stat) {
  const auto directory = DirectoryOf(parent);
  if (!directory) return ENOTDIR;
  if (*directory == kIncomplete) {
    return IsImageId(name) ? Stat(kPhantomNode, stat) : name.size() > kNameMax ? ENAMETOOLONG : ENOENT;
  }
  if (*directory == kRoot) {
    if (name == "queue") return Stat(kQueueNode, stat);
    if (name == "invalid") return Stat(kInvalidNode, stat);
    if (name == "incomplete") return Stat(kIncompleteNode, stat);
  }
  if (const int err = CheckName(*directory, name); err != 0) return err == EPERM ? ENOENT : err;
  return Look(*directory, std::string(name), O_RDWR, stat);
}

// The file of this name, opened or made as `flags` say, with one more lookup.
int Scratch::Look(Directory directory, const std::string& name, int flags, ScratchStat& stat) {
  uint64_t number = 0;
  bool other = false;
  const int there = NumberOf(directory, name, number, &other);
  if (other) return (flags & O_CREAT) != 0 ? EPERM : ENOENT;
  if (there != 0 && (there != ENOENT || (flags & O_CREAT) == 0)) return there;
  auto file = std::make_shared<File>();
  // O_NONBLOCK: should it have become a FIFO just now.
  file->fd.Reset(::openat(directories_[directory].get(), name.c_str(), flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600));
  if (!file->fd.valid()) return errno == ELOOP ? ENOENT : errno;
  struct stat st{};
  if (::fstat(file->fd.get(), &st) != 0) return errno;
  if (!S_ISREG(st.st_mode) || st.st_dev != device_) return ENOENT;
  stat = {.node = 0, .is_directory = false, .number = st.st_ino, .name = {}, .size = static_cast<uint64_t>(st.st_size),
          .modified = ToNanos(st.st_mtim), .accessed = ToNanos(st.st_atim)};
  MutexLock lock(mu_);
  Known& known = files_[st.st_ino];
  if (known.node == 0) {
    bytes_ += stat.size - known.size;  // somebody may have changed it from outside
    known.size = stat.size;
    known.unlinked = false;
    known.node = next_node_++;
    known.file.swap(file);  // ours: null before
    numbers_[known.node] = st.st_ino;
  }
  ++known.lookups;
  stat.node = known.node;
  return 0;
}

void Scratch::Forget(NodeId node, uint64_t count) {
  std::shared_ptr<File> dropped;  // closed after the lock
  MutexLock lock(mu_);
  const auto number = numbers_.find(node);
  if (number == numbers_.end()) return;
  const auto it = files_.find(number->second);
  Known& known = it->second;
  known.lookups -= std::min(count, known.lookups);
  if (known.lookups != 0) return;
  dropped = std::move(known.file);
  known.node = 0;
  numbers_.erase(number);
  if (!known.unlinked) return;
  bytes_ -= known.size;
  files_.erase(it);
}

std::shared_ptr<Scratch::File> Scratch::Find(NodeId node) {
  AssertNoLockHeld();  // whoever asks is about to do I/O
  MutexLock lock(mu_);
  const auto number = numbers_.find(node);
  return number == numbers_.end() ? nullptr : files_[number->second].file;
}

int Scratch::Stat(NodeId node, ScratchStat& stat) {
  stat = {};
  stat.node = node;
  struct stat st{};
  if (const auto directory = DirectoryOf(node)) {
    stat.is_directory = true;
    stat.name = kNames[*directory];
    if (::fstat(directories_[*directory == kIncomplete ? kRoot : *directory].get(), &st) != 0) return errno;
  } else if (node == kPhantomNode) {
    stat.modified = stat.accessed = clock_.WallNow();
    return 0;
  } else {
    const auto file = Find(node);
    if (!file) return ESTALE;
    if (::fstat(file->fd.get(), &st) != 0) return errno;
    stat.number = st.st_ino;
    stat.size = static_cast<uint64_t>(st.st_size);
  }
  stat.modified = ToNanos(st.st_mtim);
  stat.accessed = ToNanos(st.st_atim);
  return 0;
}

int Scratch::List(NodeId node, std::vector<ListEntry>& entries) {
  const auto directory = DirectoryOf(node);
  if (!directory) return ENOTDIR;
  if (*directory == kIncomplete) return 0;
  UniqueFd fd(::openat(directories_[*directory].get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return errno;
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd.get()), ::closedir);
  if (!stream) return errno;
  (void)fd.Release();
  errno = 0;
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string name = entry->d_name;
    uint64_t number = 0;
    if (CheckName(*directory, name) == 0 && NumberOf(*directory, name, number) == 0)
      entries.push_back(ListEntry{.name = name, .is_directory = false});
    errno = 0;
  }
  return errno;
}

// ---- Making and removing

int Scratch::Create(NodeId parent, std::string_view name, int flags, ScratchStat& stat) {
  const auto directory = DirectoryOf(parent);
  if (!directory) return ENOTDIR;
  if (const int err = CheckName(*directory, name); err != 0) return err;
  if (use().files >= limits_.files) {
    ReportFull("files");
    return ENOSPC;
  }
  return Look(*directory, std::string(name), O_RDWR | O_CREAT | (flags & O_EXCL), stat);
}

int Scratch::MakeDirectory(NodeId parent, std::string_view name) {
  const bool there = parent == kRootNode && std::find(kNames.begin() + 1, kNames.end(), name) != kNames.end();
  return there ? EEXIST : EPERM;
}

int Scratch::Unlink(NodeId parent, std::string_view name) {
  const auto directory = DirectoryOf(parent);
  if (!directory) return ENOTDIR;
  if (const int err = CheckName(*directory, name); err != 0) return err;
  const std::string file(name);
  uint64_t number = 0;
  if (const int err = NumberOf(*directory, file, number); err != 0) return err;
  if (::unlinkat(directories_[*directory].get(), file.c_str(), 0) != 0) return errno;
  NoteUnlinked(number);
  return 0;
}

int Scratch::Rename(NodeId from, std::string_view name, NodeId to, std::string_view new_name, unsigned flags) {
  const auto source = DirectoryOf(from), target = DirectoryOf(to);
  if (!source || !target) return ENOTDIR;
  if ((flags & ~unsigned{RENAME_NOREPLACE}) != 0) return EINVAL;
  for (const int err : {CheckName(*source, name), CheckName(*target, new_name)})
    if (err != 0) return err;
  const std::string old_file(name), new_file(new_name);
  uint64_t number = 0, replaced = 0;
  if (const int err = NumberOf(*source, old_file, number); err != 0) return err;
  bool other = false;
  const int there = NumberOf(*target, new_file, replaced, &other);
  if (other) return EPERM;
  if (::renameat2(directories_[*source].get(), old_file.c_str(), directories_[*target].get(), new_file.c_str(), flags) != 0)
    return errno;
  if (there == 0 && replaced != number) NoteUnlinked(replaced);
  return 0;
}

void Scratch::NoteUnlinked(uint64_t number) {
  MutexLock lock(mu_);
  const auto it = files_.find(number);
  if (it == files_.end()) return;
  it->second.unlinked = true;
  if (it->second.lookups != 0) return;
  bytes_ -= it->second.size;
  files_.erase(it);
}

// ---- Content

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

Scratch::Use Scratch::use() {
  MutexLock lock(mu_);
  return {.bytes = bytes_, .files = files_.size()};
}

}  // namespace glintfs
