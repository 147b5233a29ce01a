// A 206 must be the very range that was asked for, and a 200 is the object from its beginning, never a chunk of it.
// Versions are checked before lengths, so that a changed object is reported as kStale and not as nonsense.
#include "backends/http/range.h"

#include <fmt/format.h>

namespace glintfs {
namespace {

Error Nonsense(const OriginRequest& request, std::string_view what) {
  return Error{Errc::kInvalid, fmt::format("{}: {}", HttpClient::Describe(request), what)};
}

Error Stale(const OriginRequest& request, uint64_t now, uint64_t before) {
  return Error{Errc::kStale, fmt::format("{}: {} bytes now, {} before", HttpClient::Describe(request), now, before)};
}

Result<void> CheckPartial(const OriginRequest& request, const OriginResponse& response, Extent extent, uint64_t size) {
  const auto type = response.headers.Find("content-type");
  if (type && type->starts_with("multipart/")) return Nonsense(request, "several ranges came back for one");
  const auto text = response.headers.Find("content-range");
  const auto range = text ? ParseContentRange(*text) : std::nullopt;
  if (!range || !range->satisfied()) return Nonsense(request, "206 without a valid Content-Range");
  if (range->total && *range->total != size) return Stale(request, *range->total, size);
  if (range->first != extent.offset || range->last != extent.end() - 1) {
    return Nonsense(request, fmt::format("bytes {}-{} came back for {}-{}", range->first, range->last, extent.offset,
                                         extent.end() - 1));
  }
  GLINTFS_ASSIGN(const auto length, response.headers.ContentLength());
  if (length && *length != extent.length) return Nonsense(request, "Content-Length and Content-Range disagree");
  return {};
}

Result<void> CheckWhole(const OriginRequest& request, const OriginResponse& response, Extent extent, uint64_t size) {
  GLINTFS_ASSIGN(const auto length, response.headers.ContentLength());
  if (length && *length != size) return Stale(request, *length, size);
  if (extent.offset != 0)
    return Error{Errc::kNotSupported, HttpClient::Describe(request) + ": the server has no ranges for this object"};
  return {};
}

}  // namespace

std::string RangeHeader(Extent extent) { return fmt::format("Range: bytes={}-{}", extent.offset, extent.end() - 1); }

Result<RangeAnswer> CheckRangeAnswer(const OriginRequest& request, const OriginResponse& response, Extent extent,
                                     uint64_t size, std::string_view version) {
  if (response.is_directory)
    return Error{Errc::kStale, HttpClient::Describe(request) + ": has become a directory"};
  if (response.status != 200 && response.status != 206) return StatusError(request, response);
  if (auto same = CheckVersion(response.headers, version); !same)
    return Error{same.error().code, fmt::format("{}: {}", HttpClient::Describe(request), same.error().message)};
  if (response.status == 206) {
    GLINTFS_TRY(CheckPartial(request, response, extent, size));
    return RangeAnswer::kExact;
  }
  GLINTFS_TRY(CheckWhole(request, response, extent, size));
  return RangeAnswer::kPrefix;
}

bool RefusesRanges(const HttpHeaders& headers) {
  const auto value = headers.Find("accept-ranges");
  return value && *value == "none";
}

}  // namespace glintfs
