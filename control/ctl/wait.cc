// One look:
//
//   GET /v1/queue      what still waits, what is being cached on request and how far it is
//   GET /v1/activity   how far the fills in the background of readers are
//   GET /v1/images…    those that are in neither: one by one when they are few, else all in one answer
//
// The longer a look takes the rarer they come, so that a long queue does not keep the daemon busy with telling it.
#include "control/ctl/wait.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

#include "control/ctl/answer.h"
#include "control/ctl/exit_code.h"
#include "control/ctl/progress_board.h"
#include "control/ctl/table.h"
#include "control/ctl/terminal.h"
#include "fs/base/percent.h"
#include "fs/base/size_text.h"

namespace glintfs::ctl {
namespace {

using nlohmann::json;
using SteadyClock = std::chrono::steady_clock;
using Nanos = std::chrono::nanoseconds;

// Looks come an eighth of the time waited apart, up to these: a small image is not waited for much longer than it takes.
constexpr auto kFirstPoll = std::chrono::milliseconds(10);
constexpr auto kPollTerminal = std::chrono::milliseconds(250);
constexpr auto kPollPlain = std::chrono::milliseconds(500);
// Never more than this share of the time is spent in looks.
constexpr int kLookShare = 4;
// An image can be between the queue and its first chunk for a moment; gone is what stays gone.
constexpr auto kGoneFor = std::chrono::seconds(1);
// A daemon that has not answered for so long hangs.
constexpr auto kSilence = std::chrono::seconds(2);
// A source that has not told a checksum for so long is not waited for.
constexpr auto kUnaskedFor = std::chrono::seconds(60);
// So many are asked for one by one; of more the whole list is taken.
constexpr size_t kFew = 16;

struct Item {
  size_t place;
  std::string name;
  std::string href;         // of the name the daemon knows it by, once it told
  bool settled = false;
  bool running = false;
  bool sized = false;       // its size is known
  std::string note;         // why it does not run
  uint64_t size = 0, done = 0;
  std::optional<SteadyClock::time_point> unasked_since;  // it is complete, and its checksum is not known
  SteadyClock::time_point seen;  // when it was last seen to go on
  RateMeter meter;
};

using ByHref = std::unordered_map<std::string, json>;

ByHref IndexByHref(const json& list) {
  ByHref index;
  for (const json& entry : list) {
    json& known = index[Text(entry, "href")];
    if (known.is_null() || IsSuperseded(known)) known = entry;  // of two versions the one that lasts
  }
  return index;
}

const json* Find(const ByHref& index, const std::string& href) {
  const auto it = index.find(href);
  return it == index.end() ? nullptr : &it->second;
}

class Waiting {
 public:
  Waiting(const CtlOptions& options, Client& client, Results& results,
          const std::vector<std::pair<size_t, std::string>>& asked, const Baseline& baseline)
      : options_(options), client_(client), results_(results), board_(options.quiet), baseline_(baseline) {
    for (const auto& [place, name] : asked) {
      Item item;
      item.place = place;
      item.name = name;
      item.href = "/v1/images/" + PercentEncode(name);
      item.seen = start_;
      items_.push_back(std::move(item));
    }
    open_ = items_.size();
  }

  void Run(std::optional<SteadyClock::time_point> deadline) {
    while (open_ > 0) {
      const auto begin = SteadyClock::now();
      const auto looked = Look();
      if (!looked && looked.error().code != Errc::kCancelled) {
        Lost(looked.error());
        break;
      }
      if (looked) answered_ = SteadyClock::now();
      if (open_ == 0) break;
      Show();
      if (Interrupted()) {
        GiveUp(kExitInterrupted, "stopped waiting; the daemon goes on caching it", "How far it is: glintctl queue. To stop it: glintctl cancel");
        break;
      }
      if (deadline && SteadyClock::now() >= *deadline) {
        TimeIsUp();
        break;
      }
      const auto now = SteadyClock::now();
      const Nanos longest = std::max<Nanos>(board_.terminal() ? Nanos(kPollTerminal) : Nanos(kPollPlain), (now - begin) * kLookShare);
      Nanos pause = std::clamp<Nanos>((now - start_) / 8, kFirstPoll, longest);
      if (deadline) pause = std::clamp<Nanos>(*deadline - now, Nanos(0), pause);
      Pause(pause);
    }
    board_.Clear();
    Summary();
  }

 private:
  void TimeIsUp() {
    GiveUp(kExitInterrupted, "not cached in time; the daemon goes on caching it", "How far it is: glintctl queue");
  }

  // The daemon does not answer any more.
  void Lost(const Error& error) {
    if (error.code == Errc::kIo) return GiveUp(kExitFailed, error.message, "");
    // The deadline may cut an answer off that was to come.
    if (client_.DeadlinePassed() && SteadyClock::now() - answered_ < kSilence) return TimeIsUp();
    if (error.code == Errc::kTimedOut)
      return GiveUp(kExitInterrupted, "not known whether it is cached: " + error.message, Advisor(options_, client_).For(error));
    GiveUp(ExitCodeFor(error), error.message, "The queue survives a restart: start the daemon again, then glintctl queue");
  }

  Result<void> Look() {
    GLINTFS_ASSIGN(const json queue, Get(client_, "/v1/queue"));
    const ByHref queued = IndexByHref(Part(queue, "queue"));
    ByHref fills;
    if (open_ > kFew) {
      GLINTFS_ASSIGN(const json activity, Get(client_, "/v1/activity"));
      fills = IndexByHref(Part(activity, "fills"));
    }
    std::vector<Item*> look_at;
    for (Item& item : items_) {
      if (item.settled) continue;
      const json* const entry = Find(queued, item.href);
      const json* const fill = Find(fills, item.href);
      if (open_ > kFew && (entry != nullptr || fill != nullptr)) {
        GoesOn(item, entry, fill != nullptr ? fill : entry, fill != nullptr);
      } else {
        look_at.push_back(&item);
      }
    }
    ByHref all;
    if (look_at.size() > kFew) {
      GLINTFS_ASSIGN(const json images, Get(client_, "/v1/images"));
      all = IndexByHref(Part(images, "images"));
    }
    for (Item* const item : look_at) {
      json image;
      if (look_at.size() > kFew) {
        if (const json* const known = Find(all, item->href)) image = *known;
      } else {
        GLINTFS_ASSIGN(image, ImageOf(*item));
      }
      Judge(*item, Find(queued, item->href), image);
    }
    return {};
  }

  // Null when nothing is known of it.
  Result<json> ImageOf(Item& item) {
    int status = 0;
    auto image = Get(client_, item.href, &status);
    if (status == 404) return json();
    if (!image) return image.error();
    // Asked for by another name (of Glance's by-name/): the queue has it under its own.
    if (const std::string own = Text(*image, "href"); !own.empty()) item.href = own;
    return image;
  }

  void GoesOn(Item& item, const json* entry, const json* progress, bool filling) {
    item.seen = SteadyClock::now();
    item.running = filling || (entry != nullptr && Flag(*entry, "running"));
    item.note.clear();
    if (entry != nullptr && !item.running) {
      const std::string error = Text(*entry, "error");
      item.note = error.empty() ? "queued" : "will be tried again: " + Printable(error);
    }
    // The size of what only waits is in the queue, if anything knows it.
    for (const json* source : {progress, entry}) {
      if (source == nullptr || !Part(*source, "size").is_number()) continue;
      item.size = Count(*source, "size");
      item.sized = true;
      break;
    }
    if (progress == nullptr || item.size == 0) return;
    item.done = Count(*progress, "cached_bytes");
    item.meter.Add(SteadyClock::now().time_since_epoch(), item.done);
  }

  void Judge(Item& item, const json* entry, const json& image) {
    const WaitState state = JudgeWait(entry != nullptr ? *entry : json(), image);
    if (state == WaitState::kCached) {
      item.size = item.done = Count(image, "size");
      item.sized = true;
      Settle(item);
      results_.Done(item.place, "cached");
      return;
    }
    if (state == WaitState::kInvalid) {
      Settle(item);
      ++failed_;
      results_.Failed(item.place, kExitFailed, "not cached: wrong checksum: " + Text(image, "error"), AdviceForWrongChecksum(item.name));
      return;
    }
    if (state == WaitState::kVerifying) return Verifies(item, entry, image);
    if (state == WaitState::kGoesOn)
      return GoesOn(item, entry, image.is_object() ? &image : entry, Flag(image, "filling"));
    if (SteadyClock::now() - item.seen < kGoneFor) return;
    const std::string error = Text(image, "error");
    Settle(item);
    ++failed_;
    results_.Failed(item.place, kExitFailed,
                    "not cached: " + (error.empty() ? "it left the queue without being cached" : error),
                    "More: glintctl events --no-follow; to try again: glintctl cache");
  }

  // A verdict comes of itself once the checksum is known. To learn it, the source may have to be asked, which nobody does for an
  // image that is not in use.
  void Verifies(Item& item, const json* entry, const json& image) {
    GoesOn(item, nullptr, &image, true);
    item.note = "verifying";
    const auto now = SteadyClock::now();
    if (Part(image, "checksum").is_object() || entry != nullptr) {
      item.unasked_since.reset();
    } else if (!item.unasked_since) {
      item.unasked_since = now;
    } else if (now - *item.unasked_since >= kUnaskedFor) {
      Settle(item);
      results_.Done(item.place, "cached, but the source did not tell its checksum");
    }
  }

  void Settle(Item& item) {
    board_.Clear();
    item.settled = true;
    item.running = false;
    --open_;
  }

  void GiveUp(int code, const std::string& message, const std::string& next_step) {
    board_.Clear();
    for (Item& item : items_) {
      if (item.settled) continue;
      results_.Failed(item.place, code, message, next_step);
      ++left_;
    }
  }

  // Bytes that came since the images were asked for.
  uint64_t Gained() const {
    uint64_t gained = 0;
    for (const Item& item : items_) {
      const auto it = baseline_.find(item.href);
      const uint64_t before = it == baseline_.end() ? 0 : it->second;
      if (item.done > before) gained += item.done - before;
    }
    return gained;
  }

  Progress Total() {
    Progress total{"total", "", 0, 0, 0, "", false};
    size_t sized = 0;
    for (const Item& item : items_) {
      if (item.sized || item.settled) ++sized;
      total.done += item.done;
      total.total += item.size;
    }
    total.at_least = sized < items_.size();
    total_meter_.Add(SteadyClock::now().time_since_epoch(), Gained());
    total.rate = total_meter_.BytesPerSecond();
    // While others are cached first, what came before tells nothing of when these are done.
    if (std::none_of(items_.begin(), items_.end(), [](const Item& item) { return item.running && !item.settled; })) {
      total_meter_ = RateMeter();
      total.note = "waiting";
    }
    total.count = fmt::format("{} of {} images", items_.size() - open_ - failed_, items_.size());
    if (failed_ > 0) total.count += fmt::format(", {} failed", failed_);
    return total;
  }

  void Show() {
    std::vector<Progress> running;
    for (const Item& item : items_) {
      if (item.settled || (!item.running && items_.size() > 1)) continue;
      running.push_back({item.name, item.note, item.done, item.size, item.meter.BytesPerSecond(), "", false});
    }
    if (items_.size() == 1) {
      board_.Show(running, std::nullopt);
    } else {
      board_.Show(running, Total());
    }
  }

  void Summary() {
    if (options_.quiet || items_.size() < 2) return;
    const Nanos took = SteadyClock::now() - start_;
    const double seconds = std::max(0.001, std::chrono::duration<double>(took).count());
    std::string text = fmt::format("{} images: {} cached", items_.size(), items_.size() - failed_ - left_);
    if (failed_ > 0) text += fmt::format(", {} failed", failed_);
    if (left_ > 0) text += fmt::format(", {} not yet", left_);
    fmt::print(stderr, "{}; {} in {}, {}/s\n", text, FormatSize(Gained()), FormatDuration(took),
               FormatSize(static_cast<uint64_t>(static_cast<double>(Gained()) / seconds)));
  }

  const CtlOptions& options_;
  Client& client_;
  Results& results_;
  ProgressBoard board_;
  const Baseline& baseline_;
  const SteadyClock::time_point start_ = SteadyClock::now();
  SteadyClock::time_point answered_ = start_;
  std::vector<Item> items_;
  size_t open_ = 0, failed_ = 0, left_ = 0;  // not settled; failed; given up
  RateMeter total_meter_;
};

}  // namespace

Result<Baseline> CachedNow(Client& client) {
  Baseline baseline;
  const auto images = Get(client, "/v1/images");
  if (!images && images.error().code == Errc::kTimedOut) return images.error();
  if (!images) return baseline;
  for (const json& image : Part(*images, "images")) baseline[Text(image, "href")] = Count(image, "cached_bytes");
  return baseline;
}

void WaitUntilCached(const CtlOptions& options, Client& client, Results& results,
                     const std::vector<std::pair<size_t, std::string>>& asked, const Baseline& baseline,
                     std::optional<SteadyClock::time_point> deadline) {
  Waiting(options, client, results, asked, baseline).Run(deadline);
}

WaitState JudgeWait(const json& queued, const json& image) {
  const std::string state = Text(image, "state");
  if (state == "verified") return WaitState::kCached;
  if (state == "complete")
    return Part(image, "checksum").is_object() || Part(image, "checksum_asked") == json(false) ? WaitState::kVerifying : WaitState::kCached;
  if (state == "invalid" && !IsSuperseded(image)) return WaitState::kInvalid;
  if (queued.is_object()) return WaitState::kGoesOn;
  return Flag(image, "filling") ? WaitState::kGoesOn : WaitState::kGone;
}

std::string AdviceForWrongChecksum(const std::string& name) {
  const std::string shown = Printable(name);
  return fmt::format("Compare the image in the store with its checksum there; glintctl evict '{}' and glintctl cache '{}' fetch it anew", shown, shown);
}

}  // namespace glintfs::ctl
