#include "backends/s3/key_file.h"

#include <fmt/format.h>

#include "fs/base/log.h"

namespace glintfs {

HttpCredentials SigningCredentials(const S3Keys& keys, const std::string& region) {
  HttpCredentials credentials;
  credentials.user = keys.access_key;
  credentials.password = keys.secret_key;
  credentials.signature = fmt::format("aws:amz:{}:s3", region);
  // Without this header libcurl signs in a way that S3 and radosgw refuse.
  credentials.headers.emplace_back("x-amz-content-sha256: UNSIGNED-PAYLOAD");
  if (!keys.session_token.empty()) credentials.headers.push_back("x-amz-security-token: " + keys.session_token);
  return credentials;
}

KeyFile::KeyFile(S3KeySource source, S3Keys keys, std::string region)
    : source_(std::move(source)),
      region_(std::move(region)),
      keys_(std::move(keys)),
      current_(std::make_shared<const HttpCredentials>(SigningCredentials(keys_, region_))) {}

Result<Authorizer::Credentials> KeyFile::Current(std::stop_token) {
  MutexLock lock(mu_);
  return current_;
}

bool KeyFile::Renew(long, const Credentials& refused) {
  if (!source_.changes()) return false;
  {
    MutexLock lock(mu_);
    if (current_ != refused) return true;  // somebody else was quicker
  }
  auto found = source_.Read();
  if (!found) {
    LogWarn("the server refuses the keys for S3, and there are no others yet: {}", found.error().message);
    return false;
  }
  auto fresh = std::make_shared<const HttpCredentials>(SigningCredentials(found->keys, region_));
  {
    MutexLock lock(mu_);
    if (current_ != refused) return true;
    if (keys_ == found->keys) return false;
    keys_ = std::move(found->keys);
    current_ = std::move(fresh);
  }
  LogInfo("the server refused the keys for S3; going on with those that the file holds now");
  return true;
}

}  // namespace glintfs
