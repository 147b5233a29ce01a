#include "fs/running_settings.h"

#include "fs/base/log.h"

namespace glintfs {

// Keeps others out from reading the settings to having put the new ones in force, without a lock across the callbacks.
class RunningSettings::Turn {
 public:
  explicit Turn(RunningSettings& settings) : settings_(settings) {
    MutexLock lock(settings_.mu_);
    while (settings_.changing_) settings_.free_.Wait(settings_.mu_);
    settings_.changing_ = true;
  }
  ~Turn() {
    {
      MutexLock lock(settings_.mu_);
      settings_.changing_ = false;
    }
    settings_.free_.NotifyAll();
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  RunningSettings& settings_;
};

Options RunningSettings::Get() {
  MutexLock lock(mu_);
  return options_;
}

std::vector<SettingValue> RunningSettings::List() {
  const Options options = Get();
  std::vector<SettingValue> list;
  for (const Setting& setting : SettingTable())
    list.push_back({.name = std::string(setting.name),
                    .value = setting.get(options),
                    .default_value = std::string(setting.shown_default.empty() ? setting.default_text : setting.shown_default),
                    .allowed = setting.allowed,
                    .help = std::string(setting.help),
                    .changeable = setting.on_sighup});
  return list;
}

Result<std::vector<SettingChange>> RunningSettings::Change(const std::map<std::string, std::string>& values) {
  const Turn turn(*this);
  const Options before = Get();
  Options after = before;
  for (const auto& [name, value] : values) {
    const Setting* setting = FindSetting(name);
    if (setting != nullptr && !setting->on_sighup)
      return Error{Errc::kInvalid, fmt::format("option {}: changes with the next mount only", name)};
    if (setting == nullptr) {
      // Names that mount(8) hands to every file system mean nothing there, but here nobody means them.
      auto known = SetOption(after, name, value, true);
      return known ? Error{Errc::kInvalid, fmt::format("option {}: unknown; glintfs --help lists all", name)} : known.error();
    }
    GLINTFS_TRY(SetOption(after, name, value, true));
  }
  GLINTFS_TRY(CheckTogether(after));
  return TakeOver(before, after, "control API");
}

void RunningSettings::Reload(const Options& wanted) {
  const Turn turn(*this);
  const Options before = Get();
  Options after = before;
  for (const Setting& setting : SettingTable()) {
    const std::string old = setting.get(before), value = setting.get(wanted);
    if (old == value) continue;
    if (!setting.on_sighup) {
      LogWarn("SIGHUP: {} is now {} in the settings, but changes with the next mount only; stays {}", setting.name, value, old);
    } else if (auto set = setting.set(after, value); !set) {
      LogWarn("SIGHUP: {}: {}", setting.name, set.error().message);
    }
  }
  if (auto together = CheckTogether(after); !together) {
    LogError("SIGHUP: nothing changed: {}", together.error().message);
    return;
  }
  if (TakeOver(before, after, "SIGHUP").empty()) LogInfo("SIGHUP: log opened again, settings unchanged");
}

std::vector<SettingChange> RunningSettings::TakeOver(const Options& from, const Options& to, std::string_view who) {
  std::vector<SettingChange> changes;
  for (const Setting& setting : SettingTable()) {
    std::string before = setting.get(from), after = setting.get(to);
    if (before == after) continue;
    LogInfo("{}: {} {} → {}", who, setting.name, before, after);  // before the level of the log changes
    changes.push_back({std::string(setting.name), std::move(before), std::move(after)});
  }
  if (changes.empty()) return changes;
  {
    MutexLock lock(mu_);
    options_ = to;
  }
  if (callbacks_.apply) callbacks_.apply(to);
  if (callbacks_.changed)
    for (const SettingChange& change : changes) callbacks_.changed(change);
  return changes;
}

}  // namespace glintfs
