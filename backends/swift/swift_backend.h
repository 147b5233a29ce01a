// SwiftBackend: the objects of a container, below a prefix, as a source. Its text tells the account, too, since another one may
// have a container of that name: "swift://PROJECT@CLOUD/container/prefix/".
#pragma once

#include <memory>
#include <string>

#include "backends/backend.h"
#include "backends/swift/account.h"
#include "backends/swift/login.h"

namespace glintfs {

class SwiftBackend final : public Backend {
 public:
  struct Options {
    std::string container;
    std::string prefix;  // empty, or ends with '/'
    HttpSettings http;
    SwiftLogin login;
    int max_parallel = 16;
    int page_limit = SwiftAccount::kPageLimit;
  };

  explicit SwiftBackend(Options options);

  int max_parallel_fetches() const override { return max_parallel_; }

 private:
  Result<NameInfo> DoStat(std::string_view name, std::stop_token stop) override;
  Result<Listing> DoList(std::string_view directory, std::string_view cursor, std::stop_token stop) override;
  Result<std::unique_ptr<ImageReader>> DoOpen(const ImageInfo& image, std::stop_token stop) override;
  Result<std::optional<Checksum>> DoFindChecksum(const ImageInfo& image, std::stop_token stop) override;

  Result<NameInfo> StatRoot(std::stop_token stop);
  Result<bool> HasNames(const std::string& prefix, std::stop_token stop);
  Result<bool> IsHiddenSegment(std::string_view name, std::stop_token stop);
  Result<ImageInfo> InfoFrom(std::string_view name, const OriginRequest& request, const OriginResponse& response,
                             std::stop_token stop);
  std::string Key(std::string_view name) const { return prefix_ + std::string(name); }

  const std::string container_;
  const std::string prefix_;
  const int max_parallel_;
  const std::shared_ptr<SwiftAccount> account_;
};

}  // namespace glintfs
