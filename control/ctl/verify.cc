// glintctl verify: has images read again and compared, then waits for what comes out.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "control/ctl/answer.h"
#include "control/ctl/command_list.h"
#include "control/ctl/exit_code.h"
#include "control/ctl/progress_board.h"
#include "control/ctl/report.h"
#include "control/ctl/table.h"
#include "control/ctl/terminal.h"
#include "control/ctl/wait.h"
#include "fs/base/percent.h"
#include "fs/base/size_text.h"

namespace glintfs::ctl {
namespace {

using nlohmann::json;
using SteadyClock = std::chrono::steady_clock;

constexpr auto kFirstPoll = std::chrono::milliseconds(10);
constexpr auto kLongestPoll = std::chrono::milliseconds(500);
constexpr auto kSilence = std::chrono::seconds(2);  // a daemon that has not answered for so long hangs
constexpr size_t kFew = 16;  // so many are asked for one by one

struct Item {
  size_t place;
  std::string name;
  std::string href;
  bool settled = false;
  bool running = false;
  uint64_t checked = 0, bytes = 0;
};

class Verification {
 public:
  Verification(const CtlOptions& options, Client& client) : options_(options), client_(client), results_(options, client), board_(options.quiet) {}

  int Run() {
    if (options_.timeout) client_.SetDeadline(SteadyClock::now() + *options_.timeout);
    int code = kExitOk;
    if (!(options_.all ? AskAll(code) : AskEach(code))) return code;
    if (!options_.background) Wait();
    if (options_.background)
      for (const Item& item : items_) results_.Done(item.place, "will be verified");
    return results_.Finish();
  }

 private:
  void Add(const std::string& name, const std::string& href) {
    Item item;
    item.place = results_.Add(name);
    item.name = name;
    item.href = href;
    items_.push_back(std::move(item));
  }

  bool AskEach(int& code) {
    const auto names = NamesToActOn(options_, client_, code);
    if (!names) return false;
    for (const std::string& name : *names) {
      Add(name, "/v1/images/" + PercentEncode(name));
      if (!results_.Send(client_, items_.back().place, "POST", "/v1/scrub/")) items_.pop_back();
    }
    return true;
  }

  bool AskAll(int& code) {
    Ask(options_, client_, "POST", "/v1/scrub", code);
    if (code != kExitOk) return false;
    const json images = Ask(options_, client_, "GET", "/v1/images", code);
    if (code != kExitOk) return false;
    for (const json& image : Part(images, "images")) {
      const std::string state = Text(Part(image, "scrub"), "state");
      if (state != "never" && !state.empty()) Add(ExactName(image), Text(image, "href"));
    }
    return true;
  }

  void Wait() {
    CatchInterrupts();
    open_ = items_.size();
    const auto start = SteadyClock::now();
    auto answered = start;
    while (open_ > 0) {
      const auto looked = Look();
      if (looked) answered = SteadyClock::now();
      const bool cut_off = client_.DeadlinePassed() && SteadyClock::now() - answered < kSilence;  // an answer that was to come
      if (!looked && !cut_off && looked.error().code == Errc::kTimedOut) {
        GiveUp(kExitInterrupted, "not known what came out: " + looked.error().message, Advisor(options_, client_).For(looked.error()));
      } else if (!looked && !cut_off && looked.error().code != Errc::kCancelled) {
        GiveUp(looked.error().code == Errc::kIo ? kExitFailed : ExitCodeFor(looked.error()), looked.error().message,
               "Start the daemon again, then glintctl verify");
      } else if (open_ > 0 && Interrupted()) {
        GiveUp(kExitInterrupted, "stopped waiting; the daemon goes on verifying it", "What came out: glintctl show");
      } else if (open_ > 0 && client_.DeadlinePassed()) {
        GiveUp(kExitInterrupted, "not verified in time; the daemon goes on", "What came out: glintctl show");
      }
      if (open_ == 0) break;
      Show();
      Pause(std::clamp<std::chrono::nanoseconds>((SteadyClock::now() - start) / 8, kFirstPoll, kLongestPoll));
    }
    board_.Clear();
    Summary();
  }

  Result<void> Look() {
    std::unordered_map<std::string, json> all;
    const bool list = open_ > kFew;
    if (list) {
      GLINTFS_ASSIGN(const json images, Get(client_, "/v1/images"));
      for (const json& image : Part(images, "images")) all.emplace(Text(image, "href"), image);
    }
    for (Item& item : items_) {
      if (item.settled) continue;
      json image;
      if (list) {
        if (const auto it = all.find(item.href); it != all.end()) image = it->second;
      } else {
        int status = 0;
        auto answer = Get(client_, item.href, &status);
        if (!answer && status != 404) return answer.error();
        if (answer) image = *answer;
      }
      Judge(item, image);
    }
    return {};
  }

  void Judge(Item& item, const json& image) {
    const json& scrub = Part(image, "scrub");
    const std::string state = Text(scrub, "state");
    item.checked = Count(scrub, "checked_bytes");
    item.bytes = Count(image, "cached_bytes");
    item.running = state == "running";
    if (state == "waiting" || state == "running") return;
    board_.Clear();
    item.settled = true;
    item.running = false;
    --open_;
    const uint64_t bad = Count(scrub, "bad_chunks");
    const json more = {{"scrub", scrub}};
    if (state == "good") {
      results_.Done(item.place, Text(image, "state") == "partial" ? "good, as far as it is cached" : "good", more);
    } else if (state == "repaired") {
      ++repaired_;
      results_.Done(item.place, "repaired, " + Counted(bad, "bad chunk"), more);
    } else if (image.is_null()) {
      ++failed_;
      results_.Failed(item.place, kExitNotFound, "it was removed from the cache meanwhile", "glintctl events --no-follow tells why");
    } else if (state == "failed") {
      ++failed_;
      const std::string error = Text(scrub, "error");
      results_.Failed(item.place, kExitFailed, "verification failed: " + (error.empty() ? "no reason given" : error), AdviceFor(item, image),
                      more);
    } else {  // "never": it has forgotten
      ++failed_;
      results_.Failed(item.place, kExitFailed, "the daemon was restarted before it was verified", "Ask again: glintctl verify");
    }
  }

  // What is good of an image is worth more than nothing: it is only given up for a wrong checksum.
  std::string AdviceFor(const Item& item, const json& image) {
    if (Text(image, "state") == "invalid") return AdviceForWrongChecksum(item.name);
    if (Count(Part(image, "scrub"), "bad_chunks") == 0) return "glintctl doctor looks for the reason";
    const auto status = Get(client_, "/v1/status");
    if (status && !Flag(*status, "source_reachable"))
      return "Nothing to do: it is repaired when the source answers again, which glintctl events tells";
    if (Count(image, "open_count") > 0) {
      const std::string mountpoint = status ? Text(*status, "mountpoint") : "";
      return "It is repaired once nobody has it open" +
             (mountpoint.empty() ? "" : fmt::format("; who has: lsof '{}/{}'", mountpoint, Printable(item.name)));
    }
    return "It is tried again by itself; glintctl events tells when it is repaired";
  }

  void GiveUp(int code, const std::string& message, const std::string& next_step) {
    board_.Clear();
    for (Item& item : items_) {
      if (!item.settled) results_.Failed(item.place, code, message, next_step);
      item.settled = true;
    }
    given_up_ = open_;
    open_ = 0;
  }

  void Show() {
    std::vector<Progress> running;
    Progress total{"total", "", 0, 0, 0, "", false};
    for (const Item& item : items_) {
      total.done += item.settled ? item.bytes : item.checked;
      total.total += item.bytes;
      if (item.running || (items_.size() == 1 && !item.settled))
        running.push_back({item.name, item.running ? "" : "waiting", item.checked, item.bytes, 0, "", false});
    }
    if (items_.size() == 1) return board_.Show(running, std::nullopt);
    meter_.Add(SteadyClock::now().time_since_epoch(), total.done);
    total.rate = meter_.BytesPerSecond();
    total.count = fmt::format("{} of {} images", items_.size() - open_, items_.size());
    if (failed_ > 0) total.count += fmt::format(", {} failed", failed_);
    board_.Show(running, total);
  }

  void Summary() const {
    if (options_.quiet || items_.size() < 2) return;
    fmt::print(stderr, "{} images: {} good, {} repaired, {} failed{}\n", items_.size(),
               items_.size() - repaired_ - failed_ - given_up_, repaired_, failed_,
               given_up_ > 0 ? fmt::format(", {} not yet", given_up_) : "");
  }

  const CtlOptions& options_;
  Client& client_;
  Results results_;
  ProgressBoard board_;
  std::vector<Item> items_;
  size_t open_ = 0, repaired_ = 0, failed_ = 0, given_up_ = 0;
  RateMeter meter_;
};

}  // namespace

int RunVerify(const CtlOptions& options, Client& client) { return Verification(options, client).Run(); }

}  // namespace glintfs::ctl
