#include "backends/http/credentials.h"

#include <fmt/format.h>

#include <cstdlib>

#include "backends/secret_file.h"

namespace glintfs {
namespace {

Result<HttpCredentials> FromUser(const std::string& text, std::string_view where) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos || colon == 0)
    return Error{Errc::kInvalid, fmt::format("{}: write it as user:password", where)};
  return HttpCredentials{
      .user = text.substr(0, colon), .password = text.substr(colon + 1), .token = {}, .signature = {}, .headers = {}};
}

HttpCredentials Bearer(std::string token) {
  HttpCredentials credentials;
  credentials.token = std::move(token);
  return credentials;
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
    GLINTFS_ASSIGN(const std::string line, ReadSecretLine(user_file, "user_file"));
    return FromUser(line, "user_file=" + user_file);
  }
  if (!token_file.empty()) {
    GLINTFS_ASSIGN(std::string line, ReadSecretLine(token_file, "token_file"));
    return Bearer(std::move(line));
  }
  if (const std::string user = Environment(kHttpUserVariable); !user.empty()) return FromUser(user, kHttpUserVariable);
  return Bearer(Environment(kHttpTokenVariable));
}

}  // namespace glintfs
