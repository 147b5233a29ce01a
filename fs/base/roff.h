// Manual pages are ASCII, so that every groff reads them, told of an encoding or not.
#pragma once

#include <string>
#include <string_view>

namespace glintfs {

// `page`, roff in UTF-8, with what is not ASCII as "\[u2026]".
std::string AsciiRoff(std::string_view page);

}  // namespace glintfs
