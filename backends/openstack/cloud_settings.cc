// The first of a kind of file wins, and clouds.yaml and secure.yaml are looked for independently:
//
//   clouds.yaml    clouds_file= alone, else $OS_CLIENT_CONFIG_FILE, $XDG_CONFIG_HOME/openstack/, ~/.config/openstack/,
//                  /etc/openstack/
//   secure.yaml    beside clouds_file=, $OS_CLIENT_SECURE_FILE, then the same directories; its entry is laid over the other
//   clouds-public.yaml   what a `profile:` of an entry means, laid under it
//
// The OS_* variables are a cloud of their own ("envvars") and are not mixed with an entry: a password must not go to another cloud.
// Left out: the profiles of well-known clouds that come with the Python SDK.
#include "backends/openstack/cloud_settings.h"

#include <fmt/format.h>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "backends/secret_file.h"
#include "fs/base/home.h"

namespace glintfs {
namespace {

namespace fs = std::filesystem;

constexpr char kEnvironmentCloud[] = "envvars";
constexpr uintmax_t kMaxFile = 1 << 20;

std::string Environment(const char* name) {
  const char* value = std::getenv(name);  // read at start, before there are threads that could change it
  return value == nullptr ? "" : value;
}

std::string NormalKey(std::string key) {
  for (char& c : key) {
    if (c == '-') c = '_';
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return key;
}

bool IsSecret(const std::string& key) {
  return key == "password" || key == "token" || key == "auth_token" || key == "passcode" || key.ends_with("secret");
}

struct YamlFile {
  std::string path;  // empty: there is none
  YAML::Node root;
};

std::vector<std::string> Directories() {
  const std::string home = HomeDirectory(), xdg = Environment("XDG_CONFIG_HOME");
  std::vector<std::string> directories;
  if (!xdg.empty()) directories.push_back(xdg + "/openstack");
  if (!home.empty()) directories.push_back(home + "/.config/openstack");
  directories.emplace_back("/etc/openstack");
  return directories;
}

// The first that can be read, as the OpenStack tools do: a file of somebody else is passed over.
std::string FindFile(const std::string& first, const std::string& beside, const std::string& stem) {
  std::vector<std::string> candidates;
  if (!first.empty()) candidates.push_back(first);
  std::vector<std::string> directories = Directories();
  if (!beside.empty()) directories.insert(directories.begin(), fs::path(beside).parent_path().string());
  for (const std::string& directory : directories)
    for (const char* suffix : {".yaml", ".yml", ".json"})
      candidates.push_back((fs::path(directory) / (stem + suffix)).string());
  const auto found = std::find_if(candidates.begin(), candidates.end(),
                                  [](const std::string& path) { return ::access(path.c_str(), R_OK) == 0; });
  return found == candidates.end() ? "" : *found;
}

Result<YamlFile> Load(const std::string& path) {
  if (path.empty()) return YamlFile{};
  std::error_code error;
  if (!fs::is_regular_file(path, error) || fs::file_size(path, error) > kMaxFile || error)
    return Error{Errc::kInvalid, fmt::format("{} is no file of clouds, or cannot be read", path)};
  std::ifstream in(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (!in.is_open() || in.bad()) return Error{Errc::kInvalid, fmt::format("{} cannot be read", path)};
  try {
    return YamlFile{path, YAML::Load(text)};
  } catch (const YAML::Exception& e) {  // its text may repeat a line of the file
    return Error{Errc::kInvalid, fmt::format("{}: line {} is not YAML", path, e.mark.line + 1)};
  }
}

// `map[key]` when both exist; a Node that is not defined else.
YAML::Node Child(const YAML::Node& map, const std::string& key) {
  if (!map.IsDefined() || !map.IsMap()) return YAML::Node(YAML::NodeType::Undefined);
  const YAML::Node child = map[key];
  return child.IsDefined() ? child : YAML::Node(YAML::NodeType::Undefined);
}

void AddScalars(const YAML::Node& map, std::map<std::string, std::string>& values) {
  if (!map.IsDefined() || !map.IsMap()) return;
  for (const auto& member : map) {
    if (!member.first.IsScalar()) continue;
    YAML::Node value = member.second;
    std::string key = NormalKey(member.first.Scalar());
    if (key == "regions") key = "region_name";
    if (value.IsSequence() && value.size() > 0) value.reset(value[0]);  // regions: the first
    if (value.IsMap() && key == "region_name") value.reset(Child(value, "name"));
    if (value.IsDefined() && value.IsScalar()) values[key] = value.Scalar();
  }
}

struct Layers {
  std::map<std::string, std::string> beside, auth;

  // Files are not expected to be private as long as what is used of them is not.
  void Add(const YAML::Node& entry, const std::string& path) {
    bool secret = false;
    for (auto& [node, layer] : {std::pair(entry, &beside), std::pair(Child(entry, "auth"), &auth)}) {
      std::map<std::string, std::string> values;
      AddScalars(node, values);
      for (auto& [key, value] : values) {
        secret = secret || IsSecret(key);
        (*layer)[key] = value;
      }
    }
    if (secret) WarnIfReadableByAll(path, "clouds_file");
  }
};

Result<CloudSettings> FromFiles(const BackendOptions& options, const std::string& name) {
  const std::string& given = options.openstack.clouds_file;
  const std::string path = !given.empty() ? given : FindFile(Environment("OS_CLIENT_CONFIG_FILE"), "", "clouds");
  GLINTFS_ASSIGN(const YamlFile clouds, Load(path));
  GLINTFS_ASSIGN(const YamlFile secure, Load(FindFile(Environment("OS_CLIENT_SECURE_FILE"), given, "secure")));
  if (clouds.path.empty())
    return Error{Errc::kInvalid,
                 fmt::format("cloud '{}' is asked for, and there is no clouds.yaml: name it in clouds_file=", name)};
  const YAML::Node entry = Child(Child(clouds.root, "clouds"), name);
  const YAML::Node secret_entry = Child(Child(secure.root, "clouds"), name);
  if (!entry.IsDefined() && !secret_entry.IsDefined())
    return Error{Errc::kInvalid, fmt::format("{} has no cloud '{}'", clouds.path, name)};

  Layers layers;
  for (const char* key : {"cloud", "profile"}) {
    const YAML::Node profile = Child(entry, key);
    if (!profile.IsDefined() || !profile.IsScalar()) continue;
    GLINTFS_ASSIGN(const YamlFile vendors, Load(FindFile("", given, "clouds-public")));
    layers.Add(Child(Child(vendors.root, "public-clouds"), profile.Scalar()), vendors.path);
  }
  layers.Add(entry, clouds.path);
  layers.Add(secret_entry, secure.path);
  CloudSettings settings{.values = std::move(layers.auth), .where = fmt::format("cloud '{}' of {}", name, clouds.path)};
  settings.values.merge(layers.beside);
  return settings;
}

CloudSettings FromEnvironment() {
  CloudSettings settings{.values = {}, .where = "the OS_* variables"};
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t equals = text.find('=');
    if (!text.starts_with("OS_") || equals == std::string::npos || equals + 1 == text.size()) continue;
    settings.values[NormalKey(text.substr(3, equals - 3))] = text.substr(equals + 1);
  }
  return settings;
}

// What a login needs at least; the rest only selects.
bool SaysHowToLogIn(const CloudSettings& settings) {
  for (const char* key : {"auth_url", "token", "auth_token", "endpoint", "endpoint_override", "image_endpoint_override",
                          "object_store_endpoint_override"})
    if (!settings.Get(key).empty()) return true;
  return false;
}

}  // namespace

Result<std::optional<CloudSettings>> FindCloudSettings(const BackendOptions& options) {
  const std::string variable = Environment("OS_CLOUD");
  const std::string& name = options.openstack.cloud.empty() ? variable : options.openstack.cloud;
  if (!name.empty() && name != kEnvironmentCloud) {
    GLINTFS_ASSIGN(CloudSettings settings, FromFiles(options, name));
    return std::optional(std::move(settings));
  }
  if (!options.openstack.clouds_file.empty() && name.empty())
    return Error{Errc::kInvalid, fmt::format("clouds_file={}: say which of its clouds with cloud=", options.openstack.clouds_file)};
  CloudSettings settings = FromEnvironment();
  if (SaysHowToLogIn(settings)) return std::optional(std::move(settings));
  if (name == kEnvironmentCloud) return Error{Errc::kInvalid, "cloud 'envvars' is asked for, and OS_AUTH_URL is not set"};
  return std::optional<CloudSettings>();
}

}  // namespace glintfs
