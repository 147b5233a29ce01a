// The token that a request over TCP carries: "X-Auth-Token: T", as clients of OpenStack send it, or "Authorization: Bearer T", as
// Prometheus does.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "control/authorizer.h"

namespace glintfs {

// The token. An answer to be sent instead: 401 when there is none, or none that could be one; 400 when there are several.
// `challenge` is the WWW-Authenticate of the 401. Pure.
struct TokenOrRefusal {
  std::string token;
  std::optional<HttpResponse> refusal;
};
TokenOrRefusal TokenOf(const HttpRequest& request, const std::string& challenge);

// 401 with WWW-Authenticate. Pure.
HttpResponse Unauthorized(std::string_view message, const std::string& challenge);

// SHA-256: what is kept of a token and compared.
using TokenHash = std::array<unsigned char, 32>;
TokenHash HashOf(std::string_view token);

// Log lines for refused requests, at most one every few seconds: whoever can connect could fill the disk otherwise. Thread-safe.
class RefusalLog {
 public:
  // `why` holds nothing of the token.
  void Note(const Caller& caller, const HttpRequest& request, std::string_view why);

 private:
  std::atomic<int64_t> next_{0};       // steady clock, in seconds
  std::atomic<uint64_t> unsaid_{0};
};

}  // namespace glintfs
