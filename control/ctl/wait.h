// Waiting until images are cached.
#pragma once

#include <chrono>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/ctl/client.h"
#include "control/ctl/report.h"

namespace glintfs::ctl {

// What was cached of an image before it was asked for, by href: so that a rate is what comes now.
using Baseline = std::unordered_map<std::string, uint64_t>;
Result<Baseline> CachedNow(Client& client);  // kTimedOut; what else goes wrong shows with what is asked next

// Waits for images that were asked for, by their places in `results`, notes there what became of each and shows the progress. Each
// look is a few requests however many images there are. Ends early at `deadline` and on SIGINT, with kExitInterrupted for
// what is left. REQUIRES: CatchInterrupts() was called
void WaitUntilCached(const CtlOptions& options, Client& client, Results& results,
                     const std::vector<std::pair<size_t, std::string>>& asked, const Baseline& baseline,
                     std::optional<std::chrono::steady_clock::time_point> deadline);

// What the queue and the image tell about the request. Pure.
//   kVerifying  all of it is here; it is compared with the checksum of the source, or the source is asked for that
//   kInvalid    its checksum is wrong: trying again brings the same
enum class WaitState { kGoesOn, kVerifying, kCached, kInvalid, kGone };
// `queued` and `image` are null when there is none; `image` must have been asked for after `queued`, so that an image
// that left the queue in between is seen as it ended.
WaitState JudgeWait(const nlohmann::json& queued, const nlohmann::json& image);

// What to do about an image whose checksum is wrong.
std::string AdviceForWrongChecksum(const std::string& name);

}  // namespace glintfs::ctl
