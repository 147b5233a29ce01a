#include "backends/glance/glance.h"

namespace glintfs {

Result<std::unique_ptr<Backend>> MakeGlance(std::string_view, const BackendOptions&) {
  return Error{Errc::kNotSupported, "not built yet"};
}

}  // namespace glintfs
