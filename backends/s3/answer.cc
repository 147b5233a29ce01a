#include "backends/s3/answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "backends/s3/location.h"
#include "backends/s3/xml.h"

namespace glintfs {
namespace {

constexpr std::string_view kIdMark = " version-id:";

std::optional<std::string> VersionId(const HttpHeaders& headers) {
  auto id = headers.Find("x-amz-version-id");
  if (!id || id->empty() || *id == "null" || id->size() > 1024) return std::nullopt;
  if (std::any_of(id->begin(), id->end(), [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f; }))
    return std::nullopt;
  return id;
}

// Lower-case hex of the base64 text of exactly `size` bytes.
std::optional<std::string> HexOfBase64(std::string_view text, size_t size) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.size() != (size + 2) / 3 * 4) return std::nullopt;
  while (text.ends_with('=')) text.remove_suffix(1);
  if (text.size() != (size * 8 + 5) / 6) return std::nullopt;
  std::string hex;
  unsigned bits = 0, value = 0;
  for (const char c : text) {
    const size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    value = (value << 6 | static_cast<unsigned>(digit)) & 0xffff;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    hex += fmt::format("{:02x}", value >> bits & 0xff);
  }
  return hex;
}

struct Meaning {
  std::string_view code;
  Errc errc;
  std::string_view text;
};

// Codes of which the status alone does not tell enough.
constexpr Meaning kMeanings[] = {
    {"InvalidAccessKeyId", Errc::kAccessDenied, "the access key is not known there"},
    {"SignatureDoesNotMatch", Errc::kAccessDenied, "the secret key is wrong"},
    {"ExpiredToken", Errc::kAccessDenied, "the session token has expired: put new keys into the credentials file"},
    {"TokenRefreshRequired", Errc::kAccessDenied, "the session token has expired: put new keys into the credentials file"},
    {"InvalidToken", Errc::kAccessDenied, "the session token is refused"},
    {"RequestTimeTooSkewed", Errc::kAccessDenied, "the clocks of this machine and the server are too far apart: set them"},
    {"InvalidObjectState", Errc::kAccessDenied, "the object is archived: restore it first"},
    {"NoSuchBucket", Errc::kNotFound, "there is no such bucket"},
    {"NoSuchKey", Errc::kNotFound, "no such object"},
    {"PreconditionFailed", Errc::kStale, "the object has changed"},
    {"InvalidRange", Errc::kStale, "the object's size has changed"},
    {"SlowDown", Errc::kUnavailable, "the server asks to come back later"},
    {"RequestTimeout", Errc::kUnavailable, "the server waited in vain"},
    {"NotImplemented", Errc::kNotSupported, "the server cannot do this"},
};

Meaning MeaningOf(long status) {
  if (status == 404 || status == 410) return {"", Errc::kNotFound, "no such object"};
  if (status == 401 || status == 403) return {"", Errc::kAccessDenied, "access refused"};
  if (status == 412) return {"", Errc::kStale, "the object has changed"};
  if (status == 416) return {"", Errc::kStale, "the object's size has changed"};
  if (status == 408 || status == 429 || status == 503) return {"", Errc::kUnavailable, "the server asks to come back later"};
  if (status == 501) return {"", Errc::kNotSupported, "the server cannot do this"};
  if (status >= 500) return {"", Errc::kUnavailable, "the server failed"};
  if (status >= 300 && status < 400) return {"", Errc::kInvalid, "redirected: is endpoint= right?"};
  return {"", Errc::kInvalid, "an answer that makes no sense here"};
}

// The region the bucket is in, when the answer says that it is another one.
std::string OtherRegion(const OriginResponse& response, const S3Failure& failure, std::string_view region) {
  if (response.status != 400 && (response.status < 300 || response.status > 399)) return "";
  const std::string named = response.headers.Find("x-amz-bucket-region").value_or(failure.region);
  return named != region && CheckS3Region(named) ? named : "";
}

}  // namespace

std::string S3Version(const HttpHeaders& headers, uint64_t size) {
  const std::string version = MakeHttpVersion(headers, size);
  if (IsLengthOnly(version)) return "";
  const auto id = VersionId(headers);
  return id ? fmt::format("{}{}{}", version, kIdMark, *id) : version;
}

std::string HttpPartOf(const std::string& version) { return version.substr(0, version.rfind(kIdMark)); }

Result<void> CheckVersionId(const HttpHeaders& headers, const std::string& version) {
  const size_t mark = version.rfind(kIdMark);
  const auto id = VersionId(headers);
  if (mark == std::string::npos || !id || version.substr(mark + kIdMark.size()) == *id) return {};
  return Error{Errc::kStale, "the object's version id has changed"};
}

std::optional<Checksum> S3Checksum(const HttpHeaders& headers) {
  if (headers.Find("x-amz-checksum-type").value_or("FULL_OBJECT") != "FULL_OBJECT") return std::nullopt;
  struct Kind {
    const char* name;
    size_t bytes;
  };
  for (const Kind& kind : {Kind{"sha256", 32}, {"sha1", 20}, {"crc64nvme", 8}, {"crc32c", 4}, {"crc32", 4}}) {
    const auto text = headers.Find(fmt::format("x-amz-checksum-{}", kind.name));
    if (!text) continue;
    if (auto hex = HexOfBase64(*text, kind.bytes)) return Checksum{kind.name, std::move(*hex)};  // "…-3" is one of parts
  }
  return std::nullopt;
}

Error S3Error(const OriginRequest& request, const OriginResponse& response, std::string_view body, std::string_view region) {
  const S3Failure failure = ParseS3Failure(body);
  const std::string what = HttpClient::Describe(request);
  if (const std::string other = OtherRegion(response, failure, region); !other.empty())
    return Error{Errc::kInvalid, fmt::format("{}: the bucket is in region {}: set region={}", what, other, other)};
  const auto* known =
      std::find_if(std::begin(kMeanings), std::end(kMeanings), [&](const Meaning& m) { return m.code == failure.code; });
  // What answers 404 without S3's own words is hardly S3.
  if (failure.code.empty() && !request.head && response.status == 404)
    return Error{Errc::kNotFound, fmt::format("{}: no answer of S3 (404): is endpoint= right, without a path?", HttpClient::Describe(request))};
  const Meaning meaning = known != std::end(kMeanings) ? *known : MeaningOf(response.status);
  std::string text = fmt::format("{}: {} ({}", what, meaning.text, response.status);
  if (!failure.code.empty()) text += " " + failure.code;
  if (!failure.message.empty()) text += ": " + failure.message;
  return Error{meaning.errc, text + ")"};
}

}  // namespace glintfs
