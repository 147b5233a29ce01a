// Commands that do one thing to each of several images, named or found by a GLOB: pin, unpin, cancel, evict.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "control/ctl/answer.h"
#include "control/ctl/command_list.h"
#include "control/ctl/exit_code.h"
#include "control/ctl/names.h"
#include "control/ctl/report.h"
#include "control/ctl/table.h"
#include "fs/base/percent.h"
#include "fs/base/size_text.h"

namespace glintfs::ctl {
namespace {

using nlohmann::json;

constexpr size_t kMostStayed = 10;  // so many of those that stayed are named

std::string HrefOf(const std::string& name) { return "/v1/images/" + PercentEncode(name); }

int ForEachName(const CtlOptions& options, Client& client, const std::string& verb, const std::string& prefix, std::string_view done) {
  int code = kExitOk;
  const auto names = NamesToActOn(options, client, code);
  if (!names) return code;
  Results results(options, client);
  for (const std::string& name : *names) {
    const size_t at = results.Add(name);
    if (results.Send(client, at, verb, prefix)) results.Done(at, done);
  }
  return results.Finish();
}

// What may be meant by one of `globs`, as the command takes it: what is pinned, what is being cached, or what is in the cache.
Result<std::vector<std::string>> Candidates(const std::string& command, Client& client, int* status) {
  std::vector<std::string> names;
  if (command == "unpin") {
    GLINTFS_ASSIGN(const json pins, Get(client, "/v1/pins", status));
    for (const json& href : Part(pins, "hrefs")) names.push_back(ExactName({{"href", href}}));
    return names;
  }
  GLINTFS_ASSIGN(const json images, Get(client, "/v1/images", status));
  for (const json& image : Part(images, "images"))
    if (command == "cancel" ? Flag(image, "filling") : Text(image, "state") != "absent") names.push_back(ExactName(image));
  if (command == "cancel") {
    GLINTFS_ASSIGN(const json queue, Get(client, "/v1/queue", status));
    for (const json& entry : Part(queue, "queue")) names.push_back(ExactName(entry));
  }
  return names;
}

// ---- pin, unpin

// A pin may come before its image. But who misspells a name should hear of it.
void WarnOfUnknown(Client& client, Advisor& advisor, const std::string& name) {
  int status = 0;
  const auto known = Get(client, HrefOf(name), &status);
  if (known || status != 404) return;
  const auto daemon = Get(client, "/v1/status");
  if (!daemon || !Flag(*daemon, "source_reachable")) return;
  const auto image = client.Send("GET", "/v2/images/" + PercentEncode(name));
  if (!image || image->status != 404) return;
  const bool glob = name.find_first_of("*?[") != name.npos;
  PrintFailure(name, "it is pinned, but the source has no such image now",
               glob ? fmt::format("A pin is for one name; for all that match: glintctl pin --match '{}'", Printable(name))
                    : advisor.For(404, "", name));
}

// The pins by href; nothing when they cannot be had.
std::optional<std::set<std::string>> PinsNow(Client& client) {
  const auto pins = Get(client, "/v1/pins");
  if (!pins) return std::nullopt;
  std::set<std::string> hrefs;
  for (const json& href : Part(*pins, "hrefs"))
    if (href.is_string()) hrefs.insert(href.get<std::string>());
  return hrefs;
}

bool IsPinned(Client& client, const std::set<std::string>& pins, const std::string& name) {
  if (pins.contains(HrefOf(name))) return true;
  const auto image = Get(client, HrefOf(name));  // it may be pinned under its own name
  return image && pins.contains(Text(*image, "href"));
}

// ---- evict --all

using Version = std::pair<std::string, std::string>;  // href, version

std::map<Version, json> CachedImages(const json& images) {
  std::map<Version, json> cached;
  for (const json& image : Part(images, "images"))
    if (Text(image, "state") != "absent") cached.emplace(Version(Text(image, "href"), Text(image, "version")), image);
  return cached;
}

std::string WhyItStays(const json& image) {
  if (Flag(image, "pinned")) return Count(image, "open_count") > 0 ? "pinned and open" : "pinned";
  return Count(image, "open_count") > 0 ? "open" : "in use";
}

// The daemon does not tell what it removed: it is what is gone afterwards.
int EvictAll(const CtlOptions& options, Client& client) {
  int code = kExitOk;
  const auto before = CachedImages(Ask(options, client, "GET", "/v1/images", code));
  if (code != kExitOk) return code;
  const auto reply = client.Send("DELETE", "/v2/cache", {"x-image-cache-clear-target: both"});
  if (!reply) return SendFailed(options, client, reply.error());
  if (!reply->ok()) return ReplyFailed(options, client, "", *reply);
  const auto after = CachedImages(Ask(options, client, "GET", "/v1/images", code));
  if (code != kExitOk) return code;
  uint64_t removed = 0, bytes = 0;
  json stayed = json::array();
  std::string text;
  for (const auto& [version, image] : before) {
    const auto it = after.find(version);
    if (it == after.end()) {
      ++removed;
      bytes += Count(image, "disk_bytes");
      continue;
    }
    if (stayed.size() < kMostStayed) text += fmt::format("{}: stays: {}\n", Printable(Text(image, "name")), WhyItStays(it->second));
    stayed.push_back(Text(image, "name"));
  }
  if (options.json) {
    PrintJson({{"cleared", "both"}, {"removed_images", removed}, {"removed_bytes", bytes}, {"stayed", stayed}});
  } else if (!options.quiet) {
    if (stayed.size() > kMostStayed) text += fmt::format("{} more stay: glintctl list\n", stayed.size() - kMostStayed);
    Print(fmt::format("{} removed, {}\n{}", Counted(removed, "image"), FormatSize(bytes), text));
  }
  return kExitOk;
}

}  // namespace

std::optional<std::vector<std::string>> NamesToActOn(const CtlOptions& options, Client& client, int& code) {
  std::vector<std::string> names = options.names;
  if (!options.globs.empty()) {
    int status = 0;
    const auto candidates = Candidates(options.command, client, &status);
    if (!candidates) {
      code = GetFailed(options, client, candidates.error(), status);
      return std::nullopt;
    }
    const std::vector<Glob> globs(options.globs.begin(), options.globs.end());
    for (const std::string& name : *candidates)
      if (std::any_of(globs.begin(), globs.end(), [&](const Glob& glob) { return glob.Matches(name); })) names.push_back(name);
    if (names.empty()) {
      PrintFailure("", options.command == "unpin"    ? "no pin matches"
                       : options.command == "cancel" ? "nothing that is being cached matches"
                                                     : "no image in the cache matches",
                   "glintctl cache --help tells how a GLOB is written");
      if (options.json) PrintJson({{"results", json::array()}});
      code = kExitNotFound;
      return std::nullopt;
    }
  }
  RemoveDuplicates(names);
  return names;
}

int RunPin(const CtlOptions& options, Client& client) {
  int code = kExitOk;
  const auto names = NamesToActOn(options, client, code);
  if (!names) return code;
  Results results(options, client);
  Advisor advisor(options, client);
  for (const std::string& name : *names) {
    const size_t at = results.Add(name);
    if (!results.Send(client, at, "PUT", "/v1/pins/")) continue;
    results.Done(at, "pinned");
    WarnOfUnknown(client, advisor, name);
  }
  return results.Finish();
}

int RunUnpin(const CtlOptions& options, Client& client) {
  int code = kExitOk;
  const auto names = NamesToActOn(options, client, code);
  if (!names) return code;
  const auto pins = PinsNow(client);
  Results results(options, client);
  for (const std::string& name : *names) {
    const size_t at = results.Add(name);
    const bool pinned = !pins || IsPinned(client, *pins, name);
    if (results.Send(client, at, "DELETE", "/v1/pins/")) results.Done(at, pinned ? "no longer pinned" : "was not pinned");
  }
  return results.Finish();
}

int RunCancel(const CtlOptions& options, Client& client) {
  return ForEachName(options, client, "DELETE", "/v1/queue/", "no longer being cached");
}

int RunEvict(const CtlOptions& options, Client& client) {
  if (options.all) return EvictAll(options, client);
  return ForEachName(options, client, "DELETE", "/v2/cache/", "removed");
}

}  // namespace glintfs::ctl
