// The Swift that the contract tests run on, for tests of what only Swift has.
#pragma once

#include "backends/registry.h"
#include "tests/support/swift.h"

namespace glintfs::testing {

// Started now if it is not. It has the container "images"; other tests fill others.
Swift& SharedSwift();

// Logs in as the owner of the account.
BackendOptions SwiftOptions();

}  // namespace glintfs::testing
