// SwiftEnvironment: the variables that say how to log in, for the time of a scope; all others of that kind are unset meanwhile. Not
// for use while other threads read the environment.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"

namespace glintfs::testing {

class SwiftEnvironment {
 public:
  explicit SwiftEnvironment(const std::map<std::string, std::string>& variables) {
    std::vector<std::string> names = {"HOME", "XDG_CONFIG_HOME"};  // where a clouds.yaml of this machine may lie
    for (char** entry = environ; *entry != nullptr; ++entry) {
      const std::string text = *entry;
      if (text.starts_with("ST_") || text.starts_with("OS_")) names.push_back(text.substr(0, text.find('=')));
    }
    for (const auto& [name, value] : variables) names.push_back(name);
    for (const std::string& name : names) {
      const char* value = std::getenv(name.c_str());
      if (value != nullptr) before_[name] = value;
      ::unsetenv(name.c_str());
      names_.push_back(name);
    }
    ::setenv("HOME", home_.path().c_str(), 1);
    for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
  }
  ~SwiftEnvironment() {
    for (const std::string& name : names_) ::unsetenv(name.c_str());
    for (const auto& [name, value] : before_) ::setenv(name.c_str(), value.c_str(), 1);
  }
  SwiftEnvironment(const SwiftEnvironment&) = delete;
  SwiftEnvironment& operator=(const SwiftEnvironment&) = delete;

 private:
  TempDir home_;
  std::map<std::string, std::string> before_;
  std::vector<std::string> names_;
};

}  // namespace glintfs::testing
