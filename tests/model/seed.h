// The seed of a random test: GLINTFS_SEED if set, else from the clock; printed, so that a failure can be run again.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace glintfs::testing {

inline uint64_t Seed() {
  const char* given = std::getenv("GLINTFS_SEED");
  const uint64_t seed = given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::printf("GLINTFS_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

}  // namespace glintfs::testing
