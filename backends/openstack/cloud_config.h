// CloudConfig: what a login needs, checked: which method, who, in which scope, where.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "backends/http/url.h"
#include "backends/openstack/cloud_settings.h"

namespace glintfs {

// By id, or by name within a domain that is given by id or name.
struct CloudName {
  std::string id, name, domain_id, domain_name;

  bool empty() const { return id.empty() && name.empty(); }
  std::string Text() const;  // "Default/demo" or the id
};

struct CloudConfig {
  enum class Method {
    kPassword,
    kApplicationCredential,
    kToken,       // exchanged for one of the scope
    kFixedToken,  // sent as it is: nobody is asked
    kNone,        // nothing is sent
  };

  Method method = Method::kPassword;
  std::string where;       // as CloudSettings
  HttpUrl auth_url;        // of Keystone v3: ".../v3/"; unset for kFixedToken and kNone
  CloudName user;
  CloudName project;       // empty: domain, system, or no scope
  CloudName domain;        // its id or name
  bool system_scope = false;
  std::string trust_id;
  CloudName credential;    // application credential; `user` belongs to its name
  std::string secret;      // password, credential secret or token: must not be printed
  std::string region;
  std::string interface;   // public, internal or admin
  std::string ca_file;
  // Where services are, instead of what the catalogue says; "" is for all of them.
  std::map<std::string, HttpUrl> endpoints;

  // "user demo in Default/p (cloud 'x' of /etc/openstack/clouds.yaml)"
  std::string Describe() const;
};

Result<CloudConfig> MakeCloudConfig(const CloudSettings& settings, const BackendOptions& options);

// The parts of it that are known without a login. AuthUrl: of Keystone v3, ".../v3/".
Result<HttpUrl> AuthUrl(const CloudSettings& settings);
Result<std::string> CaFile(const CloudSettings& settings, const BackendOptions& options);

// "image" → the keys and catalogue types it goes by.
std::string KeyOfService(std::string_view service);

}  // namespace glintfs
