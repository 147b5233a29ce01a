// What the answers of S3 mean: versions, checksums, errors. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "backends/backend.h"
#include "backends/http/client.h"

namespace glintfs {

// The version of an object: its ETag, and its version id where the bucket keeps versions. Empty text: the answer has nothing that
// tells versions apart.
//   etag:"9b2cf535f27731c974343645a3985328-3" version-id:3HL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY
std::string S3Version(const HttpHeaders& headers, uint64_t size);
// The part of it that HTTP's conditions and checks (headers.h) understand.
std::string HttpPartOf(const std::string& version);
// kStale for an answer that names another version id. Its ETag is the caller's to check.
Result<void> CheckVersionId(const HttpHeaders& headers, const std::string& version);

// The checksum of the whole object from the headers of an answer (x-amz-checksum-*); nullopt without one, and for one that is made
// of the checksums of parts. The strongest one when there are several.
std::optional<Checksum> S3Checksum(const HttpHeaders& headers);

// The error for an answer that is not the one asked for. `region` is the one that requests are signed for.
Error S3Error(const OriginRequest& request, const OriginResponse& response, std::string_view body, std::string_view region);

}  // namespace glintfs
