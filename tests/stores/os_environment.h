// OsEnvironment: OS_* variables for the time of a test, and none but these.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace glintfs::testing {

// One at a time, while no thread reads the environment.
class OsEnvironment {
 public:
  OsEnvironment() {
    std::vector<std::string> names;
    for (char** entry = environ; *entry != nullptr; ++entry)
      if (const std::string text = *entry; text.starts_with("OS_")) names.push_back(text.substr(0, text.find('=')));
    for (const std::string& name : names) Unset(name);
  }
  ~OsEnvironment() {
    for (const auto& [name, value] : before_) {
      if (value) {
        ::setenv(name.c_str(), value->c_str(), 1);
      } else {
        ::unsetenv(name.c_str());
      }
    }
  }
  OsEnvironment(const OsEnvironment&) = delete;
  OsEnvironment& operator=(const OsEnvironment&) = delete;

  void Set(const std::string& name, const std::string& value) {
    Remember(name);
    ::setenv(name.c_str(), value.c_str(), 1);
  }
  void Unset(const std::string& name) {
    Remember(name);
    ::unsetenv(name.c_str());
  }

 private:
  void Remember(const std::string& name) {
    const char* value = std::getenv(name.c_str());
    before_.try_emplace(name, value == nullptr ? std::nullopt : std::optional<std::string>(value));
  }

  std::map<std::string, std::optional<std::string>> before_;
};

}  // namespace glintfs::testing
