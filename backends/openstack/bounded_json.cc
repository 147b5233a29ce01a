// The depth is counted before the parser sees the text: one pass over the bytes, strings skipped. Wrong JSON may be counted
// wrongly, but never as less deep than a parser could go, as only brackets outside of strings nest.
#include "backends/openstack/bounded_json.h"

#include <algorithm>

namespace glintfs {
namespace {

int Depth(std::string_view text) {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}

}  // namespace

Result<nlohmann::json> ParseBoundedJson(std::string_view text, const WantedKey& wanted, int max_depth) {
  using Json = nlohmann::json;
  if (Depth(text) > max_depth) return Error{Errc::kInvalid, "the answer is JSON nested too deeply"};
  const auto keep = [&](int depth, Json::parse_event_t event, Json& value) {
    if (event != Json::parse_event_t::key || !wanted) return true;
    return wanted(depth, value.get_ref<const std::string&>());
  };
  try {
    Json json = Json::parse(text.begin(), text.end(), keep);
    if (json.is_object()) return json;
  } catch (const Json::exception&) {  // its text repeats what it read, which may be a secret
  }
  return Error{Errc::kInvalid, "the answer is not the JSON it should be"};
}

std::string JsonText(const nlohmann::json& object, const char* key) {
  if (!object.is_object()) return "";
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

}  // namespace glintfs
