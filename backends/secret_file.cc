#include "backends/secret_file.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>

#include "fs/base/log.h"
#include "fs/base/mutex.h"

namespace glintfs {
namespace {

constexpr off_t kMaxSecretFile = 1 << 20;

Error Unusable(const std::string& path, std::string_view setting, std::string_view why) {
  return Error{Errc::kInvalid, fmt::format("{}={}: {}", setting, path, why)};
}

// False when it was warned about before.
bool FirstWarning(const std::string& path) {
  static Mutex mu;
  static std::set<std::string> warned;  // guarded by mu
  MutexLock lock(mu);
  return warned.insert(path).second;
}

}  // namespace

void WarnIfReadableByAll(const std::string& path, std::string_view setting) {
  struct stat st {};
  if (::stat(path.c_str(), &st) == 0 && (st.st_mode & S_IROTH) != 0 && FirstWarning(path))
    LogWarn("{}={} can be read by every user of this machine: chmod 600 it", setting, path);
}

Result<std::string> ReadSecretFile(const std::string& path, std::string_view setting) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return Unusable(path, setting, std::strerror(errno));
  if (!S_ISREG(st.st_mode)) return Unusable(path, setting, "not a regular file");
  if (st.st_size > kMaxSecretFile) return Unusable(path, setting, "too large to be a file of credentials");
  WarnIfReadableByAll(path, setting);
  std::ifstream in(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (!in.is_open() || in.bad()) return Unusable(path, setting, "cannot be read");
  return text;
}

Result<std::string> ReadSecretLine(const std::string& path, std::string_view setting) {
  GLINTFS_ASSIGN(std::string line, ReadSecretFile(path, setting));
  line.resize(std::min(line.find('\n'), line.size()));
  while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
  if (line.empty() || line.find('\0') != std::string::npos)
    return Unusable(path, setting, "cannot be read or its first line is empty");
  return line;
}

}  // namespace glintfs
