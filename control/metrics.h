// GET /metrics: the Prometheus text exposition format, version 0.0.4.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/router.h"
#include "control/service.h"

namespace glintfs {

// Pure.
std::string RenderMetrics(const ServiceStatus& status, const std::vector<QueueEntry>& queue);

// A page of RenderMetrics for the textfile collector of Prometheus' node exporter, where it stands beside the exporter's own process_*
// and the pages of other daemons: without process_*, and with a label `mountpoint` on every sample. Pure.
std::string TextfileMetrics(std::string_view page, std::string_view mountpoint);

// `service` must outlive the routes.
std::vector<Route> MetricsRoutes(Service& service);

}  // namespace glintfs
