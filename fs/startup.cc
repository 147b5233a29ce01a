#include "fs/startup.h"

#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "backends/detached.h"
#include "fs/base/mount_table.h"
#include "fs/base/mutex.h"
#include "fs/base/thread.h"
#include "fs/fuse/mount_checks.h"

extern char** environ;

namespace glintfs {
namespace {

namespace stdfs = std::filesystem;

// "/a/b" and "/a/b/c", not "/a/bc".
bool IsWithin(const std::string& inner, const std::string& outer) {
  return inner == outer || inner.starts_with(outer.ends_with('/') ? outer : outer + "/");
}

std::string Canonical(const std::string& path) {
  std::error_code error;
  const stdfs::path canonical = stdfs::weakly_canonical(path, error);
  return error ? path : canonical.string();
}

Error Refuse(std::string message) { return Error{Errc::kInvalid, std::move(message)}; }

Result<void> CheckNotInside(const Options& options) {
  const std::string mountpoint = Canonical(options.mountpoint), cache = Canonical(options.cache.directory);
  if (IsWithin(cache, mountpoint))
    return Refuse(fmt::format("cache directory {} is inside the mount point {}: choose another with -o cache=",
                              options.cache.directory, options.mountpoint));
  if (IsWithin(mountpoint, cache))
    return Refuse(fmt::format("mount point {} is inside the cache directory {}: choose another", options.mountpoint,
                              options.cache.directory));
  constexpr std::string_view kDir = "dir://";
  if (!options.source.starts_with(kDir)) return {};
  // A server that hangs must not hold up the start: links on a network mount are not looked through.
  const std::string given = options.source.substr(kDir.size());
  const std::string source = IsOnRemoteFileSystem(given) ? stdfs::path(given).lexically_normal().string() : Canonical(given);
  if (IsWithin(source, mountpoint))
    return Refuse(fmt::format("source {} is inside the mount point {}", options.source, options.mountpoint));
  if (IsWithin(mountpoint, source))
    return Refuse(fmt::format("mount point {} is inside the source {}: it would show itself", options.mountpoint,
                              options.source));
  if (IsWithin(cache, source))
    return Refuse(fmt::format("cache directory {} is inside the source {}: choose another with -o cache=",
                              options.cache.directory, options.source));
  return {};
}

}  // namespace

void DetachMount(const std::string& path) {
  if (::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return;
  std::string program = "fusermount3", u = "-u", z = "-z", q = "-q", separator = "--", target = path;
  char* argv[] = {program.data(), u.data(), z.data(), q.data(), separator.data(), target.data(), nullptr};
  pid_t child = 0;
  if (::posix_spawnp(&child, "fusermount3", nullptr, nullptr, argv, environ) == 0) ::waitpid(child, nullptr, 0);
}

Result<void> CheckPlaces(const Options& options) {
  const std::string& mountpoint = options.mountpoint;
  std::string last;  // what could not be taken away is left to CheckMountpoint to tell
  for (auto top = TopMountAt(mountpoint); top && top->type.starts_with(kMountType) && top->id != last; top = TopMountAt(mountpoint)) {
    last = top->id;
    // Asks the daemon; stat would be answered from the kernel's memory even when it is dead.
    struct statfs info;
    if (::statfs(mountpoint.c_str(), &info) == 0 || errno != ENOTCONN)
      return Refuse(fmt::format("mount point {} already has a glintfs mounted: umount it first", mountpoint));
    LogWarn("mount point {}: taking away the mount of a daemon that died", mountpoint);
    DetachMount(mountpoint);
  }
  GLINTFS_TRY(CheckMountpoint(mountpoint, options.nonempty));
  return CheckNotInside(options);
}

MadeDirectories::~MadeDirectories() {
  for (auto path = paths_.rbegin(); path != paths_.rend(); ++path) ::rmdir(path->c_str());
}

Result<void> MadeDirectories::Make(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) == 0) {
    paths_.push_back(path);
    return {};
  }
  if (errno == EEXIST) return {};
  return Refuse(fmt::format("cannot make {}: {}", path, std::error_code(errno, std::generic_category()).message()));
}

Result<MadeDirectories> PrepareCacheDirectory(const Options& options) {
  stdfs::path directory(options.cache.directory);
  if (!directory.has_filename()) directory = directory.parent_path();  // "/a/b/"
  MadeDirectories made;
  stdfs::path path;
  for (const stdfs::path& component : directory) {
    path /= component;
    if (auto result = made.Make(path, path == directory ? 0700 : 0755); !result)
      return Refuse(fmt::format("cache directory {}: {}", directory.string(), result.error().message));
  }
  std::error_code error;
  if (!stdfs::is_directory(directory, error))
    return Refuse(fmt::format("cache directory {} is not a directory", directory.string()));
  if (::access(directory.c_str(), R_OK | W_OK | X_OK) != 0)
    return Refuse(fmt::format("cache directory {} is not writable: {}", directory.string(),
                              std::error_code(errno, std::generic_category()).message()));
  return made;
}

Result<std::string> AskSource(Backend& backend, Nanos limit) {
  std::stop_source enough;
  Mutex mu;
  CondVar answered;
  bool done = false;  // guarded by mu
  Thread timer("glintfs-ask", [&](std::stop_token) {
    const auto end = std::chrono::steady_clock::now() + limit;
    {
      MutexLock lock(mu);
      while (!done && std::chrono::steady_clock::now() < end) answered.WaitFor(mu, std::chrono::milliseconds(100));
    }
    enough.request_stop();  // too late to matter when the answer is there
  });
  const auto answer = backend.Stat("", enough.get_token());
  {
    MutexLock lock(mu);
    done = true;
    answered.NotifyAll();
  }
  timer.Join();
  if (answer) {
    if (!answer->is_directory) return Refuse(fmt::format("source {} is not a directory", backend.source()));
    return std::string();
  }
  const Error& error = answer.error();
  switch (error.code) {
    case Errc::kUnavailable:
    case Errc::kTimedOut:
    case Errc::kBusy:
    case Errc::kIo: return error.message.empty() ? error.ToString() : error.message;
    case Errc::kCancelled:
      return fmt::format("no answer within {}s", std::chrono::duration_cast<std::chrono::seconds>(limit).count());
    case Errc::kNotSupported: return std::string();  // a source without a root to ask for still resolves names
    case Errc::kNotFound:
      return Error{error.code, fmt::format("source {} answers: no such thing ({})", backend.source(), error.message)};
    case Errc::kAccessDenied:
      return Error{error.code, fmt::format("source {} answers: access denied ({})", backend.source(), error.message)};
    case Errc::kStale:
    case Errc::kInvalid:
    case Errc::kNoSpace:
    case Errc::kCorrupt:
    case Errc::kIsDirectory:
    case Errc::kNotDirectory: break;
  }
  return Refuse(fmt::format("source {}: {}", backend.source(), error.ToString()));
}

}  // namespace glintfs
