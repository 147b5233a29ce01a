// Ports for servers of tests, such that tests that run at the same time never get the same one, without a file that could stay.
#pragma once

namespace glintfs::testing {

// A port on 127.0.0.1 below the range that the kernel gives to outgoing connections, on which nothing listens. Reserved for this
// process, and those it forks, until they end. Throws std::runtime_error when there is none. Thread-safe.
int ReservePort();

}  // namespace glintfs::testing
