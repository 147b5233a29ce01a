// GlanceClient: the requests that are made to an Image API v2, and what its answers mean.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "backends/glance/image_record.h"
#include "backends/http/client.h"
#include "backends/openstack/openstack_auth.h"

namespace glintfs {

// Thread-safe.
class GlanceClient {
 public:
  // `base` is where the API is (without v2/); unset: where the catalogue of `auth` says. `auth` may be null where `base` is set.
  GlanceClient(HttpSettings settings, std::optional<HttpUrl> base, std::shared_ptr<OpenStackAuth> auth);

  // An image, whatever its status; nullopt when Glance says there is none.
  Result<std::optional<ImageRecord>> Show(const std::string& id, std::stop_token stop);
  // A page of images. kNotFound when there is no such API. `query` is that of the URL.
  Result<ImagePage> List(const std::string& query, std::stop_token stop);
  // As List, nullopt when Glance refuses the query (400).
  Result<std::optional<ImagePage>> TryList(const std::string& query, std::stop_token stop);
  // For the data of an image: with the URL only.
  Result<OriginRequest> DataRequest(const std::string& id, std::stop_token stop);

  HttpClient& http() { return http_; }
  // The error for a status that has no meaning of its own where it came up.
  Error StatusError(const OriginRequest& request, const OriginResponse& response) const;

 private:
  Result<HttpUrl> Base(std::stop_token stop);
  Result<OriginRequest> Request(const std::string& path, const std::string& query, std::stop_token stop);

  const std::optional<HttpUrl> base_;
  const std::shared_ptr<OpenStackAuth> auth_;
  HttpClient http_;
};

// Takes "v2/" off the end of the path, which is how some catalogues have it.
HttpUrl WithoutVersion(HttpUrl url);

}  // namespace glintfs
