#include "backends/rados/rados.h"

namespace glintfs {

Result<std::unique_ptr<Backend>> MakeRados(std::string_view, const BackendOptions&) {
  return Error{Errc::kNotSupported, "not built yet"};
}

}  // namespace glintfs
