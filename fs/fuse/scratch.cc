// A file is found by its number in the file system below (st_ino), which stays when it is renamed, and is not given out again as long
// as our descriptor of it is open. So names are nowhere kept in memory, and a file that was unlinked and is still open goes on.
//
// What a name leads to is opened only after it was seen to be a regular file, without following links: who can write into the
// directory below (the daemon's user alone) could otherwise make us open what we may and Glance may not.
#include "fs/fuse/scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "fs/base/log.h"

namespace glintfs {
namespace {

constexpr size_t kNameMax = 255;
constexpr std::array<const char*, 4> kNames = {"root", "queue", "invalid", "incomplete"};

constexpr NodeId kFirstFile = kScratchBit | 16;

// Rises by one each 128 ms, and by one with each file: two daemons give out the same one only if the first made more than 67
// million files in the time from its start to the start of the second, divided by 128 ms.
NodeId FirstNodeAt(Nanos now) {
  const auto ticks = static_cast<uint64_t>(now.count() / 128'000'000);
  return std::max(kFirstFile, kScratchBit | ((ticks << 26) & (kScratchBit - 1)));
}

// The name is one that Glance cannot make, so nothing of Glance's is in the way; what a daemon that died left is removed.
Result<dev_t> DeviceOfNewFile(int directory, const std::string& path) {
  constexpr char kName[] = "11111111-1111-1111-1111-111111111111";
  ::unlinkat(directory, kName, 0);
  const UniqueFd fd(::openat(directory, kName, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  struct stat st{};
  const bool looked = fd.valid() && ::fstatat(directory, kName, &st, AT_SYMLINK_NOFOLLOW) == 0;
  const int err = errno;
  if (fd.valid()) ::unlinkat(directory, kName, 0);
  if (!looked) return ErrnoError(err, "scratch directory " + path + ": cannot make a file in it");
  return st.st_dev;
}

Nanos ToNanos(const timespec& time) { return Nanos(int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec); }

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
  GLINTFS_ASSIGN(const dev_t device, DeviceOfNewFile(directories_[kRoot].get(), directory));
  if (device == device_) return {};
  return Error{Errc::kInvalid, "scratch directory " + directory +
                                   ": files have another device number than their directory (an overlayfs over several file systems, as "
                                   "in a container): choose a cache directory on a volume of its own with -o cache="};
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

Scratch::Use Scratch::use() {
  MutexLock lock(mu_);
  return {.bytes = bytes_, .files = files_.size()};
}

}  // namespace glintfs
