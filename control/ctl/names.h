// Which images a command is about: names, globs, files of names, everything the source has.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "control/ctl/client.h"
#include "fs/base/result.h"

namespace glintfs::ctl {

// A glob over whole names. *, ? and [a-z] stand for characters of one part of a name, as in the shell (fnmatch(3)), ** as a
// whole part for any number of parts, none included: "*.qcow2" is in the root, "**/*.qcow2" anywhere, "dir/**" all below dir.
class Glob {
 public:
  explicit Glob(std::string_view pattern);

  bool Matches(std::string_view name) const;
  // Whether something below `directory` ("" is the root) can match.
  bool CanMatchBelow(std::string_view directory) const;

 private:
  const std::vector<std::string> parts_;
};

struct WalkLimits {
  size_t directories = 10'000;
  std::function<bool()> enough = nullptr;  // asked before each directory; true ends the walk with success
};
struct Walk {
  std::vector<std::string> names;                              // of images, in the order of the listings
  std::vector<std::pair<std::string, std::string>> failures;  // directories that could not be listed, and why
  bool complete = true;  // false: the source could not be listed; these are the names that the daemon knows
};
// Whether brackets are closed and escapes have something to escape: fnmatch(3) takes what is not for a name that nothing has.
bool IsGlob(std::string_view pattern);

// All images of the source that match one of `globs`. Asks for each directory that can hold one.
//   kInvalid  more directories than `limits` allows; else what Get gives for the root. `status` as there
Result<Walk> WalkSource(Client& client, std::span<const Glob> globs, const WalkLimits& limits, int* status = nullptr);

// One name per line; blank lines and those that begin with # do not count, nor does white space at the end of a line.
std::vector<std::string> ParseNames(std::string_view text);
// Of the file at `path`; "-" is standard input. kNotFound, kIo
Result<std::vector<std::string>> ReadNames(const std::string& path);

// Removes later duplicates.
void RemoveDuplicates(std::vector<std::string>& names);

// Those of `candidates` that somebody may have meant by `wanted`, best first, at most `most`: the same last part, a name that begins
// like that, or a few letters away.
std::vector<std::string> NearestNames(std::string_view wanted, std::span<const std::string> candidates, size_t most);
// Those whose last part is `wanted`, alone or followed by "~…" (images that share a name).
std::vector<std::string> NamesEndingIn(std::string_view wanted, std::span<const std::string> candidates);

}  // namespace glintfs::ctl
