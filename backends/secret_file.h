// Files that hold secrets: keys, passwords, tokens. What is read from them must not be printed; error messages never hold any of it.
#pragma once

#include <string>
#include <string_view>

#include "fs/base/result.h"

namespace glintfs {

// The content of a regular file of at most 1 MiB. `setting` is what named the file ("user_file"), for messages. A file that every user
// of the machine may read is used, with a warning (once per path). kInvalid when it cannot be read.
Result<std::string> ReadSecretFile(const std::string& path, std::string_view setting);

// Its first line, without trailing blanks; kInvalid when that is empty.
Result<std::string> ReadSecretLine(const std::string& path, std::string_view setting);

// The warning alone, for a file that a library reads.
void WarnIfReadableByAll(const std::string& path, std::string_view setting);

}  // namespace glintfs
