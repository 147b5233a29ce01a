// What is allowed setting by setting, but not together.
#include "fs/base/size_text.h"
#include "fs/options.h"

namespace glintfs {

// An image's file alone takes a block or two beside its first chunk.
Result<void> CheckTogether(const Options& options) {
  constexpr uint64_t kLeastChunks = 4;
  const uint64_t max_size = options.cache.limits.max_size, chunk = options.cache.chunk_size;
  if (max_size == 0 || max_size >= kLeastChunks * chunk) return {};
  return Error{Errc::kInvalid, fmt::format("option max_size: '{}' holds less than {} chunks of {}: give at least {}, or 0 for no limit",
                                           FindSetting("max_size")->get(options), kLeastChunks, FindSetting("chunk")->get(options),
                                           FormatQuantity(kLeastChunks * chunk))};
}

}  // namespace glintfs
