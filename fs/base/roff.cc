#include "fs/base/roff.h"

#include <fmt/format.h>

namespace glintfs {

std::string AsciiRoff(std::string_view page) {
  std::string out;
  for (size_t at = 0; at < page.size();) {
    const auto lead = static_cast<unsigned char>(page[at]);
    const size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (length == 1) {
      out += page[at++];
      continue;
    }
    uint32_t code = lead & (0x7Fu >> length);
    for (size_t i = 1; i < length && at + i < page.size(); ++i) code = code << 6 | (static_cast<unsigned char>(page[at + i]) & 0x3F);
    out += fmt::format("\\[u{:04X}]", code);
    at += length;
  }
  return out;
}

}  // namespace glintfs
