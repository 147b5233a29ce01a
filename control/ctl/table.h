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

// `text` in `columns` (5 or more), without what is in its middle: a name begins with its directory and ends in what tells it apart.
std::string ShortenedInTheMiddle(std::string_view text, size_t columns);

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

  // So that lines take no more than `columns`, as far as the first column can be shortened for it.
  void FitInto(size_t columns);

  // The title line and one line per row; two blanks between columns, none at the end of a line.
  std::string Render() const;

 private:
  std::vector<size_t> Widths() const;
  std::string Line(const std::vector<std::string>& cells, const std::vector<size_t>& widths) const;

  const std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace glintfs::ctl
