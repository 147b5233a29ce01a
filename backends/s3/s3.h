// s3://bucket[/prefix]: objects of a bucket.
#pragma once

#include <memory>
#include <string_view>

#include "backends/registry.h"

namespace glintfs {

// Contacts nothing. kInvalid for a source that does not parse and for settings that cannot be.
Result<std::unique_ptr<Backend>> MakeS3(std::string_view source, const BackendOptions& options);

}  // namespace glintfs
