// Text for a terminal: aligned tables, and strings made safe to print.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace glintfs::ctl {

// Control characters (also those of ISO 6429 in UTF-8) as '?': a name must not steer the terminal.
std::string Printable(std::string_view text);

// Columns a terminal needs for `text`: its UTF-8 code points.
size_t DisplayWidth(std::string_view text);

class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // REQUIRES: as many cells as columns
  void Add(std::vector<std::string> cells);

  // The title line and one line per row; two blanks between columns, none at the end of a line.
  std::string Render() const;

 private:
  std::string Line(const std::vector<std::string>& cells, const std::vector<size_t>& widths) const;

  const std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace glintfs::ctl
