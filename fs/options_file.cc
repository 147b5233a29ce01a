// The TOML file: flat keys, the same names as -o. Native TOML numbers and booleans are taken where they say the same as
// the text would ("retries = 4", "checksums = false", "max_size = 10000000000"); units need a string.
//
// What is mounted where may stand in the file too, so that one file is a whole mount (glintfs@NAME.service). With -o these two
// would say what the arguments say, so they are no settings.
#include <toml++/toml.h>

#include <fstream>
#include <optional>

#include "fs/options.h"

namespace glintfs {
namespace {

std::optional<std::string> AsText(const toml::node& node) {
  if (auto text = node.value_exact<std::string>()) return *text;
  if (auto number = node.value_exact<int64_t>(); number && *number >= 0) return fmt::format("{}", *number);
  if (auto flag = node.value_exact<bool>()) return *flag ? "yes" : "no";
  if (auto share = node.value_exact<double>(); share && *share >= 0) return fmt::format("{:.9f}", *share);
  return std::nullopt;
}

// Is `name` one of the two keys that only a file has? Then it is applied.
Result<bool> ApplyPlace(std::string_view name, const std::string& text, Options& options) {
  if (name != "source" && name != "mountpoint") return false;
  if (text.empty()) return Error{Errc::kInvalid, fmt::format("{}: is empty", name)};
  if (name == "source") {
    options.source = text;
    return true;
  }
  if (!text.starts_with('/'))
    return Error{Errc::kInvalid, fmt::format("mountpoint: '{}' is not an absolute path", text)};
  options.mountpoint = text;
  return true;
}

Result<void> Apply(const toml::table& table, Options& options) {
  for (const auto& [key, node] : table) {
    const std::string_view name = key.str();
    auto fail = [&, line = node.source().begin.line](std::string_view message) {
      return Error{Errc::kInvalid, fmt::format("line {}: {}", line, message)};
    };
    if (name == "config") return fail("option config: not inside a config file");
    const auto text = AsText(node);
    if (!text) return fail(fmt::format("option {}: takes a text, a number, true or false", name));
    const auto place = ApplyPlace(name, *text, options);
    if (!place) return fail(place.error().message);
    if (*place) continue;
    if (auto set = SetOption(options, name, *text, true); !set) return fail(set.error().message);
  }
  return {};
}

}  // namespace

Result<void> ReadConfigFile(const std::string& path, Options& options) {
  std::ifstream file(path);
  if (!file) return Error{Errc::kInvalid, fmt::format("option config: cannot read {}: {}", path, std::strerror(errno))};
  try {
    if (auto applied = Apply(toml::parse(file, path), options); !applied)
      return Error{Errc::kInvalid, fmt::format("{}: {}", path, applied.error().message)};
  } catch (const toml::parse_error& e) {
    return Error{Errc::kInvalid,
                 fmt::format("{}: line {}: not TOML: {}", path, e.source().begin.line, e.description())};
  }
  return {};
}

}  // namespace glintfs
