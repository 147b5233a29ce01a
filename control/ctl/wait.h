// Waiting until images are cached, with progress on standard error: a bar that is redrawn on a terminal, else a line
// every few seconds.
#pragma once

#include <chrono>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "control/ctl/client.h"
#include "control/ctl/exit_code.h"

namespace glintfs::ctl {

// SIGINT and SIGTERM then end the waiting instead of the program.
void CatchInterrupts();

struct WaitOutcome {
  ExitCode code = kExitOk;
  std::string message;  // why not kExitOk
};

// Waits for one image that was asked for with PUT. `deadline`: of the steady clock.
WaitOutcome WaitUntilCached(Client& client, const std::string& name,
                            std::optional<std::chrono::steady_clock::time_point> deadline, bool quiet);

// What the queue and the image tell about the request. Pure.
enum class WaitState { kGoesOn, kCached, kGone };
// `queued` and `image` are null when there is none; `image` must have been asked for after `queued`, so that an image
// that left the queue in between is seen as it ended.
WaitState JudgeWait(const nlohmann::json& queued, const nlohmann::json& image);

}  // namespace glintfs::ctl
