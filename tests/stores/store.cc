#include "tests/stores/store.h"

#include <algorithm>
#include <map>

namespace glintfs::testing {

std::string Content::Bytes(Extent extent) const {
  std::string out(extent.length, '\0');
  for (const Piece& piece : pieces) {
    const uint64_t begin = std::max(piece.offset, extent.offset);
    const uint64_t end = std::min(piece.offset + piece.bytes.size(), extent.end());
    if (begin < end) out.replace(begin - extent.offset, end - begin, piece.bytes, begin - piece.offset, end - begin);
  }
  return out;
}

BackendOptions GivingUpSoon(BackendOptions options) {
  options.connect_timeout = options.first_byte_timeout = options.low_speed_time = std::chrono::seconds(3);
  options.ask_deadline = options.fetch_deadline = std::chrono::seconds(6);
  return options;
}

Store& SharedStore(StoreMaker make) {
  static std::map<StoreMaker, std::unique_ptr<Store>> stores;
  auto& store = stores[make];
  if (!store) store = make();
  return *store;
}

}  // namespace glintfs::testing
