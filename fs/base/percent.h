// Percent-encoding of URLs (RFC 3986). Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace glintfs {

// Everything but letters, digits and "-._~" becomes %XX, '/' too: the result is one path segment or one query value.
std::string PercentEncode(std::string_view bytes);

// nullopt for a '%' that two hex digits do not follow. With `plus_is_space`, '+' becomes ' ' (query strings).
std::optional<std::string> PercentDecode(std::string_view text, bool plus_is_space = false);

}  // namespace glintfs
