#include "backends/s3/s3.h"

namespace glintfs {

Result<std::unique_ptr<Backend>> MakeS3(std::string_view, const BackendOptions&) {
  return Error{Errc::kNotSupported, "not built yet"};
}

}  // namespace glintfs
