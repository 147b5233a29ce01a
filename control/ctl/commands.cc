#include "control/ctl/commands.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>

#include "control/ctl/answer.h"
#include "control/ctl/command_list.h"
#include "control/ctl/exit_code.h"
#include "control/ctl/render.h"
#include "control/ctl/report.h"
#include "control/ctl/table.h"
#include "control/ctl/terminal.h"
#include "fs/base/clock.h"
#include "fs/base/percent.h"

namespace glintfs::ctl {
namespace {

using nlohmann::json;

Nanos WallNow() { return Clock::System().WallNow(); }

// ---- Commands that show what one request answers.

using TextOf = std::string (*)(const json&);

int ShowAnswer(const CtlOptions& options, Client& client, const std::string& verb, const std::string& target,
               TextOf text) {
  int code = kExitOk;
  const json answer = Ask(options, client, verb, target, code);
  if (code != kExitOk) return code;
  if (options.json) {
    PrintJson(answer);
  } else {
    Print(text(answer));
  }
  return kExitOk;
}

// ---- Others

int SendClear(const CtlOptions& options, Client& client, const std::string& target, std::string_view done) {
  const auto reply = client.Send("DELETE", "/v2/cache", {"x-image-cache-clear-target: " + target});
  if (!reply) return SendFailed(options, client, reply.error());
  if (!reply->ok()) return ReplyFailed(options, client, "", *reply);
  if (options.json) {
    PrintJson({{"cleared", target}});
  } else if (!options.quiet) {
    fmt::print("{}\n", done);
  }
  return kExitOk;
}

int Queue(const CtlOptions& options, Client& client) {
  if (options.clear || options.queue_action == "clear") return SendClear(options, client, "queue", "The queue is empty now.");
  return ShowAnswer(options, client, "GET", "/v1/queue", [](const json& queue) { return QueueText(queue, WallNow(), KnownColumns(STDOUT_FILENO)); });
}

int Prune(const CtlOptions& options, Client& client) {
  std::string target = std::string("/v2/cache/prune?dry_run=") + (options.dry_run ? "true" : "false");
  if (options.prune_to) target += fmt::format("&to={}", *options.prune_to);
  return ShowAnswer(options, client, "POST", target,
                    [](const json& answer) { return RemovedText(answer, answer.value("dry_run", false)); });
}

int Clean(const CtlOptions& options, Client& client) {
  return ShowAnswer(options, client, "POST", "/v2/cache/clean?report=1",
                    [](const json& answer) { return RemovedText(answer, false); });
}

int Status(const CtlOptions& options, Client& client) {
  return ShowAnswer(options, client, "GET", "/v1/status", StatusText);
}

bool HasState(const json& image, const std::string& state) {
  if (state == "pinned" || state == "filling") return Flag(image, state.c_str());
  if (state == "open") return Count(image, "open_count") > 0;
  return Text(image, "state") == state;
}

// By name as the daemon has them, or by a number, the largest first.
void SortBy(json& images, const std::string& key) {
  const char* const number = key == "size" ? "size" : key == "disk" ? "disk_bytes" : key == "hits" ? "hits" : key == "read" ? "last_access" : nullptr;
  if (number == nullptr) return;
  std::stable_sort(images.begin(), images.end(), [&](const json& a, const json& b) { return Real(a, number) > Real(b, number); });
}

int List(const CtlOptions& options, Client& client) {
  int code = kExitOk;
  const json answer = Ask(options, client, "GET", "/v1/images", code);
  if (code != kExitOk) return code;
  const auto& states = options.states;
  json images = json::array();
  for (const json& image : Part(answer, "images"))
    if (states.empty() || std::any_of(states.begin(), states.end(), [&](const std::string& state) { return HasState(image, state); }))
      images.push_back(image);
  SortBy(images, options.sort);
  if (options.json) {
    PrintJson({{"images", images}});
  } else {
    Print(ImagesText({{"images", images}}, WallNow(), KnownColumns(STDOUT_FILENO)));
  }
  return kExitOk;
}

// A pin may be there before anything of its image is: such an image is absent.
int Pins(const CtlOptions& options, Client& client) {
  int code = kExitOk;
  const json pins = Ask(options, client, "GET", "/v1/pins", code);
  if (code != kExitOk) return code;
  const json answer = Ask(options, client, "GET", "/v1/images", code);
  if (code != kExitOk) return code;
  json images = json::array();
  std::set<std::string> known;
  for (const json& image : Part(answer, "images")) {
    if (!Flag(image, "pinned")) continue;
    known.insert(Text(image, "href"));
    images.push_back(image);
  }
  const json &names = Part(pins, "pins"), &hrefs = Part(pins, "hrefs");
  for (size_t i = 0; i < std::min(names.size(), hrefs.size()); ++i)
    if (hrefs[i].is_string() && !known.contains(hrefs[i].get<std::string>()))
      images.push_back({{"name", names[i]}, {"href", hrefs[i]}, {"state", "absent"}, {"pinned", true}});
  std::stable_sort(images.begin(), images.end(), [](const json& a, const json& b) { return Text(a, "name") < Text(b, "name"); });
  if (options.json) {
    PrintJson({{"images", images}});
  } else {
    Print(ImagesText({{"images", images}}, WallNow(), KnownColumns(STDOUT_FILENO)));
  }
  return kExitOk;
}

int Show(const CtlOptions& options, Client& client) {
  json images = json::array();
  int code = kExitOk;
  Advisor advisor(options, client);
  for (const std::string& name : options.names) {
    const auto reply = client.Send("GET", "/v1/images/" + PercentEncode(name));
    if (!reply) return SendFailed(options, client, reply.error());
    if (reply->ok()) {
      images.push_back(json::parse(reply->body, nullptr, false));
      continue;
    }
    PrintFailure(name.empty() ? "''" : name, reply->ErrorMessage(), advisor.For(reply->status, reply->ErrorMessage(), name));
    if (code == kExitOk) code = ExitCodeFor(reply->status);
  }
  if (options.json) {
    PrintJson({{"images", images}});
    return code;
  }
  for (size_t i = 0; i < images.size(); ++i) {
    if (i > 0) Print("\n");
    Print(ImageText(images[i], WallNow()));
  }
  return code;
}

int Doctor(const CtlOptions& options, Client& client) { return RunDoctor(options, &client, {}); }

constexpr std::string_view kInterrupted = "\nglintctl: interrupted before the daemon answered. How it is: glintctl doctor\n";
constexpr std::string_view kInterruptedCaching =
    "\nglintctl: interrupted while asking; what was asked for so far goes on. How far it is: glintctl queue\n";
constexpr std::string_view kInterruptedVerifying =
    "\nglintctl: interrupted while asking; what was asked for so far goes on. What came out: glintctl show\n";

struct Command {
  std::string_view name;
  int (*run)(const CtlOptions&, Client&);
  std::string_view interrupted = kInterrupted;  // what is said on Ctrl-C, unless the command catches it
  int interrupted_code = kExitInterrupted;
};
constexpr Command kCommands[] = {{"status", Status}, {"list", List},       {"show", Show},     {"queue", Queue},       {"top", RunTop, "", kExitOk},
                                 {"events", RunEvents, "", kExitOk}, {"cache", RunCache, kInterruptedCaching},  {"cancel", RunCancel}, {"verify", RunVerify, kInterruptedVerifying},  {"evict", RunEvict},
                                 {"prune", Prune},   {"clean", Clean},     {"pin", RunPin},       {"unpin", RunUnpin},       {"pins", Pins},
                                 {"get", RunGet},    {"set", RunSet},      {"doctor", Doctor}};

}  // namespace

void PrintError(const CtlOptions& options, const Error& error) {
  PrintFailure("", error.message);
  if (options.json) PrintJson({{"error", {{"code", nullptr}, {"message", error.message}}}});
}

int RunCommand(const CtlOptions& options, Client& client) {
  for (const Command& command : kCommands) {
    if (command.name != options.command) continue;
    ExitOnInterrupt(command.interrupted, command.interrupted_code);
    return command.run(options, client);
  }
  return kExitUsage;
}

}  // namespace glintfs::ctl
