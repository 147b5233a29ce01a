// What clients of OpenStack's image service ask before they use /v2/cache: which versions there are, how an image is described, and
// whether there is an image of that id or name.
//
//   GET /                       300, the versions; GET /versions the same with 200
//   GET /v2, GET /v2/           200, the same: Glance has nothing there, clients ask all the same
//   GET /v2/schemas/{schema}    what describes an image; known ones only
//   GET /v2/images/{image}      one image of the source
//   GET /v2/images?name=NAME    those of that name; id=, limit=, marker= too. Without name= and id=: what is in the cache
//
// An image has its name below the mount as id, the one that /v2/cache takes.
#pragma once

#include <vector>

#include "control/router.h"
#include "control/service.h"

namespace glintfs {

// `service` must outlive the routes.
std::vector<Route> GlanceRoutes(Service& service);

}  // namespace glintfs
