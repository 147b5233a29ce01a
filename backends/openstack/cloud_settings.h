// The settings of one cloud as they are written down: an entry of clouds.yaml with what belongs to it in secure.yaml, or the OS_*
// variables. Found where the OpenStack tools look, in the same order.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "backends/registry.h"
#include "fs/base/result.h"

namespace glintfs {

struct CloudSettings {
  // Keys in lower case with '_' for '-', without "OS_": "auth_url", "region_name". What stands under `auth:` goes before what
  // stands beside it. May hold secrets: must not be printed.
  std::map<std::string, std::string> values;
  std::string where;  // "cloud 'x' of /etc/openstack/clouds.yaml" or "the OS_* variables", for messages

  std::string Get(const std::string& key) const {
    const auto it = values.find(key);
    return it == values.end() ? "" : it->second;
  }
};

// nullopt when nothing says how to log in. kInvalid for files that do not parse and for a cloud that is in none of them.
Result<std::optional<CloudSettings>> FindCloudSettings(const BackendOptions& options);

}  // namespace glintfs
