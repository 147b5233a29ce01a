// glintctl set, glintctl get: what can be changed while the daemon runs.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "control/ctl/answer.h"
#include "control/ctl/command_list.h"
#include "control/ctl/exit_code.h"
#include "control/ctl/names.h"
#include "control/ctl/report.h"
#include "control/ctl/table.h"
#include "fs/base/size_text.h"

namespace glintfs::ctl {
namespace {

using nlohmann::json;

std::vector<std::string> NamesOf(const json& settings) {
  std::vector<std::string> names;
  for (const json& setting : settings) names.push_back(Text(setting, "name"));
  return names;
}

std::string DidYouMean(const std::string& name, const json& settings) {
  const auto near = NearestNames(name, NamesOf(settings), 1);
  return near.empty() ? "glintctl get lists all settings" : fmt::format("Did you mean {}?", near[0]);
}

const json* FindIn(const json& settings, const std::string& name) {
  for (const json& setting : settings)
    if (Text(setting, "name") == name) return &setting;
  return nullptr;
}

std::string Shown(const json& setting, const char* key) {
  const std::string text = Text(setting, key);
  return text.empty() ? "-" : text;
}

// Whether two texts of a setting say the same: 1d and 24h, 1024 and 1Ki.
bool SameValue(const std::string& a, const std::string& b) {
  if (a == b) return true;
  if (const auto x = ParseDuration(a), y = ParseDuration(b); x && y) return *x == *y;
  if (const auto x = ParseSize(a), y = ParseSize(b); x && y) return *x == *y;
  if (const auto x = ParseShare(a), y = ParseShare(b); x && y) return *x == *y;
  return false;
}

// What is as it is by default shows as "=", so that the others can be seen.
std::string DefaultOf(const json& setting) {
  return SameValue(Text(setting, "value"), Text(setting, "default")) ? "=" : Shown(setting, "default");
}

// What the daemon refused, with what helps: the nearest name, or what the setting takes.
std::string AdviceFor(Client& client, const std::vector<std::pair<std::string, std::string>>& values,
                      const std::string& message) {
  if (message.find("did you mean") != message.npos) return "";
  const auto answer = Get(client, "/v1/settings");
  if (!answer) return "";
  const json& settings = Part(*answer, "settings");
  for (const auto& [name, value] : values) {
    const json* const setting = FindIn(settings, name);
    if (setting == nullptr) return DidYouMean(name, settings);
    if (!Flag(*setting, "changeable")) return "Set it with -o or in the file of config=, and mount again";
  }
  if (values.size() == 1) {
    const std::string allowed = Text(*FindIn(settings, values[0].first), "allowed");
    if (!allowed.empty() && message.find(allowed) != message.npos) return "";
    if (!allowed.empty()) return fmt::format("{} takes {}", values[0].first, allowed);
  }
  return "glintctl get shows what there is";
}

}  // namespace

int RunGet(const CtlOptions& options, Client& client) {
  int code = kExitOk;
  const json answer = Ask(options, client, "GET", "/v1/settings", code);
  if (code != kExitOk) return code;
  const json& settings = Part(answer, "settings");
  json chosen = json::array();
  if (options.names.empty()) {
    chosen = settings;
  } else {
    for (const std::string& name : options.names) {
      if (const json* const setting = FindIn(settings, name)) {
        chosen.push_back(*setting);
        continue;
      }
      PrintFailure(name, "there is no such setting", DidYouMean(name, settings));
      code = kExitFailed;
    }
  }
  if (options.json) {
    PrintJson({{"settings", chosen}});
    return code;
  }
  if (chosen.empty()) return code;
  Table table({{"SETTING"}, {"VALUE"}, {"DEFAULT"}, {"CHANGEABLE"}});
  for (const json& setting : chosen)
    table.Add({Text(setting, "name"), Shown(setting, "value"), DefaultOf(setting), Flag(setting, "changeable") ? "yes" : "next mount"});
  Print(table.Render());
  return code;
}

int RunSet(const CtlOptions& options, Client& client) {
  json body = json::object();
  std::vector<std::pair<std::string, std::string>> values;
  for (const std::string& text : options.names) {
    const size_t equals = text.find('=');  // that there is one was checked with the command line
    values.emplace_back(text.substr(0, equals), text.substr(equals + 1));
    body[values.back().first] = values.back().second;
  }
  const std::string text = body.dump(-1, ' ', false, json::error_handler_t::replace);
  const auto reply = client.Send("PATCH", "/v1/settings", {}, text);
  if (!reply) return SendFailed(options, client, reply.error());
  if (!reply->ok()) {
    PrintFailure("", reply->ErrorMessage(), reply->status == 400 ? AdviceFor(client, values, reply->ErrorMessage()) : "");
    if (options.json) PrintJson({{"error", {{"code", reply->status}, {"message", reply->ErrorMessage()}}}});
    return ExitCodeFor(reply->status);
  }
  const json answer = json::parse(reply->body, nullptr, false);
  if (options.json) {
    PrintJson(answer);
    return kExitOk;
  }
  if (options.quiet) return kExitOk;
  for (const json& change : Part(answer, "changed"))
    fmt::print("{}: {} -> {}\n", Text(change, "name"), Shown(change, "before"), Shown(change, "after"));
  if (Part(answer, "changed").empty()) {
    fmt::print("Nothing to change.\n");
    return kExitOk;
  }
  fmt::print("This holds until the next start; to keep it, write it where the mount's settings are.\n");
  return kExitOk;
}

}  // namespace glintfs::ctl
