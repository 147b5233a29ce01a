// glintctl cache: choose images, ask for them, then perhaps wait.
#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_map>

#include "control/ctl/answer.h"
#include "control/ctl/command_list.h"
#include "control/ctl/exit_code.h"
#include "control/ctl/names.h"
#include "control/ctl/progress_board.h"
#include "control/ctl/report.h"
#include "control/ctl/terminal.h"
#include "control/ctl/wait.h"
#include "fs/base/percent.h"

namespace glintfs::ctl {
namespace {

using nlohmann::json;

constexpr size_t kFew = 16;  // so many images are looked at one by one

std::string WhenNotListed(Client& client) {
  const auto status = Get(client, "/v1/status");
  if (status && Flag(*status, "source_reachable")) return "If it has no listing, give whole names; else glintctl doctor looks for the reason";
  return "glintctl status tells since when it is away; ask for all again once it is back";
}

// The images that the command line names, in order and each once. Nothing, with `code` set, when they cannot be found out; `code`
// is set, too, when only some could.
std::optional<std::vector<std::string>> Choose(const CtlOptions& options, Client& client, int& code) {
  std::vector<std::string> names = options.names;
  if (!options.from_file.empty()) {
    const auto listed = ReadNames(options.from_file);
    if (!listed) {
      PrintFailure("--from-file", listed.error().message);
      code = kExitUsage;
      return std::nullopt;
    }
    names.insert(names.end(), listed->begin(), listed->end());
    if (names.empty() && options.globs.empty()) {
      PrintFailure("--from-file", options.from_file == "-" ? "no names came on standard input" : "there are no names in " + options.from_file,
                   "One per line; lines that begin with # do not count");
      code = kExitUsage;
      return std::nullopt;
    }
  }
  std::vector<Glob> globs(options.globs.begin(), options.globs.end());
  if (options.all) globs.emplace_back("**");
  if (!globs.empty()) {
    int status = 0;
    const auto walk = WalkSource(client, globs, {}, &status);
    if (!walk) {
      code = walk.error().code == Errc::kInvalid ? (PrintFailure("", walk.error().message), kExitUsage)
                                                 : GetFailed(options, client, walk.error(), status);
      return std::nullopt;
    }
    for (const auto& [directory, why] : walk->failures) {
      PrintFailure(directory, "cannot be listed: " + why);
      code = kExitFailed;
    }
    if (!walk->complete) {
      const size_t known = walk->names.size();
      PrintFailure("", known == 0 ? "the source cannot be listed, and no name that is known here matches"
                                  : fmt::format("the source cannot be listed; only the {} here {} taken", Counted(known, "name that is known", "names that are known"),
                                                known == 1 ? "was" : "were"),
                   WhenNotListed(client));
      code = kExitFailed;
    }
    if (walk->names.empty() && names.empty() && code == kExitOk) {
      PrintFailure("", "no image of the source matches", "glintctl cache --help tells how a GLOB is written");
      code = kExitNotFound;
      return std::nullopt;
    }
    names.insert(names.end(), walk->names.begin(), walk->names.end());
  }
  RemoveDuplicates(names);
  return names;
}

// What is there of images that were asked for: asked one by one, or of many in one answer.
class Known {
 public:
  Known(Client& client, bool few) : client_(client), few_(few) {}

  json Of(const std::string& name) {
    const std::string href = "/v1/images/" + PercentEncode(name);
    if (few_) {
      const auto image = Get(client_, href);
      return image ? *image : json();
    }
    if (!all_) LookAtAll();
    const auto it = all_->find(href);
    return it == all_->end() ? json() : it->second;
  }

 private:
  void LookAtAll() {
    all_.emplace();
    if (const auto images = Get(client_, "/v1/images"))
      for (const json& image : Part(*images, "images"))
        if (!IsSuperseded(image)) all_->emplace(Text(image, "href"), image);
  }

  Client& client_;
  const bool few_;
  std::optional<std::unordered_map<std::string, json>> all_;
};

// For who does not wait.
void TellAsked(const CtlOptions& options, Results& results, size_t at, const std::string& name, const json& known) {
  const std::string state = Text(known, "state");
  switch (JudgeWait(json(), known)) {
    case WaitState::kCached:
    case WaitState::kVerifying:
      return results.Done(at, state == "verified" ? "is cached already, and verified" : "is cached already");
    case WaitState::kInvalid:
      return results.Failed(at, kExitFailed, "not cached: wrong checksum: " + Text(known, "error"), AdviceForWrongChecksum(name));
    case WaitState::kGoesOn:
    case WaitState::kGone: return results.Done(at, options.now ? "will be cached next" : "will be cached");
  }
}

}  // namespace

int RunCache(const CtlOptions& options, Client& client) {
  std::optional<std::chrono::steady_clock::time_point> deadline;
  if (options.timeout) {
    deadline = std::chrono::steady_clock::now() + *options.timeout;
    client.SetDeadline(*deadline);
  }
  int code = kExitOk;
  const auto names = Choose(options, client, code);
  if (!names) return code;
  const bool wait = ShallWait(options);
  const Result<Baseline> baseline = wait ? CachedNow(client) : Result<Baseline>(Baseline());
  if (!baseline) return SendFailed(options, client, baseline.error());
  Results results(options, client);
  for (const std::string& name : *names) results.Add(name);
  std::vector<std::pair<size_t, std::string>> asked;
  ProgressBoard board(options.quiet || !wait || names->size() < 2);
  const bool few = names->size() <= kFew;
  Known known(client, few);
  for (size_t i = 0; i < names->size(); ++i) {
    const size_t at = options.now ? names->size() - 1 - i : i;  // each overtakes those before: the first comes last
    if (board.terminal()) {
      Progress progress;
      progress.name = "asking";
      progress.count = fmt::format("{} of {}", i, names->size());
      progress.note = (*names)[at];
      board.Show({}, progress);
    }
    if (client.DeadlinePassed()) {
      results.Failed(at, kExitInterrupted, "--timeout passed before it was asked for", "How far the others are: glintctl queue");
      continue;
    }
    if (!results.Send(client, at, "PUT", "/v1/queue/", options.now ? "?now=true" : "")) continue;
    asked.emplace_back(at, (*names)[at]);
    if (!wait && few) TellAsked(options, results, at, (*names)[at], known.Of((*names)[at]));
  }
  board.Clear();
  if (!wait && !few)
    for (const auto& [at, name] : asked) TellAsked(options, results, at, name, known.Of(name));
  if (wait && !asked.empty()) {
    CatchInterrupts();
    WaitUntilCached(options, client, results, asked, *baseline, deadline);
  }
  const int failed = results.Finish();
  return failed != kExitOk ? failed : code;
}

}  // namespace glintfs::ctl
