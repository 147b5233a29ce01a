#include "backends/swift/swift.h"

namespace glintfs {

Result<std::unique_ptr<Backend>> MakeSwift(std::string_view, const BackendOptions&) {
  return Error{Errc::kNotSupported, "not built yet"};
}

}  // namespace glintfs
