#include "control/ctl/progress_board.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "control/ctl/table.h"
#include "control/ctl/terminal.h"

namespace glintfs::ctl {
namespace {

constexpr auto kPlainInterval = std::chrono::seconds(5);

// Back to the first column of the first of the lines drawn. A terminal that was made narrower since has broken them into more.
std::string ToStart(const std::vector<size_t>& widths, size_t columns) {
  if (widths.empty()) return "";
  size_t rows = 0;
  for (const size_t width : widths) rows += std::max<size_t>(1, (width + columns - 1) / columns);
  return rows > 1 ? fmt::format("\r\033[{}A", rows - 1) : "\r";
}

void Write(const std::string& text) {
  std::fflush(stdout);
  std::fwrite(text.data(), 1, text.size(), stderr);  // one write: standard error has no buffer
}

}  // namespace

ProgressBoard::ProgressBoard(bool quiet) : quiet_(quiet), terminal_(::isatty(STDERR_FILENO) == 1) {}

void ProgressBoard::Show(const std::vector<Progress>& running, const std::optional<Progress>& total) {
  if (quiet_) return;
  if (terminal_) return Draw(running, total);
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return;
  next_ = now + kPlainInterval;
  const Progress* const one = total ? &*total : running.empty() ? nullptr : &running.front();
  if (one == nullptr) return;
  std::string line = fmt::format("{}: {}\n", Printable(one->name), ProgressText(*one));
  if (line == shown_) return;
  Write(line);
  shown_ = std::move(line);
}

void ProgressBoard::Draw(const std::vector<Progress>& running, const std::optional<Progress>& total) {
  const TerminalSize size = SizeOf(STDERR_FILENO);
  const size_t room = std::max<size_t>(size.rows, 3) - 2;  // a line for the total, one for what comes after
  std::vector<std::string> lines;
  for (size_t i = 0; i < std::min(running.size(), room); ++i) lines.push_back(ProgressBar(running[i], size.columns - 1));
  if (total) lines.push_back(ProgressBar(*total, size.columns - 1));
  std::string text = ToStart(drawn_, size.columns);
  drawn_.clear();
  for (size_t i = 0; i < lines.size(); ++i) {
    text += (i > 0 ? "\r\n" : "") + lines[i] + "\033[K";
    drawn_.push_back(DisplayWidth(lines[i]));
  }
  Write(text + "\033[J");
}

void ProgressBoard::Clear() {
  if (drawn_.empty()) return;
  Write(ToStart(drawn_, SizeOf(STDERR_FILENO).columns) + "\033[J");
  drawn_.clear();
}

}  // namespace glintfs::ctl
