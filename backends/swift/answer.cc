#include "backends/swift/answer.h"

#include <fmt/format.h>

#include <algorithm>

#include "fs/base/percent.h"

namespace glintfs {
namespace {

constexpr size_t kMaxEtag = 256;
constexpr std::string_view kMd5 = "md5:", kSlo = "slo:", kEtag = "etag:", kTime = "ts:";

std::optional<std::string> Hex(const HttpHeaders& headers, std::string_view name, size_t digits) {
  auto text = headers.Find(name);
  if (!text) return std::nullopt;
  for (char& c : *text)
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c + 32);
  if (text->size() != digits || text->find_first_not_of("0123456789abcdef") != std::string::npos) return std::nullopt;
  return text;
}

bool IsStaticLargeObject(const HttpHeaders& headers) {
  const auto value = headers.Find("x-static-large-object");
  return value && !value->empty() && *value != "False" && *value != "false";
}

// "1795219336.11801", to the nanosecond.
std::optional<Nanos> ParseSeconds(std::string_view text) {
  constexpr uint64_t kLatest = 9'000'000'000;  // the year 2255: what nanoseconds in 64 bits can hold
  const size_t point = std::min(text.find('.'), text.size());
  const auto seconds = ParseNumber(text.substr(0, point));
  if (!seconds || *seconds > kLatest) return std::nullopt;
  std::string fraction(text.substr(std::min(point + 1, text.size())));
  fraction.resize(9, '0');
  const auto nanos = ParseNumber(fraction);
  if (!nanos) return std::nullopt;
  return Nanos(std::chrono::seconds(*seconds)) + Nanos(*nanos);
}

}  // namespace

bool IsMd5(std::string_view text) {
  return text.size() == 32 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::optional<std::string> SwiftEtag(const HttpHeaders& headers) {
  auto etag = headers.Find("etag");
  if (!etag) return std::nullopt;
  if (etag->size() >= 2 && etag->front() == '"' && etag->back() == '"') *etag = etag->substr(1, etag->size() - 2);
  const auto is_odd = [](char c) { return c <= 0x20 || c >= 0x7f || c == '"' || c == ','; };
  if (etag->empty() || etag->size() > kMaxEtag || etag->starts_with("W/") || std::any_of(etag->begin(), etag->end(), is_odd))
    return std::nullopt;
  return etag;
}

std::optional<std::string> SwiftVersion(const HttpHeaders& headers) {
  if (const auto etag = SwiftEtag(headers)) {
    const std::string_view kind = IsStaticLargeObject(headers) ? kSlo : IsMd5(*etag) ? kMd5 : kEtag;
    return fmt::format("{}{}", kind, *etag);
  }
  const auto time = headers.Find("x-timestamp");
  if (!time || !ParseSeconds(*time)) return std::nullopt;
  return fmt::format("{}{}", kTime, *time);
}

std::string SwiftCondition(std::string_view version) {
  if (version.starts_with(kTime)) return "";
  return fmt::format("If-Match: \"{}\"", version.substr(version.find(':') + 1));
}

Nanos SwiftMtime(const HttpHeaders& headers) {
  for (const char* name : {"x-object-meta-mtime", "x-timestamp"})
    if (const auto text = headers.Find(name))
      if (const auto time = ParseSeconds(*text)) return *time;
  return std::chrono::seconds(LastModified(headers).value_or(0));
}

std::optional<SwiftManifest> ManifestOf(const HttpHeaders& headers) {
  const auto text = headers.Find("x-object-manifest");
  if (!text) return std::nullopt;
  const auto decoded = PercentDecode(*text);
  const size_t slash = decoded ? decoded->find('/') : std::string::npos;
  if (slash == std::string::npos) return SwiftManifest{};
  return SwiftManifest{.container = decoded->substr(0, slash), .prefix = decoded->substr(slash + 1)};
}

std::optional<Checksum> SwiftChecksum(const HttpHeaders& headers) {
  if (auto hex = Hex(headers, "x-object-meta-sha512", 128)) return Checksum{"sha512", std::move(*hex)};
  if (auto hex = Hex(headers, "x-object-meta-sha256", 64)) return Checksum{"sha256", std::move(*hex)};
  const auto version = SwiftVersion(headers);
  if (version && version->starts_with(kMd5) && !ManifestOf(headers)) return Checksum{"md5", version->substr(kMd5.size())};
  return std::nullopt;
}

Error SwiftStatusError(const OriginRequest& request, const OriginResponse& response, std::string_view login) {
  const auto error = [&](Errc code, std::string_view meaning) {
    return Error{code, fmt::format("{}: {} ({})", HttpClient::Describe(request), meaning, response.status)};
  };
  if (response.url.Origin() != request.url.Origin()) return StatusError(request, response);
  switch (response.status) {
    case 401: return error(Errc::kAccessDenied, fmt::format("the login is refused: check {}", login));
    case 403:
      return error(Errc::kAccessDenied, fmt::format("the container does not allow it to {}: see swift post --read-acl", login));
    case 409: return error(Errc::kInvalid, "a segment of this large object is not the one its manifest names: upload it again");
    case 498: return error(Errc::kUnavailable, "the server asks for fewer requests");
    default: return StatusError(request, response);
  }
}

}  // namespace glintfs
