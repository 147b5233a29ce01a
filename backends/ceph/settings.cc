#include "backends/ceph/settings.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <sstream>
#include <vector>

#include "backends/backend.h"

namespace glintfs {
namespace {

// The value of word `at`, when it is one of the options `names`: "--id=x", "--id x", "-nx" is not said by anybody.
std::optional<std::string> ValueOf(const std::vector<std::string>& words, size_t at,
                                   std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) {
    if (words[at] == name && at + 1 < words.size()) return words[at + 1];
    if (words[at].starts_with(std::string(name) + "=")) return words[at].substr(name.size() + 1);
  }
  return std::nullopt;
}

Result<void> CheckReadable(const std::string& path, std::string_view setting) {
  if (path.empty()) return {};
  if (::access(path.c_str(), R_OK) != 0) return ErrnoError(errno, fmt::format("{}={}", setting, path));
  std::error_code unknown;
  if (std::filesystem::is_directory(path, unknown)) return Error{Errc::kInvalid, fmt::format("{}={}: not a file", setting, path)};
  return {};
}

}  // namespace

void ApplyCephArgs(std::string_view ceph_args, CephOptions& ceph) {
  std::istringstream in{std::string(ceph_args)};
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(std::move(word));
  CephOptions said;  // the last word counts
  for (size_t i = 0; i < words.size(); ++i) {
    if (const auto id = ValueOf(words, i, {"--id", "--user"})) said.id = *id;
    if (const auto name = ValueOf(words, i, {"--name", "-n"}); name && name->starts_with("client.")) said.id = name->substr(7);
    if (const auto cluster = ValueOf(words, i, {"--cluster"})) said.cluster = *cluster;
    if (const auto conf = ValueOf(words, i, {"--conf", "-c"})) said.conf = *conf;
  }
  if (ceph.id.empty()) ceph.id = said.id;
  if (ceph.cluster.empty()) ceph.cluster = said.cluster;
  if (ceph.conf.empty()) ceph.conf = said.conf;
}

Result<CephSettings> MakeCephSettings(std::string_view source, std::string_view scheme, const BackendOptions& options,
                                      const char* ceph_args) {
  const std::string start = fmt::format("{}://", scheme);
  const Error bad{Errc::kInvalid, fmt::format("a source of {} is {}POOL or {}POOL/NAMESPACE", scheme, start, start)};
  if (!source.starts_with(start)) return bad;
  std::string_view path = source.substr(start.size());
  if (path.ends_with('/')) path.remove_suffix(1);
  const size_t slash = path.find('/');
  CephSettings settings;
  settings.pool = path.substr(0, slash);
  if (slash != std::string_view::npos) settings.name_space = path.substr(slash + 1);
  if (!IsValidName(path) || path.find_first_of("/@?#") != slash || settings.name_space.find_first_of("/@?#") != std::string::npos)
    return bad;
  settings.source = start + std::string(path);
  settings.ceph = options.ceph;
  if (ceph_args != nullptr) ApplyCephArgs(ceph_args, settings.ceph);
  if (settings.ceph.id.starts_with("client.")) settings.ceph.id.erase(0, 7);
  if (settings.ceph.id.empty()) settings.ceph.id = "admin";
  if (settings.ceph.cluster.empty()) settings.ceph.cluster = "ceph";
  GLINTFS_TRY(CheckReadable(options.ceph.conf, "ceph_conf"));
  GLINTFS_TRY(CheckReadable(options.ceph.keyring, "ceph_keyring"));
  settings.ask_deadline = options.ask_deadline;
  settings.fetch_deadline = options.fetch_deadline;
  return settings;
}

}  // namespace glintfs
