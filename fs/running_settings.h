// RunningSettings: the settings in force, and the one place where those change: on SIGHUP, and when somebody asks for it over
// the control API. What is asked for holds until the next start or SIGHUP, when the file and the command line win again.
//
// Thread-safe. Changes happen one after the other, whole; Apply and Changed are called without locks.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "control/operations.h"
#include "fs/base/mutex.h"
#include "fs/base/result.h"
#include "fs/options.h"

namespace glintfs {

class RunningSettings {
 public:
  struct Callbacks {
    std::function<void(const Options&)> apply;          // these are in force now
    std::function<void(const SettingChange&)> changed;  // one of them did
  };

  explicit RunningSettings(Options options) : options_(std::move(options)) {}

  // REQUIRES: before the first change.
  void SetCallbacks(Callbacks callbacks) { callbacks_ = std::move(callbacks); }

  Options Get();
  std::vector<SettingValue> List();
  // All or none. kInvalid: an unknown name, a value that is not allowed, or a setting that only a new mount changes.
  Result<std::vector<SettingChange>> Change(const std::map<std::string, std::string>& values);
  // What SIGHUP read: each setting that may change becomes what it is in `wanted`. Logs what happens.
  void Reload(const Options& wanted);

 private:
  class Turn;  // one change at a time
  std::vector<SettingChange> TakeOver(const Options& from, const Options& to, std::string_view who);

  Callbacks callbacks_;  // constant after SetCallbacks
  Mutex mu_;
  CondVar free_;
  bool changing_ GUARDED_BY(mu_) = false;
  Options options_ GUARDED_BY(mu_);
};

}  // namespace glintfs
