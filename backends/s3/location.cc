// The canonical form of a signature has the path with every byte but unreserved ones and '/' as %XX, and the query in the order of
// its names, encoded the same way. URLs are made in just that form, so that what libcurl signs is what it sends.
#include "backends/s3/location.h"

#include <fmt/format.h>

#include <algorithm>

#include "backends/backend.h"
#include "fs/base/percent.h"

namespace glintfs {
namespace {

bool IsLowerAlnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool IsAlnum(char c) { return IsLowerAlnum(c) || (c >= 'A' && c <= 'Z'); }

// Old buckets of AWS and those of other servers may have names that no host name can hold.
bool IsBucketName(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(), [](char c) { return IsAlnum(c) || c == '.' || c == '-' || c == '_' || c == ':'; });
}

bool IsHostLabel(std::string_view label) {
  return !label.empty() && label.size() <= 63 && label.front() != '-' && label.back() != '-' &&
         std::all_of(label.begin(), label.end(), [](char c) { return IsLowerAlnum(c) || c == '-'; });
}

bool CanBeHostName(std::string_view bucket) {
  for (size_t start = 0; start <= bucket.size();) {
    const size_t end = std::min(bucket.find('.', start), bucket.size());
    if (!IsHostLabel(bucket.substr(start, end - start))) return false;
    start = end + 1;
  }
  return true;
}

bool IsAddress(std::string_view host) {
  return host.starts_with('[') || host.find_first_not_of("0123456789.") == std::string_view::npos;
}

}  // namespace

Result<S3Source> ParseS3Source(std::string_view source) {
  constexpr std::string_view kScheme = "s3://";
  if (!source.starts_with(kScheme)) return Error{Errc::kInvalid, "a source of s3 is written s3://bucket or s3://bucket/prefix"};
  source.remove_prefix(kScheme.size());
  const size_t slash = std::min(source.find('/'), source.size());
  S3Source parsed{.bucket = std::string(source.substr(0, slash)), .prefix = {}};
  // Not repeated: it may hold keys.
  if (parsed.bucket.find('@') != std::string::npos)
    return Error{Errc::kInvalid, "s3://: keys inside the source would show in ps: leave them out, see glintfs-s3(7)"};
  if (!IsBucketName(parsed.bucket))
    return Error{Errc::kInvalid, "s3://: that is no bucket's name: write s3://bucket or s3://bucket/prefix"};
  std::string_view prefix = source.substr(std::min(slash + 1, source.size()));
  if (prefix.ends_with('/')) prefix.remove_suffix(1);
  if (prefix.empty() && slash + 1 >= source.size()) return parsed;
  if (!IsValidName(prefix)) {
    return Error{Errc::kInvalid, fmt::format("s3://{}: the prefix cannot be a directory: no empty part, no '.' or '..', no control "
                                             "character, at most 255 bytes between two '/'", parsed.bucket)};
  }
  parsed.prefix = std::string(prefix) + "/";
  return parsed;
}

Result<void> CheckS3Region(std::string_view region) {
  if (!region.empty() && region.size() <= 64 &&
      std::all_of(region.begin(), region.end(), [](char c) { return IsAlnum(c) || c == '-' || c == '_'; }))
    return {};
  return Error{Errc::kInvalid, "region= is not the name of a region: write it like eu-central-1"};
}

Result<S3Addressing> ParseS3Addressing(std::string_view text) {
  if (text == "auto") return S3Addressing::kAuto;
  if (text == "path") return S3Addressing::kPath;
  if (text == "virtual") return S3Addressing::kVirtual;
  return Error{Errc::kInvalid, fmt::format("addressing={}: use auto, path or virtual", text)};
}

Result<S3Location> LocateS3(S3Source source, const std::string& endpoint, std::string region, S3Addressing addressing) {
  GLINTFS_TRY(CheckS3Region(region));
  S3Location location{
      .source = std::move(source), .region = std::move(region), .aws = endpoint.empty(), .endpoint = {}, .bucket = {}};
  const bool in_china = location.region.starts_with("cn-");
  const std::string aws = fmt::format("https://s3.{}.amazonaws.com{}", location.region, in_china ? ".cn" : "");
  auto url = ParseSourceUrl(location.aws ? aws : endpoint);
  if (!url) return Error{Errc::kInvalid, "endpoint=: " + url.error().message};
  location.endpoint = *url;
  location.bucket = std::move(*url);

  const std::string& bucket = location.source.bucket;
  // A certificate for *.host does not cover a bucket with a dot.
  const bool fits = CanBeHostName(bucket) && (location.endpoint.scheme == "http" || bucket.find('.') == std::string::npos);
  if (addressing == S3Addressing::kAuto) addressing = location.aws && fits ? S3Addressing::kVirtual : S3Addressing::kPath;
  if (addressing == S3Addressing::kPath) {
    location.bucket.path += PercentEncode(bucket) + "/";
    return location;
  }
  if (IsAddress(location.endpoint.host))
    return Error{Errc::kInvalid, "addressing=virtual needs an endpoint with a host name, not an address: use addressing=path"};
  if (!fits)
    return Error{Errc::kInvalid, fmt::format("addressing=virtual: '{}' does not fit into a host name: use addressing=path", bucket)};
  location.bucket.host = bucket + "." + location.endpoint.host;
  return location;
}

std::string S3Location::Text() const {
  if (aws) return fmt::format("s3://{}/{}", source.bucket, source.prefix);
  return fmt::format("s3+{}{}/{}", endpoint.Text(), source.bucket, source.prefix);
}

HttpUrl S3Location::ObjectUrl(std::string_view key) const { return bucket.Below(key); }

HttpUrl S3Location::QueryUrl(const std::map<std::string, std::string>& parameters) const {
  HttpUrl url = bucket;
  if (url.path.size() > 1) url.path.pop_back();
  for (const auto& [name, value] : parameters) {
    if (!url.query.empty()) url.query += '&';
    url.query += PercentEncode(name) + "=" + PercentEncode(value);
  }
  return url;
}

}  // namespace glintfs
