// Where a bucket is and how its URLs look: source, endpoint, region, addressing. Pure.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "backends/http/url.h"
#include "fs/base/result.h"

namespace glintfs {

// What stands in "s3://bucket/prefix".
struct S3Source {
  std::string bucket;
  std::string prefix;  // of keys: "" or "a/b/"
};

// kInvalid for what cannot be a bucket or a prefix. The text is taken as it is: '%' and '+' mean themselves.
Result<S3Source> ParseS3Source(std::string_view source);

// kInvalid for what cannot be a region's name: it becomes part of a host name and of signatures.
Result<void> CheckS3Region(std::string_view region);

enum class S3Addressing { kAuto, kPath, kVirtual };
Result<S3Addressing> ParseS3Addressing(std::string_view text);

// A bucket and the part of it that is shown.
struct S3Location {
  S3Source source;
  std::string region;
  bool aws = true;  // the endpoint is AWS' own for the region
  HttpUrl endpoint;
  HttpUrl bucket;   // "http://host/bucket/" or "http://bucket.host/"

  // For status lines and ImageId::source: "s3://bucket/prefix/", with another endpoint "s3+http://host:port/bucket/prefix/".
  std::string Text() const;
  // The URL of the object `key`, encoded as its signature wants it.
  HttpUrl ObjectUrl(std::string_view key) const;
  // The URL of a question about the bucket. The parameters are encoded and in the order of the signature.
  HttpUrl QueryUrl(const std::map<std::string, std::string>& parameters) const;
};

// `endpoint` is empty for AWS. kInvalid for one that is no URL of a server, and for addressing=virtual where it cannot work.
Result<S3Location> LocateS3(S3Source source, const std::string& endpoint, std::string region, S3Addressing addressing);

}  // namespace glintfs
