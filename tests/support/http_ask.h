// Ask: one request to a server of a test, with any method, and its answer.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace glintfs::testing {

// One answer of a server. Any method, unlike HttpClient.
struct HttpAnswer {
  long status = 0;
  std::string body;
  std::map<std::string, std::string> headers;  // names in lower case
};
struct HttpAsk {
  std::string method = "GET";
  std::string url;
  std::vector<std::string> headers;
  std::string body;
  std::string file;  // a file to send instead of `body`
};
// Status 0 when nothing came.
HttpAnswer Ask(const HttpAsk& ask);

}  // namespace glintfs::testing
