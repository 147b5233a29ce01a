// Our own part of the control API, /v1: status, images, pins, queue.
#pragma once

#include <vector>

#include "control/router.h"
#include "control/service.h"

namespace glintfs {

// `service` must outlive the routes.
std::vector<Route> AdminRoutes(Service& service);

}  // namespace glintfs
