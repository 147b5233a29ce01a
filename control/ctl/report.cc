#include "control/ctl/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <cstdio>

#include "control/ctl/answer.h"
#include "control/ctl/exit_code.h"
#include "control/ctl/find_socket.h"
#include "control/ctl/names.h"
#include "control/ctl/table.h"
#include "fs/base/percent.h"

namespace glintfs::ctl {
namespace {

using nlohmann::json;

// A search for what was meant must not take longer than the patience of who misspelt it.
constexpr auto kSearchTime = std::chrono::seconds(2);
constexpr size_t kSearchDirectories = 100;
constexpr size_t kMostSuggestions = 3;
constexpr size_t kMostAmbiguous = 10;
// With ten thousand wrong names the first few are explained.
constexpr int kMostAdvised = 5;
// As the daemon says it: control/http_session.cc, fs/cache.
constexpr std::string_view kTooManyConnections = "too many connections";
constexpr std::string_view kLargerThanCache = "larger than the cache";
constexpr const char* kHowNamesLook = "Names are as below the mount: dir/disk.img";

std::string List(const std::vector<std::string>& names, size_t most) {
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), most); ++i) text += (i > 0 ? ", " : "") + Printable(names[i]);
  return names.size() > most ? fmt::format("{} and {} more", text, names.size() - most) : text;
}

}  // namespace

void Print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }
void PrintJson(const json& value) { Print(value.dump(2, ' ', false, json::error_handler_t::replace) + "\n"); }
void PrintJsonLine(const json& value) {
  Print(value.dump(-1, ' ', false, json::error_handler_t::replace) + "\n");
  std::fflush(stdout);
}

void PrintFailure(std::string_view subject, const std::string& message, const std::string& next_step) {
  std::fflush(stdout);
  std::string text = message;
  if (!next_step.empty()) {
    while (text.ends_with('.')) text.pop_back();
    text += ". " + next_step;
  }
  fmt::print(stderr, "glintctl: {}{}{}\n", Printable(subject), subject.empty() ? "" : ": ", text);
}

// ---- Advisor

const std::vector<std::string>& Advisor::KnownNames() {
  if (names_) return *names_;
  names_.emplace();
  if (OfTheSource()) {
    const auto end = std::chrono::steady_clock::now() + kSearchTime;
    size_t asked = 0;
    const std::vector<Glob> all = {Glob("**")};
    const auto walk = WalkSource(client_, all, {kSearchDirectories * 100, [&] {
                                   return ++asked > kSearchDirectories || std::chrono::steady_clock::now() > end;
                                 }});
    if (walk) *names_ = walk->names;
  }
  if (const auto images = Get(client_, "/v1/images")) {
    for (const json& image : Part(*images, "images")) names_->push_back(ExactName(image));
  }
  RemoveDuplicates(*names_);
  return *names_;
}

std::string Advisor::ForUnknown(const std::string& name) {
  const std::string fallback = OfTheSource() ? "Names are as below the mount: dir/disk.img"
                                                           : "glintctl list shows what is cached";
  if (name.empty()) return fallback;
  const auto& known = KnownNames();
  const auto same = NamesEndingIn(name, known);
  if (same.size() > 1) return fmt::format("The name is ambiguous, give one as a whole: {}", List(same, kMostAmbiguous));
  const auto near = NearestNames(name, known, kMostSuggestions);
  return near.empty() ? fallback : fmt::format("Did you mean {}?", List(near, kMostSuggestions));
}

std::string Advisor::ForBusy(const std::string& name) {
  if (name.empty()) return "";
  const auto image = Get(client_, "/v1/images/" + PercentEncode(name));
  if (!image) return "";
  std::string text;
  if (Count(*image, "open_count") > 0) {
    const auto status = Get(client_, "/v1/status");
    const std::string mountpoint = status ? Text(*status, "mountpoint") : "";
    text = Count(*image, "open_count") == 1 ? "It is open" : fmt::format("It is open {} times", Count(*image, "open_count"));
    if (!mountpoint.empty()) text += fmt::format("; by whom: lsof '{}/{}'", mountpoint, Printable(name));
  }
  if (Flag(*image, "pinned")) text += (text.empty() ? "Let it go: " : ". It is pinned, too: ") + fmt::format("glintctl unpin '{}'", Printable(name));
  return text;
}

std::string Advisor::For(int http_status, const std::string& message, const std::string& name) {
  switch (http_status) {
    case 400:
      if (name.empty()) return "";
      if (const auto directory = Get(client_, "/v1/source?directory=" + PercentEncode(name)))
        return fmt::format("All that is in it: glintctl cache --match '{}/**'", Printable(name));
      return kHowNamesLook;
    case 401: return "Give the daemon's token with --token-file";
    case 403: return "Be root (sudo), or in the group that control_group= names";
    case 404: return ForUnknown(name);
    case 409: return ForBusy(name);
    case 500:
    case 502: return "glintctl doctor looks for the reason";
    case 501: return options_.command == "cache" ? "Give whole names instead" : "";
    case 503:
      if (message.starts_with(kTooManyConnections)) return "Who holds them: ss -xp, over TCP ss -tp";
      return "glintctl status tells since when the source is away; try again later";
    case 507:
      if (message.find(kLargerThanCache) != message.npos) return "glintctl set max_size=SIZE makes the cache larger";
      return "Make room: glintctl prune, glintctl unpin, or glintctl set max_size=SIZE";
    default: return "";
  }
}

std::string Advisor::For(const Error& error) const {
  switch (error.code) {
    case Errc::kUnavailable:
      if (error.message.find("--ca-file") != error.message.npos) return "";
      if (client_.socket_path().empty()) return "Is it running, with control_tcp=? glintctl doctor on its host";
      return "Is it running? glintfs SOURCE MOUNTPOINT starts it; glintctl doctor looks for sockets";
    case Errc::kAccessDenied: return "Be root (sudo), or in the group that control_group= names";
    case Errc::kTimedOut:
      if (client_.socket_path().empty()) return "Is it stopped or overloaded? Look there with systemctl status";
      return DescribeListener(client_.socket_path());
    default: return "";
  }
}

// ---- Requests that fail as a whole

namespace {

int Fail(const CtlOptions& options, std::string_view subject, const json& code, const std::string& message,
         const std::string& next_step, int exit_code) {
  PrintFailure(subject, message, next_step);
  if (options.json) PrintJson({{"error", {{"code", code}, {"message", message}}}});
  return exit_code;
}

}  // namespace

int ReplyFailed(const CtlOptions& options, Client& client, std::string_view subject, const Reply& reply) {
  const std::string step = Advisor(options, client).For(reply.status, reply.ErrorMessage(), std::string(subject));
  return Fail(options, subject, reply.status, reply.ErrorMessage(), step, ExitCodeFor(reply.status));
}

int SendFailed(const CtlOptions& options, Client& client, const Error& error) {
  return Fail(options, "", nullptr, error.message, Advisor(options, client).For(error), ExitCodeFor(error));
}

int GetFailed(const CtlOptions& options, Client& client, const Error& error, int status) {
  if (status == 0) return SendFailed(options, client, error);
  const int code = ExitCodeFor(status);
  return Fail(options, "", status, error.message, Advisor(options, client).For(status, error.message, ""), code == kExitOk ? kExitFailed : code);
}

json Ask(const CtlOptions& options, Client& client, const std::string& verb, const std::string& target, int& code) {
  const auto reply = client.Send(verb, target);
  code = kExitFailed;
  if (!reply) {
    code = SendFailed(options, client, reply.error());
    return nullptr;
  }
  if (!reply->ok()) {
    code = ReplyFailed(options, client, "", *reply);
    return nullptr;
  }
  json body = json::parse(reply->body, nullptr, false);
  if (!body.is_object()) {
    Fail(options, "", nullptr, "the daemon's answer makes no sense", "", kExitFailed);
    return nullptr;
  }
  code = kExitOk;
  return body;
}

// ---- Results

size_t Results::Add(const std::string& name) {
  places_.push_back({name, kExitOk, nullptr});
  return places_.size() - 1;
}

void Results::Done(size_t at, std::string_view what, const json& more) {
  Place& place = places_[at];
  place.result = {{"name", place.name}, {"ok", true}, {"error", nullptr}};
  if (more.is_object()) place.result.update(more);
  if (options_.json || options_.quiet) return;
  fmt::print("{}: {}\n", Printable(place.name), what);
  std::fflush(stdout);
}

void Results::Failed(size_t at, int code, const std::string& message, const std::string& next_step, const json& more) {
  Place& place = places_[at];
  place.code = code;
  place.result = {{"name", place.name}, {"ok", false}, {"error", message}};
  if (more.is_object()) place.result.update(more);
  PrintFailure(place.name.empty() ? "''" : place.name, message, next_step);
}

bool Results::Send(Client& client, size_t at, const std::string& verb, const std::string& prefix, const std::string& query) {
  const std::string name = places_[at].name;
  const auto reply = client.Send(verb, prefix + PercentEncode(name) + query);
  if (reply && reply->ok()) return true;
  std::string step;
  if (++advised_ <= kMostAdvised) {
    if (!reply) step = advisor_.For(reply.error());
    else if (reply->status == 400 && name.empty()) step = kHowNamesLook;
    else step = advisor_.For(reply->status, reply->ErrorMessage(), name);
  }
  if (reply) {
    Failed(at, ExitCodeFor(reply->status), reply->ErrorMessage(), step);
  } else {
    Failed(at, ExitCodeFor(reply.error()), reply.error().message, step);
  }
  return false;
}

int Results::Finish() {
  int code = kExitOk;
  json list = json::array();
  for (Place& place : places_) {
    if (code == kExitOk) code = place.code;
    if (!place.result.is_null()) list.push_back(std::move(place.result));
  }
  if (options_.json) PrintJson({{"results", list}});
  return code;
}

}  // namespace glintfs::ctl
