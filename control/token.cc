#include "control/token.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <chrono>

#include "backends/openstack/token_check.h"
#include "control/reply.h"
#include "fs/base/log.h"

namespace glintfs {
namespace {

constexpr std::string_view kBearer = "Bearer ";
constexpr int64_t kLogPause = 5;  // seconds

}  // namespace

HttpResponse Unauthorized(std::string_view message, const std::string& challenge) {
  HttpResponse response = ErrorResponse(401, message);
  response.headers.emplace_back("WWW-Authenticate", challenge);
  return response;
}

TokenOrRefusal TokenOf(const HttpRequest& request, const std::string& challenge) {
  std::string_view token;
  int found = 0;
  for (const auto& [name, value] : request.headers) {
    if (EqualsIgnoringCase(name, "X-Auth-Token")) {
      token = value;
      ++found;
    } else if (EqualsIgnoringCase(name, "Authorization")) {
      const bool bearer = EqualsIgnoringCase(std::string_view(value).substr(0, kBearer.size()), kBearer);
      token = bearer ? std::string_view(value).substr(kBearer.size()) : std::string_view();
      ++found;
    }
  }
  if (found > 1) return {"", ErrorResponse(400, "more than one token: send X-Auth-Token or Authorization, once")};
  if (found == 0) return {"", Unauthorized("a token is needed: send it as X-Auth-Token", challenge)};
  if (!IsTokenText(token)) return {"", Unauthorized("that is no token", challenge)};
  return {std::string(token), std::nullopt};
}

TokenHash HashOf(std::string_view token) {
  TokenHash hash{};
  unsigned size = 0;
  ::EVP_Digest(token.data(), token.size(), hash.data(), &size, ::EVP_sha256(), nullptr);
  return hash;
}

void RefusalLog::Note(const Caller& caller, const HttpRequest& request, std::string_view why) {
  const int64_t now =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
  int64_t next = next_.load();
  if (now < next || !next_.compare_exchange_strong(next, now + kLogPause)) {
    ++unsaid_;
    return;
  }
  const uint64_t more = unsaid_.exchange(0);
  LogWarn("control: refused {} {} to {}: {}{}", request.method, request.path.substr(0, 200), caller.name, why,
          more == 0 ? "" : fmt::format(" (and {} more before)", more));
}

}  // namespace glintfs
