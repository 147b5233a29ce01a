#include "backends/rbd/rbd.h"

namespace glintfs {

Result<std::unique_ptr<Backend>> MakeRbd(std::string_view, const BackendOptions&) {
  return Error{Errc::kNotSupported, "not built yet"};
}

}  // namespace glintfs
