// CatalogTest: a catalogue over a fake source, a fake cache and a clock that stands still.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fs/catalog/catalog.h"
#include "tests/support/fake_backend.h"
#include "tests/support/fake_cache.h"
#include "tests/support/wait.h"

namespace glintfs::testing {

using std::chrono::milliseconds;
using std::chrono::seconds;

// One request's outcome. Shared with its callback.
template <typename T>
struct Outcome {
  Mutex mu;
  int calls GUARDED_BY(mu) = 0;
  std::optional<Result<T>> result GUARDED_BY(mu);

  bool done() {
    MutexLock lock(mu);
    return calls > 0;
  }
  int count() {
    MutexLock lock(mu);
    return calls;
  }
  Result<T> get() {
    MutexLock lock(mu);
    return result ? *result : Result<T>(Errc::kBusy, "no answer yet");
  }
  void Set(Result<T> r) {
    MutexLock lock(mu);
    ++calls;
    result.emplace(std::move(r));
  }
};
using LookupOutcome = std::shared_ptr<Outcome<CatalogEntry>>;
using ListOutcome = std::shared_ptr<Outcome<ListingPtr>>;

class CatalogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    backend_.Put("a", 100);
    backend_.Put("dir/b", 200);
    Restart();
  }
  void TearDown() override { backend_.ReleaseAll(); }

  void Restart() {
    catalog_.reset();
    catalog_ = std::make_unique<Catalog>(options_, backend_, cache_, clock_);
  }

  LookupOutcome Start(const std::string& name, RequestId id = 0) {
    auto outcome = std::make_shared<Outcome<CatalogEntry>>();
    catalog_->Lookup(name, id != 0 ? id : catalog_->NewRequestId(), [outcome](auto r) { outcome->Set(std::move(r)); });
    return outcome;
  }
  Result<CatalogEntry> Lookup(const std::string& name) {
    const LookupOutcome outcome = Start(name);
    EXPECT_TRUE(WaitFor([&] { return outcome->done(); })) << name;
    return outcome->get();
  }
  ListOutcome StartList(const std::string& directory) {
    auto outcome = std::make_shared<Outcome<ListingPtr>>();
    catalog_->List(directory, catalog_->NewRequestId(), [outcome](auto r) { outcome->Set(std::move(r)); });
    return outcome;
  }
  // "a dir/ …", or the name of the error.
  std::string List(const std::string& directory) {
    const ListOutcome outcome = StartList(directory);
    EXPECT_TRUE(WaitFor([&] { return outcome->done(); })) << directory;
    return Text(outcome->get());
  }
  static std::string Text(const Result<ListingPtr>& listing) {
    if (!listing) return std::string(ErrcName(listing.error().code));
    std::string text;
    for (const ListEntry& entry : **listing)
      text += (text.empty() ? "" : " ") + entry.name + (entry.is_directory ? "/" : "");
    return text;
  }
  static Errc Code(const Result<CatalogEntry>& r) { return r ? Errc::kBusy : r.error().code; }
  int Stats(const std::string& name) { return backend_.Count(Call::kStat, name); }

  FakeClock clock_;
  FakeBackend backend_;
  FakeCache cache_;
  CatalogOptions options_;
  std::unique_ptr<Catalog> catalog_;
};

}  // namespace glintfs::testing
