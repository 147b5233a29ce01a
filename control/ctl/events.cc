// glintctl events. Asks again and again for what came after the last event it has. A daemon that was restarted counts from 1
// again: it shows as a last number below ours, or as an uptime shorter than the time since its last answer.
#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <nlohmann/json.hpp>

#include "control/ctl/answer.h"
#include "control/ctl/command_list.h"
#include "control/ctl/exit_code.h"
#include "control/ctl/names.h"
#include "control/ctl/report.h"
#include "control/ctl/table.h"
#include "control/ctl/terminal.h"
#include "fs/base/clock.h"
#include "fs/base/size_text.h"

namespace glintfs::ctl {
namespace {

using nlohmann::json;
using SteadyClock = std::chrono::steady_clock;

constexpr auto kPoll = std::chrono::milliseconds(300);
constexpr size_t kDefaultTail = 10;

Color ColorOf(const std::string& event) {
  if (event == "error" || event == "invalid" || event == "source-away") return Color::kRed;
  if (event == "damaged" || event == "evicted") return Color::kYellow;
  if (event == "filled" || event == "verified" || event == "repaired" || event == "source-back") return Color::kGreen;
  return Color::kDim;
}

std::string LocalTime(double seconds) {
  const auto whole = static_cast<time_t>(seconds);
  tm parts{};
  ::localtime_r(&whole, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return text;
}

std::string EventText(const json& event, bool colors) {
  const std::string kind = Text(event, "event");
  std::string line = LocalTime(Real(event, "time")) + "  " + Colored(fmt::format("{:<11}", kind), ColorOf(kind), colors);
  const auto add = [&line](const std::string& text) {
    if (!text.empty()) line += "  " + Printable(text);
  };
  add(Text(event, "name"));
  if (Count(event, "bytes") > 0) add(Size(event, "bytes"));
  add(Text(event, "text"));
  return line + "\n";
}

class Follower {
 public:
  Follower(const CtlOptions& options, Client& client)
      : options_(options), client_(client), colors_(UseColors(options.color, STDOUT_FILENO)),
        globs_(options.names.begin(), options.names.end()) {}

  int Run() {
    if (auto code = Begin()) return *code;
    if (!options_.follow) return kExitOk;
    for (;;) {
      Pause(kPoll);
      if (Next() && std::ferror(stdout) != 0) return kExitFailed;
    }
  }

 private:
  Result<json> Page() { return Get(client_, fmt::format("/v1/events?after={}", after_), &status_); }

  bool Wanted(const json& event) const {
    const std::string kind = Text(event, "event");
    if (!options_.types.empty() && std::find(options_.types.begin(), options_.types.end(), kind) == options_.types.end()) return false;
    const std::string name = Text(event, "name");
    if (globs_.empty() || std::find(options_.names.begin(), options_.names.end(), name) != options_.names.end()) return true;
    return std::any_of(globs_.begin(), globs_.end(), [&](const Glob& glob) { return glob.Matches(name); });
  }

  void Show(const json& event) const {
    if (options_.json) return PrintJsonLine(event);
    Print(EventText(event, colors_));
    std::fflush(stdout);
  }

  // Something about the stream itself: among the events with --json, else on standard error.
  void Note(const std::string& event, const std::string& text, uint64_t lost = 0) const {
    if (!options_.json) return PrintFailure("", text);
    const double now = std::chrono::duration<double>(Clock::System().WallNow()).count();
    json note = {{"event", event}, {"time", now}, {"text", text}};
    if (lost > 0) note["lost"] = lost;
    PrintJsonLine(note);
  }

  // Shows what is kept, as far as it is wanted; an exit code when that fails.
  std::optional<int> Begin() {
    const size_t most = options_.since_start ? SIZE_MAX : options_.tail.value_or(options_.follow ? kDefaultTail : SIZE_MAX);
    std::deque<json> tail;
    for (;;) {
      const auto page = Page();
      if (!page) return GetFailed(options_, client_, page.error(), status_);
      answered_ = SteadyClock::now();
      if (after_ == 0 && options_.since_start && Count(*page, "lost") > 0) NoteLost(Count(*page, "lost"));
      const json& events = Part(*page, "events");
      for (const json& event : events) {
        after_ = std::max(after_, Count(event, "sequence"));
        if (!Wanted(event)) continue;
        tail.push_back(event);
        if (tail.size() > most) tail.pop_front();
      }
      if (events.empty() || after_ >= Count(*page, "last")) break;
    }
    for (const json& event : tail) Show(event);
    return std::nullopt;
  }

  void NoteLost(uint64_t lost) const { Note("lost", Counted(lost, "event is", "events are") + " no longer kept", lost); }

  // True when it got an answer.
  bool Next() {
    if (away_ && !CameBack()) return false;
    const auto page = Page();
    if (!page) {
      if (!away_) Note("daemon-away", fmt::format("{}; waiting for it to come back", page.error().message));
      away_ = true;
      return false;
    }
    if (Count(*page, "last") < after_) {
      Restarted();
      return Next();
    }
    answered_ = SteadyClock::now();
    if (Count(*page, "lost") > 0) NoteLost(Count(*page, "lost"));
    for (const json& event : Part(*page, "events")) {
      after_ = std::max(after_, Count(event, "sequence"));
      if (Wanted(event)) Show(event);
    }
    return true;
  }

  bool CameBack() {
    const auto status = Get(client_, "/v1/status");
    if (!status) return false;
    away_ = false;
    const double silence = std::chrono::duration<double>(SteadyClock::now() - answered_).count();
    if (Real(*status, "uptime_seconds") < silence) {
      Restarted();
    } else {
      Note("daemon-back", "the daemon answers again");
    }
    return true;
  }

  void Restarted() {
    after_ = 0;
    Note("daemon-restarted", "the daemon was restarted: what follows is since then");
  }

  const CtlOptions& options_;
  Client& client_;
  const bool colors_;
  const std::vector<Glob> globs_;  // of options.names, which may be plain names too
  uint64_t after_ = 0;
  int status_ = 0;
  bool away_ = false;
  SteadyClock::time_point answered_{};
};

}  // namespace

int RunEvents(const CtlOptions& options, Client& client) { return Follower(options, client).Run(); }

}  // namespace glintfs::ctl
