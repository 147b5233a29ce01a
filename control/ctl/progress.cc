#include "control/ctl/progress.h"

#include <fmt/format.h>

#include <algorithm>

#include "control/ctl/table.h"
#include "fs/base/size_text.h"

namespace glintfs::ctl {
namespace {

constexpr size_t kLongestName = 30;
constexpr size_t kShortestBar = 10;
constexpr size_t kLongestBar = 40;

unsigned Percent(const Progress& p) {
  if (p.total == 0) return 0;
  return static_cast<unsigned>(std::min(1.0, static_cast<double>(p.done) / static_cast<double>(p.total)) * 100);
}

// The end of a name tells more than its start. Cut between code points.
std::string Shortened(const std::string& name, size_t width) {
  if (DisplayWidth(name) <= width) return name;
  size_t at = 0;
  for (size_t drop = DisplayWidth(name) - (width - 3); drop > 0; --drop) {
    ++at;
    while (at < name.size() && (static_cast<unsigned char>(name[at]) & 0xC0) == 0x80) ++at;
  }
  return "..." + name.substr(at);
}

}  // namespace

void RateMeter::Add(Nanos now, uint64_t bytes) {
  if (!samples_.empty() && bytes < samples_.back().second) samples_.clear();
  samples_.emplace_back(now, bytes);
  while (samples_.size() > 2 && now - samples_.front().first > kWindow) samples_.pop_front();
}

double RateMeter::BytesPerSecond() const {
  if (samples_.size() < 2) return 0;
  const auto elapsed = std::chrono::duration<double>(samples_.back().first - samples_.front().first).count();
  return elapsed <= 0 ? 0 : static_cast<double>(samples_.back().second - samples_.front().second) / elapsed;
}

std::string ProgressText(const Progress& p) {
  std::string text = p.count;
  auto add = [&text](const std::string& part) { text += (text.empty() ? "" : "  ") + part; };
  if (p.total == 0) {
    if (!p.note.empty()) add(p.note);
    return text.empty() ? "starting" : text;
  }
  // A share of what is not known as a whole would go back.
  if (p.at_least) add(fmt::format("{} of at least {}", FormatSize(p.done), FormatSize(p.total)));
  else add(fmt::format("{:3}%  {} of {}", Percent(p), FormatSize(p.done), FormatSize(p.total)));
  if (!p.note.empty()) add(p.note);
  if (!p.note.empty() || p.rate < 1 || (p.done >= p.total && !p.at_least)) return text;
  const double left = static_cast<double>(p.total - std::min(p.done, p.total)) / p.rate;
  add(FormatSize(static_cast<uint64_t>(p.rate)) + "/s");
  if (left < 100.0 * 24 * 3600) add(FormatDuration(std::chrono::seconds(static_cast<int64_t>(left) + 1)) + (p.at_least ? " left or more" : " left"));
  return text;
}

std::string ProgressBar(const Progress& p, size_t width) {
  const std::string name = Shortened(Printable(p.name), kLongestName);
  const std::string text = ProgressText(p);
  const size_t fixed = DisplayWidth(name) + DisplayWidth(text) + 6;  // two gaps and the brackets
  std::string line = name + "  ";
  if (width >= fixed + kShortestBar) {
    const size_t cells = std::min(kLongestBar, width - fixed);
    const size_t filled = Percent(p) * cells / 100;
    std::string bar(filled, '=');
    if (filled < cells) bar += '>';
    bar.resize(cells, ' ');
    line += "[" + bar + "]  ";
  }
  line += text;
  // Cut bytewise only when it must be: what is over is ASCII unless the name alone fills the line.
  if (DisplayWidth(line) > width) line.resize(std::min(line.size(), width));
  return line;
}

}  // namespace glintfs::ctl
