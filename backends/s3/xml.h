// The XML that S3 answers with. Pure; bounded whatever the server sends.
#pragma once

#include <string>
#include <string_view>

#include "backends/backend.h"

namespace glintfs {

// One answer of ListObjectsV2 to a question with delimiter '/' for the keys that begin with `prefix`. Objects come before
// directories, so that a key that is both counts as an object. Left out: the object that stands for the directory itself, and what
// does not begin with the prefix. A name that cannot be one ("/" for an empty part of a key) is handed on: the caller of
// Backend::List leaves it out, and says so. next_cursor is the continuation token. kInvalid for anything else.
struct S3Listing {
  Listing page;
  bool found = false;  // something begins with the prefix, be it only the object that stands for the directory
};
Result<S3Listing> ParseS3Listing(std::string_view xml, std::string_view prefix);

// The parts of an error that are for people: cut, control characters removed, what looks like a key or a signature blotted out.
// Empty for a body that is no error of S3.
struct S3Failure {
  std::string code;     // "NoSuchKey"
  std::string message;
  std::string region;   // where the bucket is, when that is the trouble
};
S3Failure ParseS3Failure(std::string_view xml);

// Fit to be repeated in a message of our own; see S3Failure.
std::string Presentable(std::string_view text);

}  // namespace glintfs
