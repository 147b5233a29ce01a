// JSON of a server that may lie: bounded in depth before it is parsed, and only what is wanted of it is kept. Pure.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "fs/base/result.h"

namespace glintfs {

// kInvalid when it does not parse, is no object, or is nested deeper than `max_depth`. `wanted` is asked for the key of every
// member at `depth` (1: of the outermost object): what it refuses is parsed and forgotten, however large. Empty: all is kept.
using WantedKey = std::function<bool(int depth, const std::string& key)>;
Result<nlohmann::json> ParseBoundedJson(std::string_view text, const WantedKey& wanted = {}, int max_depth = 32);

// A member that is a string, "" when it is absent or anything else.
std::string JsonText(const nlohmann::json& object, const char* key);

}  // namespace glintfs
