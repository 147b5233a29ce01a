// What Glance tells of an image, and what it means here. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backends/backend.h"
#include "backends/openstack/uuid.h"

namespace glintfs {

struct ImageRecord {
  std::string id;
  std::string name;    // often empty, not unique, any text
  std::string status;  // "active": its data is there and never changes again
  std::optional<uint64_t> size;
  std::string checksum;  // MD5, hex; empty when Glance did not see the data
  std::string hash_algo, hash_value;
  std::string created_at, updated_at;

  bool active() const { return status == "active"; }
};

// The answers of GET /v2/images/ID and GET /v2/images. kInvalid when it is none. Images without a usable id are left out of a page.
Result<ImageRecord> ParseImage(std::string_view body);
struct ImagePage {
  std::vector<ImageRecord> images;
  bool more = false;  // a next page is offered
};
Result<ImagePage> ParseImagePage(std::string_view body);

// "sha512:HEX", else "md5:HEX", else "at:UPDATED-SIZE", which also changes with the image's properties.
// REQUIRES: image.size
std::string VersionOf(const ImageRecord& image);
// The checksum that is part of such a version, where it is of a kind known here.
std::optional<Checksum> ChecksumIn(std::string_view version);

// The names in by-name/ and the ids they stand for: an image's own name, or NAME~ID for each of several. Names that cannot be one
// component of a path are left out, images that are not active too.
std::map<std::string, std::string> ShownNames(const std::vector<ImageRecord>& images);
bool IsShownName(std::string_view name);
// "NAME~ID" in its two parts, nullopt when it does not end in an id.
struct NameAndId {
  std::string name, id;
};
std::optional<NameAndId> SplitShownName(std::string_view shown);

}  // namespace glintfs
