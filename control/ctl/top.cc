// glintctl top: looks at the daemon every interval. On a terminal one screen that is redrawn, elsewhere a block per interval, with
// --json an object per line.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

#include "control/ctl/answer.h"
#include "control/ctl/command_list.h"
#include "control/ctl/exit_code.h"
#include "control/ctl/report.h"
#include "control/ctl/table.h"
#include "control/ctl/terminal.h"
#include "control/ctl/top_text.h"
#include "fs/base/clock.h"

namespace glintfs::ctl {
namespace {

using nlohmann::json;
using SteadyClock = std::chrono::steady_clock;

constexpr auto kDefaultInterval = std::chrono::seconds(1);
// Who looks on wants to see that nothing comes; and at the start the keys do not work yet.
constexpr std::chrono::nanoseconds kPatience = std::chrono::seconds(3), kFirstPatience = std::chrono::seconds(1);

Result<Sample> Look(Client& client, int* status) {
  Sample sample;
  GLINTFS_ASSIGN(sample.status, Get(client, "/v1/status", status));
  GLINTFS_ASSIGN(sample.activity, Get(client, "/v1/activity", status));
  GLINTFS_ASSIGN(sample.queue, Get(client, "/v1/queue", status));
  sample.time = SteadyClock::now().time_since_epoch();
  return sample;
}

class Top {
 public:
  Top(const CtlOptions& options, Client& client)
      : options_(options), client_(client), interval_(options.interval.value_or(kDefaultInterval)),
        colors_(UseColors(options.color, STDOUT_FILENO)) {}

  int Run() {
    const bool screen = !options_.batch && !options_.json && ::isatty(STDOUT_FILENO) == 1;
    client_.SetPatience(screen ? kFirstPatience : kPatience);
    int status = 0;
    auto first = Look(client_, &status);
    client_.SetPatience(kPatience);
    if (first) {
      before_ = std::move(first).value();
    } else if (screen && first.error().code == Errc::kTimedOut) {
      error_ = first.error().message;
    } else {
      return GetFailed(options_, client_, first.error(), status);
    }
    return screen ? OnScreen() : InBlocks();
  }

 private:
  std::string AwayText() const {
    return Colored("The daemon does not answer; waiting for it to come back.", Color::kRed, colors_) + "\n" + error_ + "\n";
  }

  // Shows what the last look gave, also when it failed: then what was seen last, and why.
  std::string Frame(size_t rows, bool screen) {
    int status = 0;
    auto now = Look(client_, &status);
    std::string text;
    if (!now) {
      error_ = now.error().message;
      text = AwayText();
      if (screen && before_) text += "\nThe last seen of it:\n" + TopText(*before_, {}, rows > 4 ? rows - 4 : 1, false);
      if (!screen) before_.reset();
      return text;
    }
    error_.clear();
    rates_ = RatesBetween(before_ ? &*before_ : nullptr, *now);
    before_ = std::move(now).value();
    return TopText(*before_, rates_, rows, colors_);
  }

  int OnScreen() {
    Screen screen;
    bool ended = false;  // q, also while the daemon is asked
    const auto is_end = [&](char key) { return ended = ended || key == 'q' || key == 'Q'; };
    client_.SetAbort([&] { return is_end(screen.WaitForKey(std::chrono::nanoseconds(0))); });
    for (uint64_t shown = 0; !ended && (options_.count == 0 || shown < options_.count); ++shown) {
      const size_t rows = SizeOf(STDOUT_FILENO).rows;
      if (shown > 0) {
        const std::string frame = Frame(rows, true);
        if (!ended) screen.Draw(frame);
      } else {
        screen.Draw(before_ ? TopText(*before_, RatesBetween(nullptr, *before_), rows, colors_) : AwayText());
      }
      const auto next = SteadyClock::now() + interval_;
      for (auto now = SteadyClock::now(); !ended && now < next; now = SteadyClock::now()) {
        const char key = screen.WaitForKey(next - now + std::chrono::milliseconds(1));
        if (is_end(key) || key == 0) break;  // time is up, or the terminal has another size: draw
      }
    }
    client_.SetAbort(nullptr);
    return kExitOk;
  }

  int InBlocks() {
    for (uint64_t shown = 0; options_.count == 0 || shown < options_.count; ++shown) {
      Pause(interval_);
      const std::string text = Frame(0, false);
      const double wall = std::chrono::duration<double>(Clock::System().WallNow()).count();
      if (!options_.json) {
        Print((shown > 0 ? "\n" : "") + text);
      } else if (error_.empty()) {
        PrintJsonLine(TopJson(*before_, rates_, wall));
      } else {
        PrintJsonLine({{"time", wall}, {"error", error_}});
      }
      if (std::fflush(stdout) != 0) return kExitFailed;
    }
    return kExitOk;
  }

  const CtlOptions& options_;
  Client& client_;
  const std::chrono::nanoseconds interval_;
  const bool colors_;
  std::optional<Sample> before_;
  TopRates rates_;
  std::string error_;  // why the last look failed
};

}  // namespace

int RunTop(const CtlOptions& options, Client& client) { return Top(options, client).Run(); }

}  // namespace glintfs::ctl
