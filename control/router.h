// Router: a table of routes. Immutable after construction, therefore thread-safe.
//
//   {"PUT", "/v2/cache/{image}", handler}
//
// A pattern is a literal path, or one that ends in "/{name}", which takes the rest of the path, percent-decoded: images
// are named by %2F or by plain slashes. A literal wins over a pattern of the same verb.
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
};

class Router {
 public:
  explicit Router(std::vector<Route> routes);

  // Runs the handler. HEAD takes the GET route; the server leaves out the body. 404: no such path; 405 with Allow: not
  // with this verb; 400: a bad escape; 500: the handler threw.
  HttpResponse Handle(const HttpRequest& request) const;

  const std::vector<Route>& routes() const { return routes_; }

 private:
  std::string AllowedVerbs(std::string_view path) const;

  const std::vector<Route> routes_;
};

}  // namespace glintfs
