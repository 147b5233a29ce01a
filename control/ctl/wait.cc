#include "control/ctl/wait.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "control/ctl/progress.h"
#include "control/ctl/table.h"
#include "fs/base/percent.h"
#include "fs/base/size_text.h"

namespace glintfs::ctl {
namespace {

using nlohmann::json;
using SteadyClock = std::chrono::steady_clock;

// Looks come an eighth of the time waited apart, up to these: a small image is not waited for much longer than it takes.
constexpr auto kFirstPoll = std::chrono::milliseconds(10);
constexpr auto kPollTerminal = std::chrono::milliseconds(250);
constexpr auto kPollPlain = std::chrono::milliseconds(500);
constexpr auto kPlainInterval = std::chrono::seconds(5);
// An image can be between the queue and its first chunk for a moment; gone is what stays gone.
constexpr auto kGoneFor = std::chrono::seconds(1);

volatile sig_atomic_t interrupted = 0;

void Pause(std::chrono::nanoseconds span) {
  timespec time{};
  time.tv_nsec = static_cast<long>(span.count());
  ::nanosleep(&time, nullptr);  // a signal ends it early, as it should
}

size_t TerminalWidth() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

// Shows progress on standard error.
class Display {
 public:
  explicit Display(bool quiet) : quiet_(quiet), terminal_(::isatty(STDERR_FILENO) == 1) {}
  ~Display() { EndLine(); }

  bool terminal() const { return terminal_; }

  void Show(const Progress& progress) {
    if (quiet_) return;
    if (terminal_) {
      fmt::print(stderr, "\r\033[K{}", ProgressBar(progress, TerminalWidth() - 1));
      drawn_ = true;
      return;
    }
    const auto now = SteadyClock::now();
    if (now < next_) return;
    next_ = now + kPlainInterval;
    fmt::print(stderr, "{}: {}\n", Printable(progress.name), ProgressText(progress));
  }
  void EndLine() {
    if (drawn_) fmt::print(stderr, "\r\033[K");
    drawn_ = false;
  }

 private:
  const bool quiet_;
  const bool terminal_;
  bool drawn_ = false;
  SteadyClock::time_point next_{};  // when a plain line is due
};

struct Look {
  json queued;  // entry of the queue, or null
  json image;   // status of the image, or null
};

Result<Look> LookAt(Client& client, const std::string& name) {
  Look look;
  GLINTFS_ASSIGN(const Reply queue, client.Send("GET", "/v1/queue"));
  const std::string href = "/v1/images/" + PercentEncode(name);  // tells names apart that are not UTF-8
  GLINTFS_ASSIGN(const Reply image, client.Send("GET", href));
  if (!queue.ok()) return Error{Errc::kIo, queue.ErrorMessage()};
  if (!image.ok() && image.status != 404) return Error{Errc::kIo, image.ErrorMessage()};
  if (image.ok()) look.image = json::parse(image.body, nullptr, false);
  const json entries = json::parse(queue.body, nullptr, false);
  if (!entries.is_object() || !entries.contains("queue")) return Error{Errc::kIo, "the daemon's answer makes no sense"};
  for (const json& entry : entries["queue"]) {
    if (entry.value("href", "") == href) look.queued = entry;
  }
  return look;
}

Progress MakeProgress(const std::string& name, const Look& look, RateMeter& meter) {
  Progress progress{name, "", 0, 0, 0};
  if (look.image.is_object()) {
    progress.done = look.image.value("cached_bytes", uint64_t{0});
    progress.total = look.image.value("size", uint64_t{0});
    meter.Add(SteadyClock::now().time_since_epoch(), progress.done);
    progress.rate = meter.BytesPerSecond();
  }
  if (look.queued.is_object() && !look.queued.value("running", false)) {
    const std::string error = look.queued.value("error", "");
    progress.note = error.empty() ? "queued" : "will be tried again: " + Printable(error);
  }
  return progress;
}

std::string Reason(const json& image) {
  const std::string error = image.is_object() ? image.value("error", "") : "";
  return error.empty() ? "it left the queue without being cached" : error;
}

}  // namespace

void CatchInterrupts() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = 1; };
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);  // without SA_RESTART: the pause ends
  ::sigaction(SIGTERM, &action, nullptr);
}

WaitState JudgeWait(const json& queued, const json& image) {
  const std::string state = image.is_object() ? image.value("state", "") : "";
  if (state == "complete" || state == "verified") return WaitState::kCached;
  if (queued.is_object()) return WaitState::kGoesOn;
  return image.is_object() && image.value("filling", false) ? WaitState::kGoesOn : WaitState::kGone;
}

WaitOutcome WaitUntilCached(Client& client, const std::string& name, std::optional<SteadyClock::time_point> deadline,
                            bool quiet) {
  Display display(quiet);
  RateMeter meter;
  const auto start = SteadyClock::now();
  auto seen = start;
  for (;;) {
    const auto look = LookAt(client, name);
    if (!look) return {look.error().code == Errc::kIo ? kExitFailed : ExitCodeFor(look.error()), look.error().message};
    const WaitState state = JudgeWait(look->queued, look->image);
    if (state == WaitState::kCached) return {};
    if (state != WaitState::kGone) seen = SteadyClock::now();
    if (SteadyClock::now() - seen >= kGoneFor) return {kExitFailed, "not cached: " + Reason(look->image)};
    display.Show(MakeProgress(name, *look, meter));
    if (interrupted != 0)
      return {kExitInterrupted, "stopped waiting; the daemon goes on caching it (see glintctl queue)"};
    if (deadline && SteadyClock::now() >= *deadline) {
      return {kExitInterrupted, "not cached in time; the daemon goes on caching it (see glintctl queue)"};
    }
    Pause(std::clamp<std::chrono::nanoseconds>((SteadyClock::now() - start) / 8, kFirstPoll,
                                               display.terminal() ? kPollTerminal : kPollPlain));
  }
}

}  // namespace glintfs::ctl
