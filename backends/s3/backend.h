// S3Backend: objects of a bucket as a source: "s3://bucket/prefix/".
//
// A directory is what stands before a '/' in some key. Where a key is also the directory of others it is shown as the object, as
// the AWS tools would fetch it by that name. Objects are read by ranges, on condition that the ETag is still that of the version.
#pragma once

#include <memory>
#include <string>

#include "backends/backend.h"
#include "backends/http/client.h"
#include "backends/s3/location.h"

namespace glintfs {

class S3Backend final : public Backend {
 public:
  struct Options {
    HttpSettings http;
    std::shared_ptr<Authorizer> authorizer;  // null: anonymous
    bool list = true;
    int max_parallel = 16;
  };

  S3Backend(S3Location location, Options options);

  int max_parallel_fetches() const override { return max_parallel_; }

 private:
  Result<NameInfo> DoStat(std::string_view name, std::stop_token stop) override;
  Result<Listing> DoList(std::string_view directory, std::string_view cursor, std::stop_token stop) override;
  Result<std::unique_ptr<ImageReader>> DoOpen(const ImageInfo& image, std::stop_token stop) override;
  Result<std::optional<Checksum>> DoFindChecksum(const ImageInfo& image, std::stop_token stop) override;

  std::string KeyOf(std::string_view name) const { return location_.source.prefix + std::string(name); }
  OriginRequest HeadOf(std::string_view name) const;
  Result<NameInfo> StatRoot(std::stop_token stop);
  Result<NameInfo> InfoFrom(std::string_view name, const OriginRequest& request, const OriginResponse& response) const;
  Result<bool> HasKeysBelow(std::string_view prefix, std::stop_token stop);
  Error Refusal(const OriginRequest& request, const OriginResponse& response, std::stop_token stop);
  Error ListingError(const OriginRequest& request, const OriginResponse& response, std::string_view body) const;

  const S3Location location_;
  const bool anonymous_;
  const bool list_;
  const int max_parallel_;
  // Shared with the readers, which may outlive the backend.
  const std::shared_ptr<HttpClient> client_;
};

}  // namespace glintfs
