// Requests and answers as plain values: all that the router and the APIs know of HTTP. The server (control/http_server)
// makes requests out of bytes and bytes out of answers.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace glintfs {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;                        // "GET"; upper case as sent
  std::string path;                          // as sent, still percent-encoded, without the query
  std::map<std::string, std::string> query;  // decoded; of equal names the last one counts
  HttpHeaders headers;
  std::string body;
  std::string caller;  // who asks, for log lines: "uid 1000"
  std::string scheme = "http";  // or "https": how it came

  // The first header of that name (any case), or nullopt.
  std::optional<std::string_view> Header(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type;  // empty: no Content-Type header
  std::string body;
  HttpHeaders headers;  // besides Content-Type and those of the connection
};

// Splits a request target ("/a%2Fb?x=1", "http://host/a", "https://host/a") into path and query. False when it is neither an absolute
// path nor an absolute URL, or has a bad escape in the query.
bool ParseTarget(std::string_view target, HttpRequest& request);

// "Not Found" for 404; "" for codes the server does not use.
std::string_view HttpReason(int status);

bool EqualsIgnoringCase(std::string_view a, std::string_view b);

}  // namespace glintfs
