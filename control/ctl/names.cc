#include "control/ctl/names.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <unordered_set>

#include "control/ctl/answer.h"
#include "fs/base/percent.h"

namespace glintfs::ctl {
namespace {

using Parts = std::vector<std::string>;

Parts Split(std::string_view name) {
  Parts parts;
  while (!name.empty()) {
    const size_t slash = std::min(name.find('/'), name.size());
    parts.emplace_back(name.substr(0, slash));
    name.remove_prefix(std::min(slash + 1, name.size()));
  }
  return parts;
}

using Span = std::span<const std::string>;

bool MatchesPart(const std::string& pattern, const std::string& part) {
  return ::fnmatch(pattern.c_str(), part.c_str(), 0) == 0;
}

// Row by row over the parts of the name: which prefixes of the pattern match what was read so far. So that many ** cost no more
// than the product of both lengths. With `prefix`: whether more parts could still follow.
bool MatchesParts(Span pattern, Span name, bool prefix) {
  std::vector<bool> reached(pattern.size() + 1, false);
  reached[0] = true;
  const auto skip_stars = [&] {  // ** stands for nothing, too
    for (size_t i = 0; i < pattern.size(); ++i)
      if (reached[i] && pattern[i] == "**") reached[i + 1] = true;
  };
  skip_stars();
  for (const std::string& part : name) {
    std::vector<bool> next(pattern.size() + 1, false);
    for (size_t i = 0; i < pattern.size(); ++i) {
      if (!reached[i]) continue;
      if (pattern[i] == "**") next[i] = true;
      else if (MatchesPart(pattern[i], part)) next[i + 1] = true;
    }
    reached = std::move(next);
    skip_stars();
  }
  if (!prefix) return reached[pattern.size()];
  return std::find(reached.begin(), reached.end() - 1, true) != reached.end() - 1;  // something of the pattern is left
}

std::string_view LastPart(std::string_view name) { return name.substr(name.find_last_of('/') + 1); }

size_t Distance(std::string_view a, std::string_view b) {  // Levenshtein
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t above = row[j + 1];
      row[j + 1] = std::min({above + 1, row[j] + 1, diagonal + (a[i] == b[j] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row.back();
}

// At the end ** stands for images at any depth, but not for none: "dir/**" is what is below dir.
Parts GlobParts(std::string_view pattern) {
  Parts parts = Split(pattern);
  if (!parts.empty() && parts.back() == "**") parts.emplace_back("*");
  return parts;
}

}  // namespace

Glob::Glob(std::string_view pattern) : parts_(GlobParts(pattern)) {}

bool Glob::Matches(std::string_view name) const { return MatchesParts(parts_, Split(name), false); }
bool Glob::CanMatchBelow(std::string_view directory) const { return MatchesParts(parts_, Split(directory), true); }

bool IsGlob(std::string_view pattern) {
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '\\') {
      if (++i == pattern.size()) return false;
    } else if (pattern[i] == '[') {
      // A bracket that comes first stands for itself, also after a ! or ^; one never goes beyond its part of a name.
      size_t from = i + 1;
      if (from < pattern.size() && (pattern[from] == '!' || pattern[from] == '^')) ++from;
      const size_t end = pattern.find(']', from + 1);
      if (end == pattern.npos || pattern.substr(i, end - i).find('/') != pattern.npos) return false;
      i = end;
    }
  }
  return !pattern.empty();
}

Result<Walk> WalkSource(Client& client, std::span<const Glob> globs, const WalkLimits& limits, int* status) {
  Walk walk;
  std::vector<std::string> directories = {""};
  const auto any = [&](auto test) { return std::any_of(globs.begin(), globs.end(), test); };
  for (size_t i = 0; i < directories.size(); ++i) {
    if (limits.enough && limits.enough()) break;
    if (i == limits.directories)
      return Error{Errc::kInvalid, fmt::format("the source has more than {} directories there. Choose some with --match DIR/GLOB",
                                               limits.directories)};
    const std::string directory = directories[i];
    const auto answer = Get(client, "/v1/source?directory=" + PercentEncode(directory), i == 0 ? status : nullptr);
    if (!answer) {
      if (i == 0 || answer.error().code != Errc::kIo) return answer.error();
      walk.failures.emplace_back(directory, answer.error().message);
      continue;
    }
    if (Part(*answer, "complete") == nlohmann::json(false)) walk.complete = false;
    for (const nlohmann::json& entry : Part(*answer, "entries")) {
      const std::string name = ExactName(entry);
      if (!Flag(entry, "directory")) {
        if (any([&](const Glob& glob) { return glob.Matches(name); })) walk.names.push_back(name);
      } else if (any([&](const Glob& glob) { return glob.CanMatchBelow(name); })) {
        directories.push_back(name);
      }
    }
  }
  RemoveDuplicates(walk.names);
  return walk;
}

std::vector<std::string> ParseNames(std::string_view text) {
  std::vector<std::string> names;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    line = line.substr(0, line.find_last_not_of(" \t\r") + 1);
    if (!line.empty() && line.front() != '#') names.emplace_back(line);
  }
  return names;
}

Result<std::vector<std::string>> ReadNames(const std::string& path) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> opened(path == "-" ? nullptr : std::fopen(path.c_str(), "re"), std::fclose);
  std::FILE* const file = path == "-" ? stdin : opened.get();
  if (file == nullptr) return ErrnoError(errno, "cannot read " + path);
  std::string text;
  char bytes[65536];
  while (const size_t got = std::fread(bytes, 1, sizeof bytes, file)) text.append(bytes, got);
  if (std::ferror(file) != 0) return ErrnoError(errno, "cannot read " + path);
  return ParseNames(text);
}

void RemoveDuplicates(std::vector<std::string>& names) {
  std::unordered_set<std::string> seen;
  std::erase_if(names, [&](const std::string& name) { return !seen.insert(name).second; });
}

std::vector<std::string> NamesEndingIn(std::string_view wanted, std::span<const std::string> candidates) {
  std::vector<std::string> found;
  for (const std::string& name : candidates) {
    const std::string_view last = LastPart(name);
    if (name != wanted && (last == wanted || last.starts_with(std::string(wanted) + "~"))) found.push_back(name);
  }
  return found;
}

std::vector<std::string> NearestNames(std::string_view wanted, std::span<const std::string> candidates, size_t most) {
  std::vector<std::pair<size_t, std::string>> near;
  for (const std::string& name : candidates) {
    if (name == wanted) continue;
    const size_t allowed = std::clamp<size_t>(wanted.size() / 3, 1, 5);  // letters that differ
    const size_t longer = std::max(name.size(), wanted.size()), shorter = std::min(name.size(), wanted.size());
    if (LastPart(name) == LastPart(wanted)) near.emplace_back(0, name);
    else if (!wanted.empty() && (name.starts_with(wanted) || LastPart(name).starts_with(wanted))) near.emplace_back(1, name);
    else if (longer - shorter > allowed) continue;
    else if (const size_t distance = Distance(wanted, name); distance <= allowed) near.emplace_back(distance, name);
  }
  std::stable_sort(near.begin(), near.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> names;
  for (auto& [distance, name] : near)
    if (names.size() < most) names.push_back(std::move(name));
  return names;
}

}  // namespace glintfs::ctl
