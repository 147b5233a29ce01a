// What operators do beside caching, in /v1: the queue, scrubs, events, activity, settings, the source's listing, doctor.
#pragma once

#include <vector>

#include "control/router.h"
#include "control/service.h"

namespace glintfs {

// `service` must outlive the routes.
std::vector<Route> OperateRoutes(Service& service);

}  // namespace glintfs
