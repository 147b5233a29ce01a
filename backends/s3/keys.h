// Keys and settings of S3 where the AWS tools keep them: environment, shared credentials file, config file.
//
// Not built: credential_process, SSO, roles, instance metadata. A profile that asks for one of them and has no keys, or wants a role,
// is refused with a line that says so.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "backends/registry.h"
#include "fs/base/result.h"

namespace glintfs {

// Must not be printed.
struct S3Keys {
  std::string access_key;
  std::string secret_key;
  std::string session_token;  // empty: none

  bool empty() const { return access_key.empty(); }
  friend bool operator==(const S3Keys&, const S3Keys&) = default;
};

// The variables that matter, as they were at start.
struct S3Environment {
  S3Keys keys;               // AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
  std::string profile;       // AWS_PROFILE, AWS_DEFAULT_PROFILE
  std::string region;        // AWS_REGION, AWS_DEFAULT_REGION
  std::string endpoint;      // AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL
  std::string credentials_file;  // AWS_SHARED_CREDENTIALS_FILE, ~/.aws/credentials
  std::string config_file;       // AWS_CONFIG_FILE, ~/.aws/config

  // REQUIRES: no other thread changes the environment
  static S3Environment OfProcess();
};

// Sections of a file as the AWS tools have it: section → name (lower case) → value. Lines that make no sense, and settings
// nested under others, are left out.
using AwsSections = std::map<std::string, std::map<std::string, std::string>>;
AwsSections ParseAwsFile(std::string_view text);

// Where a mount's keys are. Immutable; reading it again tells whether they have changed.
class S3KeySource {
 public:
  S3KeySource(const S3Options& options, S3Environment environment);

  // Whether Read can ever give other keys than before.
  bool changes() const { return !from_environment_; }

  struct Found {
    S3Keys keys;
    std::string region;    // of the profile; empty: none there
    std::string endpoint;
  };
  // Reads the files, if that is where the keys are. kInvalid, with a line that says what to set, when there are none; not so with
  // `anonymous`, which asks for region and endpoint only.
  Result<Found> Read(bool anonymous = false) const;

 private:
  Result<std::map<std::string, std::string>> ReadProfile(bool with_keys) const;

  const S3Environment environment_;
  const std::string credentials_file_;
  const bool named_file_;      // by a setting: it must be there
  const std::string profile_;
  const bool named_profile_;   // by a setting
  const bool from_environment_;
};

}  // namespace glintfs
