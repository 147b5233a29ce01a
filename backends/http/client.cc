// Redirects are followed here and not by libcurl: credentials must stay with the origin they were given for, and a
// redirect that adds a '/' is information about a directory.
#include "backends/http/client.h"

#include <fmt/format.h>

#include "backends/http/exchange.h"
#include "backends/retry_hint.h"
#include "fs/base/mutex.h"

namespace glintfs {
namespace {
constexpr int kMaxRedirects = 5;
}  // namespace

HttpClient::HttpClient(HttpSettings settings, std::shared_ptr<Authorizer> authorizer)
    : settings_(std::move(settings)), authorizer_(std::move(authorizer)), pool_(settings_.max_idle_connections) {}

std::string HttpClient::Describe(const OriginRequest& request) {
  return fmt::format("{} {}", request.post ? "POST" : request.head ? "HEAD" : "GET", request.url.Text());
}

Result<OriginResponse> HttpClient::Perform(const OriginRequest& request, HttpHandler& handler, std::stop_token stop) {
  AssertNoLockHeld();
  OriginRequest hop = request;
  Authorizer::Credentials credentials;
  if (authorizer_) {
    GLINTFS_ASSIGN(credentials, authorizer_->Current(stop));
  }
  bool renewed = false;
  const ConnectionPool::Lease lease = pool_.Take();
  for (int redirects = 0; redirects <= kMaxRedirects;) {
    const bool ours = credentials && !credentials->empty() && hop.url.Origin() == request.url.Origin();
    const auto refused = [&](long status) {
      return ours && !renewed && (status == 400 || status == 401 || status == 403) &&
             authorizer_->Renew(status, credentials);
    };
    Exchange exchange(*lease, settings_, hop, ours ? credentials.get() : nullptr, refused, handler);
    auto response = exchange.Run(stop);
    // The first URL only: where it redirects to may be signed, and a signature is a secret.
    if (!response)
      return Error{response.error().code, fmt::format("{}: {}", Describe(request), response.error().message)};
    if (response->status == 429 || response->status == 503)
      SetRetryHint(RetryAfter(response->headers, Clock::System().WallNow()));
    if (exchange.refused()) {
      renewed = true;
      GLINTFS_ASSIGN(credentials, authorizer_->Current(stop));
    } else if (exchange.redirect()) {
      // The body is for whom it was addressed to, like the credentials: it may be a password.
      if (request.post && exchange.redirect()->Origin() != request.url.Origin())
        return Error{Errc::kInvalid, fmt::format("{}: redirected to another host, which is not told", Describe(request))};
      hop.url = *exchange.redirect();
      ++redirects;
    } else {
      return response;
    }
  }
  return Error{Errc::kInvalid, fmt::format("{}: more than {} redirects", Describe(request), kMaxRedirects)};
}

Error StatusError(const OriginRequest& request, const OriginResponse& response) {
  const auto error = [&](Errc code, std::string_view meaning) {
    return Error{code, fmt::format("{}: {} ({})", HttpClient::Describe(request), meaning, response.status)};
  };
  const long status = response.status;
  if (status == 404 || status == 410) return error(Errc::kNotFound, "no such object");
  if (status == 401 || status == 407) {
    return error(Errc::kAccessDenied, response.url.Origin() == request.url.Origin()
                                          ? "credentials are needed or refused: see user_file= and token_file="
                                          : "redirected to another host, to which credentials are not sent");
  }
  if (status == 403) return error(Errc::kAccessDenied, "access refused");
  if (status == 412) return error(Errc::kStale, "the object has changed");
  if (status == 416) return error(Errc::kStale, "the object's size has changed");
  if (status == 408 || status == 429) return error(Errc::kUnavailable, "the server asks to come back later");
  if (status >= 500) return error(Errc::kUnavailable, "the server failed");
  return error(Errc::kInvalid, "an answer that makes no sense here");
}

}  // namespace glintfs
