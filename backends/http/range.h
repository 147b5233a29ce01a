// What an answer to a range request means, for every backend whose objects are read with "Range: bytes=". Pure.
#pragma once

#include <cstdint>
#include <string>

#include "backends/backend.h"
#include "backends/http/client.h"

namespace glintfs {

// "Range: bytes=0-99"
std::string RangeHeader(Extent extent);

enum class RangeAnswer {
  kExact,   // 206: the body is the extent
  kPrefix,  // 200: the body is the whole object, and the extent is its beginning
};

// Checks the answer to a GET for `extent` (as a range unless `asked_for_range` is false) of an object of `size` bytes
// in `version`. kStale, kNotFound, … as ImageReader::Fetch; kNotSupported for a 200 that would have to start in the
// middle.
Result<RangeAnswer> CheckRangeAnswer(const OriginRequest& request, const OriginResponse& response, Extent extent,
                                     uint64_t size, std::string_view version);

// True when the server says of itself that it has no ranges for this object ("Accept-Ranges: none").
bool RefusesRanges(const HttpHeaders& headers);

}  // namespace glintfs
