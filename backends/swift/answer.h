// What the headers of a Swift object say: its version, its time, its checksum; and what a status means. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "backends/backend.h"
#include "backends/http/client.h"

namespace glintfs {

// The entity tag without its quotes (Swift sends that of a plain object bare, that of a large one in quotes); nullopt for a weak
// one and for one that cannot go into a request.
std::optional<std::string> SwiftEtag(const HttpHeaders& headers);

// md5:<hex>   a plain object: the MD5 of its content
// slo:<etag>  a static large object: covers what its manifest names
// etag:<etag> an object whose tag is no MD5 (other servers)
// ts:<time>   no tag at all: when it was written
// nullopt when nothing tells. Dynamic large objects: see segments.h.
std::optional<std::string> SwiftVersion(const HttpHeaders& headers);

// The request header that makes the server answer 412 unless it still holds `version`; "" when there is none.
std::string SwiftCondition(std::string_view version);

// X-Object-Meta-Mtime (as swift and rclone write it), else X-Timestamp, else Last-Modified; 0 when none makes sense.
Nanos SwiftMtime(const HttpHeaders& headers);

// The container and the beginning of the names that a dynamic large object is made of (X-Object-Manifest); nullopt when it is none.
struct SwiftManifest {
  std::string container;
  std::string prefix;
};
std::optional<SwiftManifest> ManifestOf(const HttpHeaders& headers);

// X-Object-Meta-Sha512, else X-Object-Meta-Sha256, else the MD5 of a plain object; nullopt when there is none.
std::optional<Checksum> SwiftChecksum(const HttpHeaders& headers);

bool IsMd5(std::string_view text);

// The error for an answer whose status is not the one asked for. `login`: who asked, OpenStackAuth::DescribeLogin.
Error SwiftStatusError(const OriginRequest& request, const OriginResponse& response, std::string_view login);

}  // namespace glintfs
