#include "backends/http/headers.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <limits>

namespace glintfs {
namespace {

constexpr std::string_view kEtagPrefix = "etag:";
constexpr std::string_view kDatePrefix = "lm:";
constexpr std::string_view kLengthPrefix = "len:";

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && std::string_view(" \t\r\n").find(text.back()) != std::string_view::npos)
    text.remove_suffix(1);
  return text;
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return lower;
}

// The seconds in "lm:<epoch>-<size>".
std::optional<int64_t> DateOf(std::string_view version) {
  if (!version.starts_with(kDatePrefix)) return std::nullopt;
  version.remove_prefix(kDatePrefix.size());
  int64_t epoch = 0;
  const auto end = std::from_chars(version.data(), version.data() + version.size(), epoch);
  if (end.ec != std::errc() || end.ptr == version.data() + version.size() || *end.ptr != '-') return std::nullopt;
  return epoch;
}

}  // namespace

void HttpHeaders::Clear() {
  fields_.clear();
  bytes_ = 0;
}

bool HttpHeaders::AddLine(std::string_view line, size_t limit) {
  bytes_ += line.size();
  if (bytes_ > limit) return false;
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0) return true;
  fields_.emplace_back(Lower(Trim(line.substr(0, colon))), std::string(Trim(line.substr(colon + 1))));
  return true;
}

std::optional<std::string> HttpHeaders::Find(std::string_view name) const {
  for (const auto& [field, value] : fields_)
    if (field == name) return value;
  return std::nullopt;
}

Result<std::optional<uint64_t>> HttpHeaders::ContentLength() const {
  std::optional<uint64_t> length;
  for (const auto& [field, value] : fields_) {
    if (field != "content-length") continue;
    const auto number = ParseNumber(value);
    if (!number) return Error{Errc::kInvalid, "Content-Length is not a number of bytes"};
    if (length && *length != *number) return Error{Errc::kInvalid, "two different Content-Length"};
    length = number;
  }
  return length;
}

std::optional<uint64_t> ParseNumber(std::string_view text) {
  uint64_t value = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || end.ec != std::errc() || end.ptr != text.data() + text.size()) return std::nullopt;
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return value;
}

std::optional<ContentRange> ParseContentRange(std::string_view text) {
  if (Lower(text.substr(0, 6)) != "bytes ") return std::nullopt;
  text = Trim(text.substr(6));
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const std::string_view span = text.substr(0, slash), total = text.substr(slash + 1);
  ContentRange range;
  if (total != "*") {
    range.total = ParseNumber(total);
    if (!range.total) return std::nullopt;
  }
  if (span == "*") return range.total ? std::optional(range) : std::nullopt;
  const size_t dash = span.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto first = ParseNumber(span.substr(0, dash)), last = ParseNumber(span.substr(dash + 1));
  if (!first || !last || *first > *last || (range.total && *last >= *range.total)) return std::nullopt;
  range.first = *first;
  range.last = *last;
  return range;
}

std::optional<std::string> StrongEtag(const HttpHeaders& headers) {
  const auto etag = headers.Find("etag");
  if (!etag || etag->size() < 2 || etag->front() != '"' || etag->back() != '"') return std::nullopt;
  return etag;
}

Nanos RetryAfter(const HttpHeaders& headers, Nanos wall_now) {
  constexpr int64_t kLongest = 3600;
  const auto text = headers.Find("retry-after");
  if (!text) return Nanos(0);
  int64_t seconds = 0;
  if (const auto number = ParseNumber(*text)) {
    seconds = static_cast<int64_t>(std::min<uint64_t>(*number, kLongest));
  } else if (const time_t time = ::curl_getdate(text->c_str(), nullptr); time > 0) {
    seconds = time - std::chrono::duration_cast<std::chrono::seconds>(wall_now).count();
  }
  return std::chrono::seconds(std::clamp<int64_t>(seconds, 0, kLongest));
}

std::optional<int64_t> LastModified(const HttpHeaders& headers) {
  const auto text = headers.Find("last-modified");
  if (!text) return std::nullopt;
  const time_t time = ::curl_getdate(text->c_str(), nullptr);
  return time > 0 ? std::optional<int64_t>(time) : std::nullopt;
}

std::string FormatHttpDate(int64_t epoch_seconds) {
  constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const time_t time = epoch_seconds;
  struct tm tm{};
  ::gmtime_r(&time, &tm);
  return fmt::format("{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT", kDays[tm.tm_wday], tm.tm_mday, kMonths[tm.tm_mon],
                     tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

std::string MakeHttpVersion(const HttpHeaders& headers, uint64_t size) {
  if (const auto etag = StrongEtag(headers)) return fmt::format("{}{}", kEtagPrefix, *etag);
  if (const auto date = LastModified(headers)) return fmt::format("{}{}-{}", kDatePrefix, *date, size);
  return fmt::format("{}{}", kLengthPrefix, size);
}

bool IsLengthOnly(std::string_view version) { return version.starts_with(kLengthPrefix); }

std::string ConditionFor(std::string_view version) {
  if (version.starts_with(kEtagPrefix)) return fmt::format("If-Match: {}", version.substr(kEtagPrefix.size()));
  if (const auto date = DateOf(version)) return "If-Unmodified-Since: " + FormatHttpDate(*date);
  return "";
}

Result<void> CheckVersion(const HttpHeaders& headers, std::string_view version) {
  if (version.starts_with(kEtagPrefix)) {
    const auto etag = StrongEtag(headers);
    if (!etag) return Error{Errc::kInvalid, "the answer lacks the ETag that the server gave before"};
    if (*etag != version.substr(kEtagPrefix.size())) return Error{Errc::kStale, "the ETag has changed"};
    return {};
  }
  if (const auto date = DateOf(version)) {
    const auto now = LastModified(headers);
    if (!now) return Error{Errc::kInvalid, "the answer lacks the Last-Modified that the server gave before"};
    if (*now != *date) return Error{Errc::kStale, "Last-Modified has changed"};
  }
  return {};
}

}  // namespace glintfs
