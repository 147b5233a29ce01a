#include "control/ctl/table.h"

#include <algorithm>
#include <cassert>
#include <numeric>

namespace glintfs::ctl {
namespace {

constexpr size_t kShortestName = 16;

}  // namespace

std::string Printable(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const bool c1 = c == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (c < 0x20 || c == 0x7F || c1) {
      out += '?';
      if (c1) ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

size_t DisplayWidth(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string ShortenedInTheMiddle(std::string_view text, size_t columns) {
  const size_t width = DisplayWidth(text);
  if (width <= columns) return std::string(text);
  const size_t kept = columns - 3, front = kept / 3, back = kept - front;  // the end tells more
  std::string start, end;
  size_t at = 0;
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) ++at;
    if (at <= front) start += c;
    if (at > width - back) end += c;
  }
  return start + "..." + end;
}

void Table::Add(std::vector<std::string> cells) {
  assert(cells.size() == columns_.size());
  for (std::string& cell : cells) cell = Printable(cell);
  rows_.push_back(std::move(cells));
}

std::string Table::Line(const std::vector<std::string>& cells, const std::vector<size_t>& widths) const {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) {
    const std::string pad(widths[i] - DisplayWidth(cells[i]), ' ');
    if (i > 0) line += "  ";
    line += columns_[i].align == Align::kRight ? pad + cells[i] : cells[i] + pad;
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

std::vector<size_t> Table::Widths() const {
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    widths.push_back(DisplayWidth(columns_[i].title));
    for (const auto& row : rows_) widths[i] = std::max(widths[i], DisplayWidth(row[i]));
  }
  return widths;
}

void Table::FitInto(size_t columns) {
  const std::vector<size_t> widths = Widths();
  const size_t others = std::accumulate(widths.begin() + 1, widths.end(), 2 * (widths.size() - 1));
  const size_t room = std::max(kShortestName, columns - std::min(columns, others));
  for (auto& row : rows_) row[0] = ShortenedInTheMiddle(row[0], room);
}

std::string Table::Render() const {
  std::vector<std::string> titles;
  for (const Column& column : columns_) titles.push_back(column.title);
  const std::vector<size_t> widths = Widths();
  std::string text = Line(titles, widths);
  for (const auto& row : rows_) text += Line(row, widths);
  return text;
}

}  // namespace glintfs::ctl
