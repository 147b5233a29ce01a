// The segments of a dynamic large object.
//
// Such an object is a rule: "everything whose name begins with P, in order". The server applies it anew to each request, and while
// it answers one it sends whatever the segments hold by then, under the ETag of what they held at its start. So that the bytes of
// two versions are never mixed, glintfs looks up the segments itself and reads each under the condition of its own ETag.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backends/swift/account.h"
#include "backends/swift/answer.h"

namespace glintfs {

struct SwiftSegment {
  std::string name;
  uint64_t offset = 0;  // in the image
  uint64_t size = 0;
  std::string md5;
};

struct SwiftSegments {
  std::string container;
  std::vector<SwiftSegment> list;  // in order; empty ones are left out
  uint64_t size = 0;               // of the image
  std::string version;             // dlo:<hex>, the MD5 of the segments' MD5s, as Swift makes its ETag
};

Result<SwiftSegments> ListSegments(SwiftAccount& account, const SwiftManifest& manifest, std::stop_token stop);

}  // namespace glintfs
