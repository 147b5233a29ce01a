// Order, as with the AWS tools: a profile named in the settings; the environment; the profile of $AWS_PROFILE, else "default". A
// credentials file named in the settings goes before the environment too: whoever names it means it.
#include "backends/s3/keys.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "backends/secret_file.h"
#include "fs/base/home.h"

namespace glintfs {
namespace {

constexpr size_t kMaxFile = 1 << 20;
using Profile = std::map<std::string, std::string>;

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

std::string Variable(std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0') return value;
  return "";
}

std::string Get(const Profile& profile, const char* name) {
  const auto it = profile.find(name);
  return it == profile.end() ? "" : it->second;
}

bool Exists(const std::string& path) { return !path.empty() && ::access(path.c_str(), F_OK) == 0; }

// The config file holds no secrets as a rule, and then anybody may read it.
std::string ReadConfig(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text(kMaxFile, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(std::max<std::streamsize>(in.gcount(), 0)));
  return text;
}

// What else a profile may ask for to get keys.
std::string OtherWay(const Profile& profile) {
  for (const char* way :
       {"role_arn", "credential_process", "sso_session", "sso_start_url", "web_identity_token_file", "credential_source"})
    if (profile.contains(way)) return way;
  return "";
}

Result<S3Keys> Checked(S3Keys keys, std::string_view where) {
  if (keys.access_key.empty() != keys.secret_key.empty())
    return Error{Errc::kInvalid, fmt::format("{}: access key and secret key belong together, one of them is missing", where)};
  for (const std::string* text : {&keys.access_key, &keys.secret_key, &keys.session_token}) {
    if (std::any_of(text->begin(), text->end(), [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f; }))
      return Error{Errc::kInvalid, fmt::format("{}: a key holds a blank or a control character", where)};
  }
  return keys;
}

}  // namespace

S3Environment S3Environment::OfProcess() {
  const std::string home = HomeDirectory();
  S3Environment env{
      .keys = {Variable({"AWS_ACCESS_KEY_ID"}), Variable({"AWS_SECRET_ACCESS_KEY"}), Variable({"AWS_SESSION_TOKEN"})},
      .profile = Variable({"AWS_PROFILE", "AWS_DEFAULT_PROFILE"}),
      .region = Variable({"AWS_REGION", "AWS_DEFAULT_REGION"}),
      .endpoint = Variable({"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"}),
      .credentials_file = Variable({"AWS_SHARED_CREDENTIALS_FILE"}),
      .config_file = Variable({"AWS_CONFIG_FILE"})};
  if (env.credentials_file.empty() && !home.empty()) env.credentials_file = home + "/.aws/credentials";
  if (env.config_file.empty() && !home.empty()) env.config_file = home + "/.aws/config";
  return env;
}

AwsSections ParseAwsFile(std::string_view text) {
  AwsSections sections;
  Profile* section = nullptr;
  size_t margin = std::string::npos;  // of the section's settings; what stands further right is nested
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    const std::string_view raw = text.substr(start, end - start);
    start = end + 1;
    const std::string_view line = Trim(raw);
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    if (line.front() == '[') {
      const size_t close = line.find(']');
      section = close == std::string_view::npos ? nullptr : &sections[std::string(Trim(line.substr(1, close - 1)))];
      margin = std::string::npos;
      continue;
    }
    const size_t equals = line.find('='), indent = raw.find_first_not_of(" \t");
    if (section == nullptr || equals == std::string_view::npos || indent > margin) continue;
    margin = indent;
    std::string name(Trim(line.substr(0, equals)));
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    (*section)[name] = std::string(Trim(line.substr(equals + 1)));
  }
  return sections;
}

S3KeySource::S3KeySource(const S3Options& options, S3Environment environment)
    : environment_(std::move(environment)),
      credentials_file_(options.credentials_file.empty() ? environment_.credentials_file : options.credentials_file),
      named_file_(!options.credentials_file.empty()),
      profile_(!options.profile.empty()        ? options.profile
               : !environment_.profile.empty() ? environment_.profile
                                               : "default"),
      named_profile_(!options.profile.empty()),
      from_environment_(!named_file_ && !named_profile_ && !environment_.keys.empty()) {}

// The settings of the profile in both files, those of the credentials file first. A file that is not needed may be unreadable.
Result<Profile> S3KeySource::ReadProfile(bool with_keys) const {
  Profile merged;
  bool found = false;
  if (named_file_ || (with_keys && Exists(credentials_file_))) {
    GLINTFS_ASSIGN(const std::string text, ReadSecretFile(credentials_file_, "credentials_file"));
    AwsSections sections = ParseAwsFile(text);
    found = sections.contains(profile_);
    if (found) merged = std::move(sections[profile_]);
  }
  if (Exists(environment_.config_file)) {
    AwsSections sections = ParseAwsFile(ReadConfig(environment_.config_file));
    for (const std::string& name : {"profile " + profile_, fmt::format("profile \"{}\"", profile_), profile_}) {
      if (!sections.contains(name) || (name == profile_ && profile_ != "default")) continue;
      found = true;
      if (sections[name].contains("aws_secret_access_key"))
        WarnIfReadableByAll(environment_.config_file, "AWS_CONFIG_FILE");
      merged.merge(sections[name]);  // keeps what is there
    }
  }
  if (!found && named_profile_) {
    return Error{Errc::kInvalid, fmt::format("profile={}: no such section in {} and {}", profile_, credentials_file_,
                                             environment_.config_file)};
  }
  return merged;
}

Result<S3KeySource::Found> S3KeySource::Read(bool anonymous) const {
  GLINTFS_ASSIGN(const Profile profile, ReadProfile(named_profile_ || (!anonymous && !from_environment_)));
  Found found{.keys = {}, .region = Get(profile, "region"), .endpoint = Get(profile, "endpoint_url")};
  if (anonymous) return found;
  if (from_environment_) {
    GLINTFS_ASSIGN(found.keys, Checked(environment_.keys, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"));
    return found;
  }
  const std::string where = fmt::format("profile '{}' of {}", profile_, credentials_file_);
  GLINTFS_ASSIGN(found.keys, Checked({Get(profile, "aws_access_key_id"), Get(profile, "aws_secret_access_key"),
                                      Get(profile, "aws_session_token")}, where));
  const std::string other = OtherWay(profile);
  if (!other.empty() && (found.keys.empty() || other == "role_arn")) {
    return Error{Errc::kInvalid, fmt::format("{} gets its keys by {}, which glintfs cannot do: write keys (and session token) into "
                                             "the file", where, other)};
  }
  if (!found.keys.empty()) return found;
  return Error{Errc::kInvalid, fmt::format("no keys for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write them as [{}] "
                                           "into {}, or mount a public bucket with anonymous=yes", profile_,
                                           credentials_file_.empty() ? "the file of credentials_file=" : credentials_file_)};
}

}  // namespace glintfs
