// A reader opens the file anew for each fetch: no descriptor is held between fetches, so a network mount that comes
// back with new handles needs no care, and 100,000 images cost no descriptors.
//
// The kernel stamps times with the resolution of its tick: two writes within one look the same. So a file that changed
// within the last tick is not given a version until the tick has passed; from then on every write shows.
#include "backends/dir/dir_backend.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "backends/deadline.h"
#include "backends/dir/source_errno.h"
#include "fs/base/log.h"

namespace glintfs {
namespace {

constexpr size_t kPiece = 1 << 20;      // read, checked and passed on at once
constexpr size_t kMaxHoles = 1 << 16;   // a file with more is not worth asking about
constexpr Nanos kTick = std::chrono::milliseconds(10);  // HZ=100, the coarsest
constexpr int kMaxTicks = 5;            // a file that is written all the time gets a version all the same
constexpr int kUsefulParallel = 8;      // more requests at once only make a disk seek

Nanos ToNanos(const timespec& time) { return std::chrono::seconds(time.tv_sec) + Nanos(time.tv_nsec); }

// Anonymous devices (NFS, overlay, btrfs) get another number with each mount: it would change every version at a
// reboot.
std::string VersionOf(const struct stat& st) {
  const uint64_t device = major(st.st_dev) == 0 ? 0 : st.st_dev;
  return fmt::format("{:x}:{:x}:{}:{}:{}", device, st.st_ino, st.st_size, ToNanos(st.st_mtim).count(),
                     ToNanos(st.st_ctim).count());
}

// fstat, once the file has been left alone for a tick.
Result<struct stat> StatSettled(int fd, const std::string& path, const std::stop_token& stop) {
  struct stat st{};
  for (int tick = 0;; ++tick) {
    if (::fstat(fd, &st) != 0) return SourceErrno(errno, path);
    const Nanos age = Clock::System().WallNow() - std::max(ToNanos(st.st_mtim), ToNanos(st.st_ctim));
    if (!S_ISREG(st.st_mode) || age < Nanos(0) || age >= kTick || tick == kMaxTicks) return st;
    if (!SleepUnlessStopped(kTick - age, stop)) return Error{Errc::kCancelled, path + ": given up"};
  }
}

class DirReader final : public ImageReader {
 public:
  DirReader(std::shared_ptr<const DirRoot> root, const ImageInfo& image)
      : ImageReader(image.size), root_(std::move(root)), image_(image) {}

  Result<std::vector<Extent>> Holes(std::stop_token stop) override {
    GLINTFS_ASSIGN(UniqueFd fd, OpenChecked());
    std::vector<Extent> holes;
    for (off_t at = 0; static_cast<uint64_t>(at) < size();) {
      if (stop.stop_requested()) return Error{Errc::kCancelled, "holes: given up"};
      const off_t hole = ::lseek(fd.get(), at, SEEK_HOLE);
      if (hole < 0 || static_cast<uint64_t>(hole) >= size()) break;  // also: not supported here
      off_t data = ::lseek(fd.get(), hole, SEEK_DATA);
      if (data < 0 && errno != ENXIO) break;
      if (data < 0 || static_cast<uint64_t>(data) > size()) data = static_cast<off_t>(size());
      holes.push_back({static_cast<uint64_t>(hole), static_cast<uint64_t>(data - hole)});
      if (holes.size() > kMaxHoles) break;
      at = data;
    }
    GLINTFS_TRY(CheckVersion(fd.get()));
    return holes;
  }

 private:
  Result<void> DoFetch(Extent extent, DataSink& sink, std::stop_token stop) override {
    GLINTFS_ASSIGN(UniqueFd fd, OpenChecked());
    std::vector<std::byte> buffer(static_cast<size_t>(std::min<uint64_t>(kPiece, extent.length)));
    while (extent.length > 0) {
      if (stop.stop_requested()) return Error{Errc::kCancelled, "fetch: given up"};
      const size_t want = static_cast<size_t>(std::min<uint64_t>(buffer.size(), extent.length));
      const ssize_t n = ::pread(fd.get(), buffer.data(), want, static_cast<off_t>(extent.offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return SourceErrno(errno, Path());
      // Before the bytes are passed on, so that what was passed on is always right.
      GLINTFS_TRY(CheckVersion(fd.get()));
      if (n == 0) return Error{Errc::kStale, Path() + ": the file became shorter"};
      if (!sink.Write(std::span(buffer).first(static_cast<size_t>(n)))) return {};
      extent.offset += static_cast<uint64_t>(n);
      extent.length -= static_cast<uint64_t>(n);
    }
    return {};
  }

  Result<UniqueFd> OpenChecked() const {
    GLINTFS_ASSIGN(UniqueFd fd, root_->OpenForRead(image_.id.name, 0));
    GLINTFS_TRY(CheckVersion(fd.get()));
    return fd;
  }

  Result<void> CheckVersion(int fd) const {
    struct stat st{};
    if (::fstat(fd, &st) != 0) return SourceErrno(errno, Path());
    if (!S_ISREG(st.st_mode) || VersionOf(st) != image_.id.version)
      return Error{Errc::kStale, Path() + ": the file has changed"};
    return {};
  }

  std::string Path() const { return root_->path() + "/" + image_.id.name; }

  const std::shared_ptr<const DirRoot> root_;
  const ImageInfo image_;
};

// Links and file systems that do not tell the type need a second look; what is neither file nor directory is not shown.
std::optional<ListEntry> EntryFor(const DirRoot& root, const std::string& directory, const dirent& found) {
  ListEntry entry{.name = found.d_name, .is_directory = found.d_type == DT_DIR};
  if (entry.name == "." || entry.name == "..") return std::nullopt;
  if (found.d_type == DT_REG || found.d_type == DT_DIR) return entry;
  if (found.d_type != DT_LNK && found.d_type != DT_UNKNOWN) return std::nullopt;
  auto fd = root.Resolve(directory.empty() ? entry.name : directory + "/" + entry.name);
  struct stat st{};
  if (!fd || ::fstat(fd->get(), &st) != 0) return std::nullopt;
  if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) return std::nullopt;
  entry.is_directory = S_ISDIR(st.st_mode);
  return entry;
}

}  // namespace

DirBackend::DirBackend(std::string root, int max_parallel)
    : Backend("dir://" + root),
      root_(std::make_shared<DirRoot>(std::move(root))),
      max_parallel_(std::clamp(max_parallel, 1, kUsefulParallel)) {}

Result<NameInfo> DirBackend::DoStat(std::string_view name, std::stop_token stop) {
  GLINTFS_ASSIGN(UniqueFd fd, root_->Resolve(name));
  GLINTFS_ASSIGN(const struct stat st, StatSettled(fd.get(), fmt::format("{}/{}", root_->path(), name), stop));
  if (S_ISDIR(st.st_mode)) return NameInfo{.is_directory = true, .image = {}};
  if (!S_ISREG(st.st_mode))
    return Error{Errc::kNotFound, fmt::format("{}/{} is neither a file nor a directory", root_->path(), name)};
  return NameInfo{.is_directory = false,
                  .image = {.id = {source(), std::string(name), VersionOf(st)},
                            .size = static_cast<uint64_t>(st.st_size),
                            .mtime = ToNanos(st.st_mtim)}};
}

Result<Listing> DirBackend::DoList(std::string_view directory, std::string_view, std::stop_token stop) {
  GLINTFS_ASSIGN(UniqueFd fd, root_->OpenForRead(directory, O_DIRECTORY));
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(fd.get()), ::closedir);
  if (!dir) return SourceErrno(errno, fmt::format("{}/{}", root_->path(), directory));
  fd.Release();  // owned by `dir` now
  Listing listing;
  for (;;) {
    if (stop.stop_requested()) return Error{Errc::kCancelled, "list: given up"};
    errno = 0;
    const dirent* found = ::readdir(dir.get());
    if (found == nullptr && errno != 0) return SourceErrno(errno, fmt::format("{}/{}", root_->path(), directory));
    if (found == nullptr) return listing;
    if (auto entry = EntryFor(*root_, std::string(directory), *found)) listing.entries.push_back(std::move(*entry));
  }
}

Result<std::unique_ptr<ImageReader>> DirBackend::DoOpen(const ImageInfo& image, std::stop_token) {
  return std::unique_ptr<ImageReader>(std::make_unique<DirReader>(root_, image));
}

}  // namespace glintfs
