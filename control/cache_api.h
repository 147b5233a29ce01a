// The cache API of Glance, /v2/cache, as its clients and operators know it, plus a few parameters of ours:
//
//   GET    /v2/cache               cached and queued images
//   PUT    /v2/cache/{image}       cache this image, 202
//   DELETE /v2/cache/{image}       remove it, 204
//   DELETE /v2/cache               remove all; header x-image-cache-clear-target: cache, queue or both (default)
//   POST   /v2/cache/prune         ours: to=SIZE, dry_run=BOOL, in the query or as a JSON body
//   POST   /v2/cache/clean         ours: report=1 for a JSON answer
#pragma once

#include <vector>

#include "control/router.h"
#include "control/service.h"

namespace glintfs {

// `service` must outlive the routes.
std::vector<Route> CacheRoutes(Service& service);

}  // namespace glintfs
