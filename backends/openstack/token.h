// What is said to Keystone v3 and what it answers. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backends/openstack/cloud_config.h"
#include "fs/base/clock.h"

namespace glintfs {

// The body of POST /v3/auth/tokens. Holds the secret.
std::string MakeTokenRequest(const CloudConfig& config);

struct CatalogEntry {
  std::string service, region, interface, url;
};

struct TokenAnswer {
  // From issue to expiry by Keystone's own clock, which need not be ours; or from `wall_now` when it does not tell the first.
  Nanos lifetime{0};
  std::vector<CatalogEntry> catalog;
};

// kInvalid when it is not such an answer.
Result<TokenAnswer> ParseTokenAnswer(std::string_view body, Nanos wall_now);

// The URL of `service`, as OpenStackAuth::Endpoint.
Result<HttpUrl> FindEndpoint(const std::vector<CatalogEntry>& catalog, std::string_view service, const CloudConfig& config);

// "2023-01-02T03:04:05.000000Z" or with "+00:00" or no zone at all, since 1970; nullopt for anything else.
std::optional<Nanos> ParseIsoTime(std::string_view text);

}  // namespace glintfs
