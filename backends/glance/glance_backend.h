// GlanceBackend: the images of a Glance as files that have their ids as names, over its Image API v2.
//
//   <id>              every active image
//   by-name/NAME      the same by name, where that is wanted: another name for <id> (NameInfo::alias)
//   by-name/NAME~<id> each of several images of one name
#pragma once

#include <memory>
#include <string>

#include "backends/backend.h"
#include "backends/glance/glance_client.h"
#include "backends/http/http_backend.h"

namespace glintfs {

class GlanceBackend final : public Backend {
 public:
  struct Options {
    bool names = false;
    int max_parallel = 16;
  };

  GlanceBackend(std::string source, std::shared_ptr<GlanceClient> client, Options options);

  int max_parallel_fetches() const override { return options_.max_parallel; }

 private:
  Result<NameInfo> DoStat(std::string_view name, std::stop_token stop) override;
  Result<Listing> DoList(std::string_view directory, std::string_view cursor, std::stop_token stop) override;
  Result<std::unique_ptr<ImageReader>> DoOpen(const ImageInfo& image, std::stop_token stop) override;
  Result<std::optional<Checksum>> DoFindChecksum(const ImageInfo& image, std::stop_token stop) override;

  Result<NameInfo> InfoFrom(const ImageRecord& image, bool alias) const;
  Result<NameInfo> StatByName(const std::string& shown, std::stop_token stop);
  Result<Listing> ListIds(std::string_view cursor, std::stop_token stop);
  Result<Listing> ListNames(std::stop_token stop);

  const Options options_;
  // Shared with the readers, which may outlive the backend.
  const std::shared_ptr<GlanceClient> client_;
  const std::shared_ptr<RangelessNames> rangeless_;
};

}  // namespace glintfs
