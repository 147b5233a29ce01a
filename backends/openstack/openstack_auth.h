// How to log in to an OpenStack cloud: what is told by clouds.yaml or the OS_* variables, as the OpenStack tools read them.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "backends/http/authorizer.h"
#include "backends/http/url.h"
#include "backends/registry.h"

namespace glintfs {

// Which account of which cloud, as told by the settings alone: for Backend::source(). Holds no secret.
struct CloudIdentity {
  std::string cloud;    // where Keystone is, "keystone.example.org:5000/v3"; without Keystone, where the service is
  std::string region;   // empty: the first of the catalogue
  std::string project;  // "Default/demo", an id, or what stands for it; empty when only Keystone knows
};

// A login: gives the token that requests carry (X-Auth-Token), and knows where services are. Thread-safe.
class OpenStackAuth : public Authorizer {
 public:
  // The URL of a service ("image", "object-store") in the region and interface of the settings, ending with '/'. Logs in if need
  // be. kInvalid with what there is when the catalogue has none.
  virtual Result<HttpUrl> Endpoint(std::string_view service, std::stop_token stop) = 0;

  virtual CloudIdentity identity() const = 0;

  // The authority that signed the cloud's certificates, for the services' clients too: PEM file, empty: the system's.
  virtual const std::string& ca_file() const = 0;

  // What a refused token or password belongs to and what to look at, for errors of services: "user demo of cloud x
  // (…/clouds.yaml)".
  virtual std::string DescribeLogin() const = 0;
};

// Null when nothing says how to log in. Contacts nothing. kInvalid for a clouds.yaml that does not parse, an entry that is not in
// it, a way to log in that is not known here, or a setting that is missing.
Result<std::shared_ptr<OpenStackAuth>> MakeOpenStackAuth(const BackendOptions& options);

}  // namespace glintfs
