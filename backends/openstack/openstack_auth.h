// How to log in to an OpenStack cloud: what is told by clouds.yaml or the OS_* variables, as the OpenStack tools read them.
#pragma once

#include <memory>
#include <string_view>

#include "backends/http/authorizer.h"
#include "backends/http/url.h"
#include "backends/registry.h"

namespace glintfs {

// A login: gives the token that requests carry (X-Auth-Token), and knows where services are. Thread-safe.
class OpenStackAuth : public Authorizer {
 public:
  // The URL of a service ("image", "object-store") in the region and interface of the settings, ending with '/'. Logs in if need be.
  // kInvalid with what there is when the catalogue has none.
  virtual Result<HttpUrl> Endpoint(std::string_view service, std::stop_token stop) = 0;
};

// Null when nothing says how to log in. Contacts nothing. kInvalid for a clouds.yaml that does not parse, an entry that is not in it,
// a way to log in that is not known here, or a setting that is missing.
Result<std::shared_ptr<OpenStackAuth>> MakeOpenStackAuth(const BackendOptions& options);

}  // namespace glintfs
