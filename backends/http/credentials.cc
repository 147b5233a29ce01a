#include "backends/http/credentials.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "fs/base/log.h"

namespace glintfs {
namespace {

constexpr size_t kMaxSecret = 64 << 10;

// The first line of a file that holds a secret.
Result<std::string> ReadSecret(const std::string& path, std::string_view setting) {
  struct stat st{};
  if (::stat(path.c_str(), &st) != 0)
    return Error{Errc::kInvalid, fmt::format("{}={}: {}", setting, path, std::strerror(errno))};
  if (!S_ISREG(st.st_mode)) return Error{Errc::kInvalid, fmt::format("{}={}: not a regular file", setting, path)};
  if ((st.st_mode & S_IROTH) != 0)
    LogWarn("{}={} can be read by every user of this machine: chmod 600 it", setting, path);
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
  if (line.empty() || line.size() > kMaxSecret || line.find('\0') != std::string::npos)
    return Error{Errc::kInvalid, fmt::format("{}={}: cannot be read or its first line is empty", setting, path)};
  return line;
}

Result<HttpCredentials> FromUser(const std::string& text, std::string_view where) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos || colon == 0)
    return Error{Errc::kInvalid, fmt::format("{}: write it as user:password", where)};
  return HttpCredentials{.user = text.substr(0, colon), .password = text.substr(colon + 1), .token = {}};
}

std::string Environment(const char* name) {
  const char* value = std::getenv(name);  // read at start, before there are threads that could change it
  return value == nullptr ? "" : value;
}

}  // namespace

Result<HttpCredentials> LoadHttpCredentials(const std::string& user_file, const std::string& token_file) {
  if (!user_file.empty() && !token_file.empty())
    return Error{Errc::kInvalid, "user_file= and token_file= exclude each other"};
  if (!user_file.empty()) {
    GLINTFS_ASSIGN(const std::string line, ReadSecret(user_file, "user_file"));
    return FromUser(line, "user_file=" + user_file);
  }
  if (!token_file.empty()) {
    GLINTFS_ASSIGN(std::string line, ReadSecret(token_file, "token_file"));
    return HttpCredentials{.user = {}, .password = {}, .token = std::move(line)};
  }
  if (const std::string user = Environment(kHttpUserVariable); !user.empty()) return FromUser(user, kHttpUserVariable);
  return HttpCredentials{.user = {}, .password = {}, .token = Environment(kHttpTokenVariable)};
}

}  // namespace glintfs
