#include "control/reply.h"

#include <nlohmann/json.hpp>

namespace glintfs {

// No default: a new Errc must be given its status here.
int ToHttpStatus(Errc code) {
  switch (code) {
    case Errc::kNotFound: return 404;
    case Errc::kUnavailable: return 503;
    case Errc::kTimedOut: return 503;
    case Errc::kAccessDenied: return 502;  // the source refuses us, not we the caller: that would be 403
    case Errc::kStale: return 409;
    case Errc::kNotSupported: return 501;
    case Errc::kInvalid: return 400;
    case Errc::kNoSpace: return 507;
    case Errc::kIo: return 500;
    case Errc::kCorrupt: return 500;
    case Errc::kBusy: return 409;
    case Errc::kCancelled: return 503;
    case Errc::kIsDirectory: return 400;
    case Errc::kNotDirectory: return 404;  // a/b where a is an image: there is no such image
  }
  return 500;
}

// By whole microseconds, which a double holds exactly for times of our days: .25 does not become .2499998.
double JsonSeconds(Nanos time) { return static_cast<double>(time.count() / 1000) / 1e6; }

HttpResponse JsonResponse(int status, const nlohmann::json& body) {
  HttpResponse response;
  response.status = status;
  response.content_type = "application/json";
  response.body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return response;
}

HttpResponse EmptyResponse(int status) {
  HttpResponse response;
  response.status = status;
  return response;
}

HttpResponse ErrorResponse(int status, std::string_view message) {
  const nlohmann::json error = {
      {"code", status}, {"title", std::string(HttpReason(status))}, {"message", std::string(message)}};
  HttpResponse response = JsonResponse(status, {{"error", error}});
  if (status == 503) response.headers.emplace_back("Retry-After", "5");
  return response;
}

HttpResponse ErrorResponse(const Error& error) {
  return ErrorResponse(ToHttpStatus(error.code), error.message.empty() ? ErrcName(error.code) : error.message);
}

}  // namespace glintfs
