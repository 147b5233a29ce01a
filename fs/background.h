// Background: goes on without a terminal, but only after the mount answers.
//
//   parent:  fork ── waits on a pipe ──────────────▶ "ready" → exit 0
//   child:          mounts, prints what is wrong ──┘ or ends  → exit with the child's code
#pragma once

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace glintfs {

class Background {
 public:
  // Forks. Returns in the child only; the parent waits and exits. REQUIRES: the process has one thread.
  static Result<Background> Fork();

  Background(Background&&) = default;

  // Leaves the terminal and lets the parent exit with 0. Until then standard error is the user's.
  void Ready();

 private:
  explicit Background(UniqueFd pipe) : pipe_(std::move(pipe)) {}

  UniqueFd pipe_;  // closed without a byte: the parent takes the child's exit code
};

}  // namespace glintfs
