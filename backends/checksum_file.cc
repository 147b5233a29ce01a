#include "backends/checksum_file.h"

#include <algorithm>
#include <set>

namespace glintfs {
namespace {

struct Line {
  std::string name;  // empty: a bare sum
  std::string hex;
};

size_t HexDigits(std::string_view algorithm) {
  return algorithm == "sha512" ? 128 : algorithm == "sha256" ? 64 : algorithm == "md5" ? 32 : 0;
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return lower;
}

std::optional<std::string> Hex(std::string_view text, size_t digits) {
  std::string hex = Lower(text);
  if (hex.size() != digits || hex.find_first_not_of("0123456789abcdef") != std::string::npos) return std::nullopt;
  return hex;
}

std::string_view WithoutDotSlash(std::string_view name) {
  while (name.starts_with("./")) name.remove_prefix(2);
  return name;
}

// coreutils writes names with a backslash or a newline escaped, and then a backslash before the line.
std::string Unescape(std::string_view name) {
  std::string plain;
  for (size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '\\' && i + 1 < name.size()) {
      ++i;
      plain += name[i] == 'n' ? '\n' : name[i] == 'r' ? '\r' : name[i];
    } else {
      plain += name[i];
    }
  }
  return plain;
}

// "SHA256 (name) = hex"
std::optional<Line> ParseBsd(std::string_view line, std::string_view algorithm, size_t digits) {
  const size_t open = line.find(" ("), close = line.rfind(") = ");
  if (open == std::string_view::npos || close == std::string_view::npos || close < open + 2) return std::nullopt;
  if (Lower(line.substr(0, open)) != algorithm) return std::nullopt;
  const auto hex = Hex(line.substr(close + 4), digits);
  if (!hex || close == open + 2) return std::nullopt;
  return Line{std::string(line.substr(open + 2, close - open - 2)), *hex};
}

std::optional<Line> ParseLine(std::string_view line, std::string_view algorithm, size_t digits) {
  const bool escaped = line.starts_with('\\');
  if (escaped) line.remove_prefix(1);
  auto parsed = ParseBsd(line, algorithm, digits);
  if (!parsed) {
    const auto hex = Hex(line.substr(0, digits), digits);
    if (!hex) return std::nullopt;
    parsed = Line{"", *hex};
    if (line.size() > digits) {
      const std::string_view gap = line.substr(digits, 2);
      if ((gap != "  " && gap != " *") || line.size() == digits + 2) return std::nullopt;
      parsed->name = line.substr(digits + 2);
    }
  }
  if (escaped) parsed->name = Unescape(parsed->name);
  parsed->name = std::string(WithoutDotSlash(parsed->name));
  return parsed;
}

}  // namespace

ChecksumFile ParseChecksumFile(std::string_view text, std::string_view algorithm) {
  ChecksumFile file;
  const size_t digits = HexDigits(algorithm);
  std::set<std::string> contradictory;
  size_t sums = 0;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    std::string_view line = text.substr(start, end - start);
    start = end + 1;
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
    if (line.empty() || line.front() == '#') continue;
    const auto parsed = digits != 0 ? ParseLine(line, algorithm, digits) : std::nullopt;
    if (!parsed) {
      ++file.bad_lines;
      continue;
    }
    file.only = ++sums == 1 ? parsed->hex : "";
    if (parsed->name.empty()) continue;
    const auto [entry, added] = file.by_name.emplace(parsed->name, parsed->hex);
    if (!added && entry->second != parsed->hex) contradictory.insert(parsed->name);
  }
  for (const std::string& name : contradictory) {
    file.by_name.erase(name);
    ++file.bad_lines;
  }
  return file;
}

}  // namespace glintfs
