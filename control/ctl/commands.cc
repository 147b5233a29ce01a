#include "control/ctl/commands.h"

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "control/ctl/exit_code.h"
#include "control/ctl/render.h"
#include "control/ctl/table.h"
#include "control/ctl/wait.h"
#include "fs/base/percent.h"
#include "fs/base/clock.h"

namespace glintfs::ctl {
namespace {

using nlohmann::json;

void Print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }
void PrintJson(const json& value) { Print(value.dump(2, ' ', false, json::error_handler_t::replace) + "\n"); }

Nanos WallNow() { return Clock::System().WallNow(); }

void PrintFailure(std::string_view subject, const std::string& message) {
  fmt::print(stderr, "glintctl: {}{}{}\n", Printable(subject), subject.empty() ? "" : ": ", message);
}

// ---- Commands that show what one GET answers.

using TextOf = std::string (*)(const json&);

int ReplyFailed(const CtlOptions& options, std::string_view subject, const Reply& reply) {
  PrintFailure(subject, reply.ErrorMessage());
  if (options.json) PrintJson({{"error", {{"code", reply.status}, {"message", reply.ErrorMessage()}}}});
  return ExitCodeFor(reply.status);
}

int SendFailed(const CtlOptions& options, const Error& error) {
  PrintError(options, error);
  return ExitCodeFor(error);
}

// The body of a good reply as JSON; otherwise prints what is wrong and sets `code`.
json Ask(const CtlOptions& options, Client& client, const std::string& verb, const std::string& target, int& code) {
  const auto reply = client.Send(verb, target);
  code = kExitFailed;
  if (!reply) {
    code = SendFailed(options, reply.error());
    return nullptr;
  }
  if (!reply->ok()) {
    code = ReplyFailed(options, "", *reply);
    return nullptr;
  }
  json body = json::parse(reply->body, nullptr, false);
  if (!body.is_object()) {
    PrintError(options, {Errc::kIo, "the daemon's answer makes no sense"});
    return nullptr;
  }
  code = kExitOk;
  return body;
}

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

// ---- Commands that do one thing to each of several images.

class Results {
 public:
  explicit Results(const CtlOptions& options) : options_(options) {}

  void Done(const std::string& name, std::string_view what) {
    list_.push_back({{"name", name}, {"ok", true}, {"error", nullptr}});
    if (!options_.json && !options_.quiet) fmt::print("{}: {}\n", Printable(name), what);
  }
  void Failed(const std::string& name, int code, const std::string& message) {
    list_.push_back({{"name", name}, {"ok", false}, {"error", message}});
    if (code_ == kExitOk) code_ = code;
    PrintFailure(name, message);
  }
  int Finish() {
    if (options_.json) PrintJson({{"results", list_}});
    return code_;
  }

 private:
  const CtlOptions& options_;
  json list_ = json::array();
  int code_ = kExitOk;  // of the first failure
};

// Sends `verb prefix/{name}`. False when it failed, which is noted.
bool SendFor(Client& client, const std::string& verb, const std::string& prefix, const std::string& name,
             Results& results) {
  const auto reply = client.Send(verb, prefix + PercentEncode(name));
  if (!reply) {
    results.Failed(name, ExitCodeFor(reply.error()), reply.error().message);
  } else if (!reply->ok()) {
    results.Failed(name, ExitCodeFor(reply->status), reply->ErrorMessage());
  }
  return reply && reply->ok();
}

int ForEachName(const CtlOptions& options, Client& client, const std::string& verb, const std::string& prefix,
                std::string_view done) {
  Results results(options);
  for (const std::string& name : options.names) {
    if (SendFor(client, verb, prefix, name, results)) results.Done(name, done);
  }
  return results.Finish();
}

int Cache(const CtlOptions& options, Client& client) {
  if (!options.wait) return ForEachName(options, client, "PUT", "/v2/cache/", "will be cached");
  std::optional<std::chrono::steady_clock::time_point> deadline;
  if (options.timeout) deadline = std::chrono::steady_clock::now() + *options.timeout;
  Results results(options);
  std::vector<std::string> asked;
  for (const std::string& name : options.names) {
    if (SendFor(client, "PUT", "/v2/cache/", name, results)) asked.push_back(name);
  }
  CatchInterrupts();  // not before: what hangs in the asking may be interrupted as usual
  for (const std::string& name : asked) {
    const WaitOutcome outcome = WaitUntilCached(client, name, deadline, options.quiet);
    if (outcome.code == kExitOk) {
      results.Done(name, "cached");
    } else {
      results.Failed(name, outcome.code, outcome.message);
    }
  }
  return results.Finish();
}

int SendClear(const CtlOptions& options, Client& client, const std::string& target, std::string_view done) {
  const auto reply = client.Send("DELETE", "/v2/cache", {"x-image-cache-clear-target: " + target});
  if (!reply) return SendFailed(options, reply.error());
  if (!reply->ok()) return ReplyFailed(options, "", *reply);
  if (options.json) {
    PrintJson({{"cleared", target}});
  } else if (!options.quiet) {
    fmt::print("{}\n", done);
  }
  return kExitOk;
}

int Evict(const CtlOptions& options, Client& client) {
  if (options.all) return SendClear(options, client, "both", "Removed everything that was not in use or pinned.");
  return ForEachName(options, client, "DELETE", "/v2/cache/", "removed");
}

int Queue(const CtlOptions& options, Client& client) {
  if (options.clear) return SendClear(options, client, "queue", "The queue is empty now.");
  return ShowAnswer(options, client, "GET", "/v1/queue", [](const json& queue) { return QueueText(queue, WallNow()); });
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

int List(const CtlOptions& options, Client& client) {
  return ShowAnswer(options, client, "GET", "/v1/images",
                    [](const json& images) { return ImagesText(images, WallNow()); });
}

int Show(const CtlOptions& options, Client& client) {
  json images = json::array();
  int code = kExitOk;
  for (const std::string& name : options.names) {
    const auto reply = client.Send("GET", "/v1/images/" + PercentEncode(name));
    if (!reply) return SendFailed(options, reply.error());
    if (reply->ok()) {
      images.push_back(json::parse(reply->body, nullptr, false));
      continue;
    }
    PrintFailure(name, reply->ErrorMessage());
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

int Pin(const CtlOptions& options, Client& client) {
  return ForEachName(options, client, "PUT", "/v1/pins/", "pinned");
}
int Unpin(const CtlOptions& options, Client& client) {
  return ForEachName(options, client, "DELETE", "/v1/pins/", "no longer pinned");
}

struct Command {
  std::string_view name;
  int (*run)(const CtlOptions&, Client&);
};
constexpr std::array<Command, 10> kCommands = {{{"status", Status},
                                                {"list", List},
                                                {"show", Show},
                                                {"queue", Queue},
                                                {"cache", Cache},
                                                {"evict", Evict},
                                                {"prune", Prune},
                                                {"clean", Clean},
                                                {"pin", Pin},
                                                {"unpin", Unpin}}};

}  // namespace

void PrintError(const CtlOptions& options, const Error& error) {
  PrintFailure("", error.message);
  if (options.json) PrintJson({{"error", {{"code", nullptr}, {"message", error.message}}}});
}

int RunCommand(const CtlOptions& options, Client& client) {
  for (const Command& command : kCommands) {
    if (command.name == options.command) return command.run(options, client);
  }
  return kExitUsage;
}

}  // namespace glintfs::ctl
