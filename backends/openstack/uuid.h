// Ids of OpenStack: 8-4-4-4-12 hexadecimal digits. Pure.
#pragma once

#include <string_view>

namespace glintfs {

inline constexpr size_t kUuidLength = 36;

inline bool IsUuid(std::string_view text) {
  if (text.size() != kUuidLength) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    if (dash ? c != '-' : !hex) return false;
  }
  return true;
}

}  // namespace glintfs
