// The stores there are, for programs other than the contract tests.
#pragma once

#include <memory>

#include "tests/stores/store.h"

namespace glintfs::testing {

std::unique_ptr<Store> MakeGlanceStore();
std::unique_ptr<Store> MakeRadosStore();
std::unique_ptr<Store> MakeRbdStore();
std::unique_ptr<Store> MakeS3Store();
std::unique_ptr<Store> MakeSwiftStore();

}  // namespace glintfs::testing
