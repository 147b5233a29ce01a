// Progress on standard error: on a terminal a bar for each image that is being worked on and one in total, redrawn in place;
// elsewhere a line every few seconds, when it says something new.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "control/ctl/progress.h"

namespace glintfs::ctl {

class ProgressBoard {
 public:
  explicit ProgressBoard(bool quiet);
  ~ProgressBoard() { Clear(); }

  bool terminal() const { return terminal_; }

  // As many of `running` as the terminal has room for. `total` is left out where there is one image only.
  void Show(const std::vector<Progress>& running, const std::optional<Progress>& total);
  // Takes the bars away, so that something else can be printed.
  void Clear();

 private:
  void Draw(const std::vector<Progress>& running, const std::optional<Progress>& total);

  const bool quiet_;
  const bool terminal_;
  std::vector<size_t> drawn_;  // widths of the lines that are on the terminal
  std::chrono::steady_clock::time_point next_{};  // when a plain line is due
  std::string shown_;                             // the last one
};

}  // namespace glintfs::ctl
