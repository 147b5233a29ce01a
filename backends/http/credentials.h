// Credentials for an HTTP source, from files or the environment, never from a command line or a URL.
#pragma once

#include <string>
#include <vector>

#include "fs/base/result.h"

namespace glintfs {

// Used when no file is named in the settings.
inline constexpr char kHttpUserVariable[] = "GLINTFS_HTTP_USER";    // "user:password"
inline constexpr char kHttpTokenVariable[] = "GLINTFS_HTTP_TOKEN";  // a bearer token

// At most one kind is set: user and password (basic authentication, or the two keys of a signature), token, or headers. Must not be
// printed.
struct HttpCredentials {
  std::string user;
  std::string password;
  std::string token;      // sent as a bearer token
  std::string signature;  // libcurl's CURLOPT_AWS_SIGV4, "aws:amz:REGION:s3": user and password sign, and are not sent
  std::vector<std::string> headers;  // "X-Auth-Token: …"

  bool empty() const { return user.empty() && token.empty() && headers.empty(); }
};

// Reads `user_file` ("user:password" in the first line) or `token_file`; when both are empty, the environment. kInvalid
// when both are given or a file cannot be used. A file that others may read is used, with a warning.
Result<HttpCredentials> LoadHttpCredentials(const std::string& user_file, const std::string& token_file);

}  // namespace glintfs
