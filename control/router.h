// Router: a table of routes. Immutable after construction, therefore thread-safe.
//
//   {"PUT", "/v2/cache/{image}", handler}
//
// A pattern is a literal path, or one that ends in "/{name}", which takes the rest of the path, percent-decoded: images
// are named by %2F or by plain slashes; that rest may be empty. A literal wins over a pattern of the same verb.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "control/http.h"

namespace glintfs {

// `image` is what "{…}" stood for; empty for literal patterns.
using RouteHandler = std::function<HttpResponse(const HttpRequest& request, const std::string& image)>;

struct Route {
  std::string verb;
  std::string pattern;
  RouteHandler handler;
  std::vector<std::string> parameters = {};  // of the query that it takes; in /v1 others are refused
  bool takes_body = false;                   // in /v1 others refuse one
};

class Router {
 public:
  explicit Router(std::vector<Route> routes);

  // Runs the handler. HEAD takes the GET route; the server leaves out the body. 404: no such path; 405 with Allow: not
  // with this verb; 400: a bad escape, or a parameter or body that a route of /v1 does not take; 500: the handler threw.
  HttpResponse Handle(const HttpRequest& request) const;

  const std::vector<Route>& routes() const { return routes_; }

 private:
  std::string AllowedVerbs(std::string_view path) const;

  const std::vector<Route> routes_;
};

}  // namespace glintfs
