// Files of checksums as coreutils and BSD tools write them. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "backends/backend.h"

namespace glintfs {

struct ChecksumFile {
  std::map<std::string, std::string> by_name;  // file name (a leading "./" removed) → hex, lower case
  std::string only;      // the hex when the whole file holds exactly one sum, named or bare
  size_t bad_lines = 0;  // neither a sum, nor empty, nor a comment
};

// Lines "hex  name", "hex *name", "SHA256 (name) = hex" or a bare hex, of `algorithm` ("sha256", "sha512", "md5").
// Other lines are counted, not fatal: signed files hold some. A name with two different sums counts as bad and has
// none.
ChecksumFile ParseChecksumFile(std::string_view text, std::string_view algorithm);

}  // namespace glintfs
