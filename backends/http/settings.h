// The HTTP part of a backend's settings, for every backend that speaks it.
#pragma once

#include <algorithm>

#include "backends/http/client.h"
#include "backends/registry.h"

namespace glintfs {

inline HttpSettings HttpSettingsFrom(const BackendOptions& options) {
  return {.connect_timeout = options.connect_timeout,
          .first_byte_timeout = options.first_byte_timeout,
          .low_speed_limit = options.low_speed_limit,
          .low_speed_time = options.low_speed_time,
          .ca_file = options.ca_file,
          .max_idle_connections = static_cast<size_t>(std::max(options.max_parallel, 1))};
}

}  // namespace glintfs
