// One page of a container's listing, as JSON, and which of its names are parts of large images. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backends/openstack/uuid.h"
#include "fs/base/result.h"

namespace glintfs {

struct SwiftEntry {
  std::string name;  // as the server has it; of a directory with its '/' at the end
  bool is_subdir = false;
  std::optional<uint64_t> bytes;
  std::string hash;  // the MD5 of what the object itself holds (of a static large object: of its manifest)
  std::string content_type;
};

// Entries without a name are left out. kInvalid for what is no listing, nests deeper than any, or has more than 100,000 entries.
Result<std::vector<SwiftEntry>> ParseSwiftPage(std::string_view json);

// True for the content type that clients give to objects that stand for a directory.
bool IsDirectoryType(std::string_view content_type);

// Glance keeps a large image as a manifest <uuid> and segments <uuid>-00001, …: the manifest's name when `name` (without
// directories) is that of a segment, else nullopt.
std::optional<std::string_view> GlanceManifestOf(std::string_view name);
}  // namespace glintfs
