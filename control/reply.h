// Answers of the control API: JSON bodies and the one table from Errc to HTTP status.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "control/http.h"
#include "fs/base/clock.h"
#include "fs/base/result.h"

namespace glintfs {

// 404 for kNotFound, 503 for kUnavailable, … See docs/control-api.md.
int ToHttpStatus(Errc code);

// Seconds as a JSON number, to the microsecond; times since 1970 and intervals alike.
double JsonSeconds(Nanos time);

// `body` as application/json. Bytes of names that are not UTF-8 appear as U+FFFD.
HttpResponse JsonResponse(int status, const nlohmann::json& body);
HttpResponse EmptyResponse(int status);

// {"error": {"code": 404, "title": "Not Found", "message": "…"}}. A 503 carries Retry-After.
HttpResponse ErrorResponse(int status, std::string_view message);
HttpResponse ErrorResponse(const Error& error);

}  // namespace glintfs
