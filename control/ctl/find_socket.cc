#include "control/ctl/find_socket.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "fs/base/unique_fd.h"

namespace glintfs::ctl {
namespace {

enum class Liveness { kDead, kLive, kDenied };

Liveness Probe(const std::string& path, pid_t* listener = nullptr) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return Liveness::kDead;
  std::memcpy(address.sun_path, path.data(), path.size());
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    ucred peer{};
    socklen_t size = sizeof peer;
    if (listener != nullptr && ::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0) *listener = peer.pid;
    return Liveness::kLive;
  }
  if (errno == EAGAIN) return Liveness::kLive;  // its backlog is full
  return errno == EACCES || errno == EPERM ? Liveness::kDenied : Liveness::kDead;
}

std::vector<std::string> SocketsIn(const std::string& directory) {
  std::vector<std::string> paths;
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".sock") paths.push_back(it->path().string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace

std::vector<std::string> SocketDirectories() {
  std::vector<std::string> directories;
  const char* const runtime = std::getenv("GLINTFS_RUNTIME_DIR");
  directories.emplace_back(runtime != nullptr && *runtime != '\0' ? runtime : "/run/glintfs");
  if (const char* const user = std::getenv("XDG_RUNTIME_DIR"); user != nullptr && *user != '\0') {
    directories.push_back(std::string(user) + "/glintfs");
  } else if (::getuid() != 0) {
    directories.push_back(fmt::format("/run/user/{}/glintfs", ::getuid()));
  }
  // Where a daemon has its socket that was started without XDG_RUNTIME_DIR, see FillDefaults in fs/options_parse.cc.
  const char* const caches = std::getenv("XDG_CACHE_HOME");
  const char* const home = std::getenv("HOME");
  if (::getuid() != 0 && caches != nullptr && *caches != '\0') {
    directories.push_back(std::string(caches) + "/glintfs/control");
  } else if (::getuid() != 0 && home != nullptr && *home != '\0') {
    directories.push_back(std::string(home) + "/.cache/glintfs/control");
  }
  return directories;
}

std::vector<std::string> LiveSockets(const std::vector<std::string>& directories) {
  std::vector<std::string> found;
  for (const std::string& directory : directories) {
    for (const std::string& path : SocketsIn(directory))
      if (Probe(path) != Liveness::kDead) found.push_back(path);
  }
  return found;
}

std::string DescribeListener(const std::string& socket) {
  pid_t pid = 0;
  Probe(socket, &pid);
  std::ifstream stat(fmt::format("/proc/{}/stat", pid));
  std::string line;
  if (pid <= 0 || !std::getline(stat, line)) return "Is it stopped or overloaded? systemctl status, journalctl -t glintfs";
  const size_t state = line.rfind(") ");  // the name before may have anything in it
  if (state != line.npos && line.substr(state + 2, 1) == "T") return fmt::format("Process {} is stopped; to let it go on: kill -CONT {}", pid, pid);
  return fmt::format("Is process {} overloaded? top -p {}; systemctl status {}", pid, pid, pid);
}

Result<std::string> FindSocket(const std::vector<std::string>& directories) {
  std::vector<std::string> found, denied;
  for (std::string& path : LiveSockets(directories)) {
    const bool usable = Probe(path) != Liveness::kDenied;
    (usable ? found : denied).push_back(std::move(path));
  }
  if (found.empty() && denied.empty()) {
    return Error{Errc::kUnavailable,
                 fmt::format("no daemon is running: no live socket *.sock in {}. Start one with glintfs SOURCE MOUNTPOINT, or "
                             "name its socket with -s SOCKET",
                             fmt::join(directories, " or "))};
  }
  if (found.size() > 1) {
    return Error{Errc::kInvalid,
                 fmt::format("several daemons are running, choose one with -s:\n  {}", fmt::join(found, "\n  "))};
  }
  if (found.empty()) {
    return Error{Errc::kAccessDenied,
                 fmt::format("permission denied on {}. Be root (sudo), or in the group of the socket", fmt::join(denied, " and "))};
  }
  return found[0];
}

}  // namespace glintfs::ctl
