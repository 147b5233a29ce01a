// What the shell completes, from the definition of the command line; names of images and settings come from the daemon. The
// scripts in completion/ call `glintctl __complete WORD…` with the words up to the cursor.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>

#include "control/ctl/answer.h"
#include "control/ctl/command_list.h"
#include "control/ctl/find_socket.h"
#include "fs/base/percent.h"

namespace glintfs::ctl {
namespace {

using nlohmann::json;

// A daemon that hangs must not hold up a prompt.
constexpr unsigned kPatienceSeconds = 1;

const CLI::Option* FindOption(const CLI::App& app, const CLI::App* command, const std::string& word) {
  const std::string name = word.substr(0, word.find('='));
  for (const CLI::App* part : {command, &app})
    if (part != nullptr)
      if (const CLI::Option* option = part->get_option_no_throw(name)) return option;
  return nullptr;
}

bool TakesValue(const CLI::Option* option) { return option != nullptr && option->get_items_expected_max() > 0; }

// "debug, info, warn or error": of what is no such list there are none.
std::vector<std::string> Choices(std::string text) {
  std::vector<std::string> choices;
  if (const size_t last = text.rfind(" or "); last != text.npos) text.replace(last, 4, ", ");
  while (!text.empty()) {
    const size_t end = std::min(text.find(", "), text.size());
    choices.push_back(text.substr(0, end));
    text.erase(0, end + 2);
    if (choices.back().find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-") != std::string::npos) return {};
  }
  return choices.size() > 1 ? choices : std::vector<std::string>();
}

class Completer {
 public:
  explicit Completer(const std::vector<std::string>& words) : words_(words) {}

  void Run() {
    if (words_.empty()) return;
    app_ = BuildCommandLine(options_);
    const std::string& last = words_.back();
    Read();
    if (pending_ != nullptr) return Values(pending_, "", last);
    if (last.starts_with("--") && last.find('=') != last.npos) {
      const CLI::Option* const option = FindOption(*app_, command_, last);
      return Values(option, last.substr(0, last.find('=') + 1), last);
    }
    if (last.starts_with("-") && !names_only_) return Options(last);
    if (command_ == nullptr) return Commands(last);
    Arguments(last);
  }

 private:
  // The words before the last one: which command, which options, and whether the last is the value of one.
  void Read() {
    for (size_t i = 0; i + 1 < words_.size(); ++i) {
      const std::string& word = words_[i];
      if (pending_ != nullptr) {
        if (pending_->check_lname("socket")) options_.socket = word;
        pending_ = nullptr;
      } else if (word == "--") {
        names_only_ = true;
      } else if (word.starts_with("-") && !names_only_) {
        const CLI::Option* const option = FindOption(*app_, command_, word);
        if (word.find('=') == word.npos && TakesValue(option)) pending_ = option;
        if (word.starts_with("--socket=")) options_.socket = word.substr(9);
        if (option != nullptr) used_.insert(option);
      } else if (command_ == nullptr) {
        for (const CLI::App* command : app_->get_subcommands([](const CLI::App*) { return true; }))
          if (command->check_name(word)) command_ = command;
        if (command_ == nullptr) return;
      } else {
        given_.insert(word);
      }
    }
  }

  void Offer(const std::string& candidate, const std::string& last) {
    if (candidate.starts_with(last) && candidate.find('\n') == candidate.npos) fmt::print("{}\n", candidate);
  }

  void Commands(const std::string& last) {
    for (const CLI::App* command : app_->get_subcommands([](const CLI::App*) { return true; })) Offer(command->get_name(), last);
  }

  void Options(const std::string& last) {
    for (const CLI::App* part : {command_, static_cast<const CLI::App*>(app_.get())}) {
      if (part == nullptr) continue;
      for (const CLI::Option* option : part->get_options()) {
        if (option->get_group().empty() || option->get_positional()) continue;
        if (used_.contains(option) && option->get_multi_option_policy() != CLI::MultiOptionPolicy::TakeAll) continue;
        for (const std::string& name : option->get_lnames()) Offer("--" + name, last);
      }
    }
  }

  void Values(const CLI::Option* option, const std::string& before, const std::string& last) {
    if (option == nullptr || option->get_lnames().empty()) return;
    for (const std::string& value : ValuesOf(option->get_lnames().front())) Offer(before + value, last);
    if (option->check_lname("socket"))
      for (const std::string& path : LiveSockets(SocketDirectories())) Offer(before + path, last);
  }

  void Arguments(const std::string& last) {
    if (command_->get_name() == "queue") {
      if (given_.empty()) Offer("clear", last);
      return;
    }
    switch (ArgumentKindOf(command_->get_name())) {
      case ArgumentKind::kNone: return;
      case ArgumentKind::kImage: return Images(last);
      case ArgumentKind::kSetting: return Settings(last, "");
      case ArgumentKind::kSettingValue: return Settings(last, "=");
    }
  }

  std::unique_ptr<Client> Connect() {
    if (const char* const named = std::getenv("GLINTFS_CONTROL"); options_.socket.empty() && named != nullptr) options_.socket = named;
    if (options_.socket.empty()) {
      auto found = FindSocket(SocketDirectories());
      if (!found) return nullptr;
      options_.socket = *found;
    }
    return std::make_unique<Client>(options_.socket);
  }

  // Of the source one level at a time, as the shell does with files: directories end in a slash.
  void Images(const std::string& last) {
    const auto client = Connect();
    if (!client) return;
    std::set<std::string> names;
    if (command_->get_name() == "cache") {
      const std::string directory = last.substr(0, last.find_last_of('/') + 1);
      const std::string asked = directory.empty() ? "" : directory.substr(0, directory.size() - 1);
      if (const auto answer = Get(*client, "/v1/source?directory=" + PercentEncode(asked)))
        for (const json& entry : Part(*answer, "entries")) names.insert(ExactName(entry) + (Flag(entry, "directory") ? "/" : ""));
    } else if (command_->get_name() == "cancel") {
      if (const auto answer = Get(*client, "/v1/queue"))
        for (const json& entry : Part(*answer, "queue")) names.insert(ExactName(entry));
    } else if (command_->get_name() == "unpin") {
      if (const auto answer = Get(*client, "/v1/pins"))
        for (const json& href : Part(*answer, "hrefs")) names.insert(ExactName({{"href", href}}));
    } else if (const auto answer = Get(*client, "/v1/images")) {
      for (const json& image : Part(*answer, "images")) names.insert(ExactName(image));
    }
    for (const std::string& name : names)
      if (!given_.contains(name)) Offer(name, last);
  }

  void Settings(const std::string& last, const std::string& after) {
    const auto client = Connect();
    if (!client) return;
    const auto answer = Get(*client, "/v1/settings");
    if (!answer) return;
    if (const size_t equals = last.find('='); !after.empty() && equals != last.npos) {
      for (const json& setting : Part(*answer, "settings"))
        if (Text(setting, "name") == last.substr(0, equals))
          for (const std::string& choice : Choices(Text(setting, "allowed"))) Offer(last.substr(0, equals + 1) + choice, last);
      return;
    }
    for (const json& setting : Part(*answer, "settings"))
      if (after.empty() || Flag(setting, "changeable")) Offer(Text(setting, "name") + after, last);
  }

  const std::vector<std::string>& words_;
  CtlOptions options_;
  std::unique_ptr<CLI::App> app_;
  const CLI::App* command_ = nullptr;
  const CLI::Option* pending_ = nullptr;  // the last word is its value
  std::set<const CLI::Option*> used_;
  bool names_only_ = false;  // after "--"
  std::set<std::string> given_;
};

}  // namespace

int RunComplete(const std::vector<std::string>& words) {
  ::signal(SIGALRM, [](int) { ::_exit(0); });
  ::alarm(kPatienceSeconds);
  // What was found so far is shown when time is up, and what is wrong is nobody's concern now.
  std::setvbuf(stdout, nullptr, _IOLBF, 4096);
  if (std::freopen("/dev/null", "w", stderr) == nullptr) return 0;
  Completer(words).Run();
  return 0;
}

}  // namespace glintfs::ctl
