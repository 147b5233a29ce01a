// Sidecar: a decorator that finds checksums in files beside the image.
//
// Looks, in this order, for NAME.sha512, NAME.sha256, SHA512SUMS and SHA256SUMS in the image's directory; formats as in
// checksum_file.h, at most 4 MiB each. What cannot be made sense of counts as absent, with one warning per file
// version. Errors of the source (kUnavailable) are passed on, so that "cannot ask" is not taken for "has no checksum".
// Thread-safe.
#pragma once

#include <memory>

#include "backends/backend.h"

namespace glintfs {

std::unique_ptr<Backend> MakeSidecar(std::unique_ptr<Backend> inner);

}  // namespace glintfs
