// GET /metrics: the Prometheus text exposition format, version 0.0.4.
#pragma once

#include <string>
#include <vector>

#include "control/router.h"
#include "control/service.h"

namespace glintfs {

// Pure.
std::string RenderMetrics(const ServiceStatus& status, const std::vector<QueueEntry>& queue);

// `service` must outlive the routes.
std::vector<Route> MetricsRoutes(Service& service);

}  // namespace glintfs
