// HttpBackend: files under a URL of any web server as a source: "https://host/images/".
//
// Names resolve by HEAD alone; a server need not list its directories. The version of an image is its strong ETag, else
// Last-Modified and length. Without ranges images can still be read from the start (see ImageReader::Fetch).
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <unordered_set>

#include "backends/backend.h"
#include "backends/http/client.h"

namespace glintfs {

// Which objects are known to have no ranges, so that they are not asked for any in vain. Thread-safe; forgets when
// full.
class RangelessNames {
 public:
  bool Contains(const std::string& name) const;
  void Set(const std::string& name, bool rangeless);

 private:
  mutable Mutex mu_;
  std::unordered_set<std::string> names_ GUARDED_BY(mu_);
};

class HttpBackend final : public Backend {
 public:
  struct Options {
    HttpSettings http;
    std::shared_ptr<Authorizer> authorizer;  // null: anonymous
    bool list = true;
    int max_parallel = 16;
  };

  HttpBackend(HttpUrl base, Options options);

  int max_parallel_fetches() const override { return max_parallel_; }

 private:
  Result<NameInfo> DoStat(std::string_view name, std::stop_token stop) override;
  Result<Listing> DoList(std::string_view directory, std::string_view cursor, std::stop_token stop) override;
  Result<std::unique_ptr<ImageReader>> DoOpen(const ImageInfo& image, std::stop_token stop) override;

  HttpUrl DirectoryUrl(std::string_view directory) const;
  Result<OriginResponse> Ask(const OriginRequest& request, std::stop_token stop);
  Result<OriginResponse> AskByRange(OriginRequest request, std::stop_token stop);
  Result<bool> IsDirectory(std::string_view name, std::stop_token stop);
  Result<NameInfo> InfoFrom(std::string_view name, const OriginRequest& request, const OriginResponse& response);

  const HttpUrl base_;
  const bool list_;
  const int max_parallel_;
  // Shared with the readers, which may outlive the backend.
  const std::shared_ptr<HttpClient> client_;
  const std::shared_ptr<RangelessNames> rangeless_;
  std::atomic<bool> warned_no_validator_{false};
};

}  // namespace glintfs
