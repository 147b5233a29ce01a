// glintctl cache: choose images, ask for them, then perhaps wait.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <optional>

#include "control/ctl/command_list.h"
#include "control/ctl/exit_code.h"
#include "control/ctl/names.h"
#include "control/ctl/progress_board.h"
#include "control/ctl/report.h"
#include "control/ctl/terminal.h"
#include "control/ctl/wait.h"

namespace glintfs::ctl {
namespace {

// Who looks on wants to see it; a script goes on.
bool ShallWait(const CtlOptions& options) {
  if (options.wait || options.background) return options.wait;
  return ::isatty(STDERR_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1 && !options.quiet && !options.json;
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
    if (!wait) results.Done(at, options.now ? "will be cached next" : "will be cached");
  }
  board.Clear();
  if (wait && !asked.empty()) {
    CatchInterrupts();
    WaitUntilCached(options, client, results, asked, *baseline, deadline);
  }
  const int failed = results.Finish();
  return failed != kExitOk ? failed : code;
}

}  // namespace glintfs::ctl
