// What the headers of an answer say: validators, lengths, ranges. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fs/base/clock.h"
#include "fs/base/result.h"

namespace glintfs {

// The header fields of one answer, in order; names in lower case, values trimmed.
class HttpHeaders {
 public:
  void Clear();
  // One line as received, "Name: value\r\n"; lines that are none are ignored. False when all lines together are longer
  // than `limit` bytes.
  bool AddLine(std::string_view line, size_t limit = 256 << 10);

  // The first value of `name` (lower case); nullopt when absent.
  std::optional<std::string> Find(std::string_view name) const;
  // nullopt when absent; kInvalid when it is not a number, exceeds INT64_MAX, or is given twice with different values.
  Result<std::optional<uint64_t>> ContentLength() const;

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
  size_t bytes_ = 0;
};

// "bytes 0-99/1000". `total` is nullopt for "*"; first > last stands for an unsatisfied range ("bytes */1000").
struct ContentRange {
  uint64_t first = 1;
  uint64_t last = 0;
  std::optional<uint64_t> total;

  bool satisfied() const { return first <= last; }
};
std::optional<ContentRange> ParseContentRange(std::string_view text);

// A whole decimal number up to INT64_MAX; nullopt for anything else.
std::optional<uint64_t> ParseNumber(std::string_view text);

// The entity tag when it is a strong one ("\"abc\"", with its quotes), else nullopt: a weak one does not promise equal
// bytes.
std::optional<std::string> StrongEtag(const HttpHeaders& headers);

// How long Retry-After asks to wait, at most an hour; 0 when it does not.
Nanos RetryAfter(const HttpHeaders& headers, Nanos wall_now);

// Seconds since 1970; nullopt when absent or no date.
std::optional<int64_t> LastModified(const HttpHeaders& headers);
// "Sun, 06 Nov 1994 08:49:37 GMT"
std::string FormatHttpDate(int64_t epoch_seconds);

// The version of an object of `size` bytes: etag:"…" | lm:<epoch>-<size> | len:<size>.
std::string MakeHttpVersion(const HttpHeaders& headers, uint64_t size);
// True when only a change of length can be seen.
bool IsLengthOnly(std::string_view version);
// The request header that makes the server answer 412 unless it still holds `version`; "" when there is none.
// If-Match rather than If-Range: a mismatch then costs a status line instead of the whole new object.
std::string ConditionFor(std::string_view version);
// Whether an answer with these headers belongs to `version`, as far as validators tell; the length is the caller's to
// check. kStale when it belongs to another one, kInvalid when it lacks the validator that the version is made of.
Result<void> CheckVersion(const HttpHeaders& headers, std::string_view version);

}  // namespace glintfs
