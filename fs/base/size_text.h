// Sizes, durations and shares as people write them.
//
// Sizes are Kubernetes quantities (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/), as
// Glance's operators write them: 10G is 10·10⁹ bytes, 10Gi is 10·2³⁰. Durations: 500ms, 90s, 10m, 24h, 7d.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "fs/base/result.h"

namespace glintfs {

// "10G" → 10'000'000'000. Whole or decimal number, suffix none, k, M, G, T, P, E or Ki … Ei. Result in bytes, rounded up.
Result<uint64_t> ParseSize(std::string_view text);

// "24h" → 86'400 s. Suffix ms, s, m, h, d; a bare number is seconds. At most 100 years.
Result<std::chrono::nanoseconds> ParseDuration(std::string_view text);

// "90%" → 0.90; also "0.9". Between 0 and 1.
Result<double> ParseShare(std::string_view text);

// 1'536'000 → "1.46 MiB": binary units, three significant digits, for people.
std::string FormatSize(uint64_t bytes);
// The shortest ParseSize text for exactly this number: "10G", "256Ki", "1234567".
std::string FormatQuantity(uint64_t bytes);
// 5'400 s → "1h30m"; under a minute "12.3s" or "5ms".
std::string FormatDuration(std::chrono::nanoseconds duration);

}  // namespace glintfs
