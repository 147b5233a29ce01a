#include "fs/cache/layout.h"

#include <fmt/format.h>

#include <charconv>

namespace glintfs::layout {

std::string DataPath(RowId row, uint32_t generation) {
  return fmt::format("{}/{:02x}/{}-{}", kData, row % 256, row, generation);
}

std::optional<DataName> ParseDataPath(std::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const char* p = path.data() + slash + 1;
  const char* end = path.data() + path.size();
  DataName name{};
  auto row = std::from_chars(p, end, name.row);
  if (row.ec != std::errc() || row.ptr == end || *row.ptr != '-') return std::nullopt;
  auto generation = std::from_chars(row.ptr + 1, end, name.generation);
  if (generation.ec != std::errc() || generation.ptr != end) return std::nullopt;
  if (DataPath(name.row, name.generation) != path) return std::nullopt;
  return name;
}

}  // namespace glintfs::layout
