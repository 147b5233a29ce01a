// What is counted of the requests to a source.
#include "backends/meter.h"

#include "backends/retrying.h"
#include "tests/backends/fetching.h"
#include "tests/support/fake_backend.h"

namespace glintfs::testing {
namespace {

uint64_t Requests(const BackendStats& stats, Operation operation) {
  return stats.latency[static_cast<size_t>(operation)].count();
}
uint64_t Errors(const BackendStats& stats, Errc code) { return stats.errors[static_cast<size_t>(code)]; }

class MeterTest : public ::testing::Test {
 protected:
  MeterTest() {
    auto fake = std::make_unique<FakeBackend>();
    fake_ = fake.get();
    RetryPolicy policy;
    policy.sleep = [](Nanos, std::stop_token) { return true; };
    policy.meter = meter_;
    backend_ = MakeRetrying(MakeMetered(std::move(fake), meter_), std::move(policy));
    fake_->Put("a.img", 100'000);
  }

  const std::shared_ptr<BackendMeter> meter_ = std::make_shared<BackendMeter>("fake");
  FakeBackend* fake_;
  std::unique_ptr<Backend> backend_;
};

TEST_F(MeterTest, EveryRequestIsCountedWithItsOperation) {
  const auto info = backend_->Stat("a.img", {});
  ASSERT_OK(info);
  ASSERT_OK(backend_->List("", "", {}));
  const auto reader = backend_->Open(info->image, {});
  ASSERT_OK(reader);
  ASSERT_OK((*reader)->Holes({}));
  ASSERT_OK(backend_->FindChecksum(info->image, {}));
  ASSERT_OK(FetchText(**reader, {1000, 50'000}));
  const BackendStats stats = backend_->meter()->stats();
  EXPECT_EQ(stats.backend, "fake");
  for (const Operation operation : kOperations) EXPECT_EQ(Requests(stats, operation), 1u) << OperationName(operation);
  EXPECT_EQ(stats.requests(), kOperations.size());
  EXPECT_EQ(stats.bytes, 50'000u);
  EXPECT_EQ(stats.error_count(), 0u);
  EXPECT_EQ(stats.retries, 0u);
}

TEST_F(MeterTest, AttemptsAndErrorsAreCountedOneByOne) {
  fake_->Fail(Call::kStat, {Errc::kUnavailable, "down"}, "a.img", 2);
  ASSERT_OK(backend_->Stat("a.img", {}));
  EXPECT_EQ(CodeOf(backend_->Stat("b.img", {})), "not found");
  const BackendStats stats = meter_->stats();
  EXPECT_EQ(Requests(stats, Operation::kStat), 4u);
  EXPECT_EQ(Errors(stats, Errc::kUnavailable), 2u);
  EXPECT_EQ(Errors(stats, Errc::kNotFound), 0u) << "an answer";
  EXPECT_EQ(stats.retries, 2u);
}

TEST_F(MeterTest, AWrongQuestionIsNoErrorOfTheSource) {
  EXPECT_EQ(CodeOf(backend_->List("a.img", "", {})), "not a directory");
  EXPECT_EQ(meter_->stats().error_count(), 0u);
}

TEST_F(MeterTest, WhatTheCallerGivesUpIsNoError) {
  std::stop_source stop;
  const auto reader = backend_->Open(backend_->Stat("a.img", {})->image, {});
  CallbackSink sink([&](size_t) {
    stop.request_stop();
    return true;
  });
  EXPECT_EQ(CodeOf((*reader)->Fetch({0, 100'000}, sink, stop.get_token())), "cancelled");
  EXPECT_EQ(meter_->stats().error_count(), 0u);
  EXPECT_EQ(Requests(meter_->stats(), Operation::kFetch), 1u);
}

TEST(LatencyCountsTest, QuantilesAreBoundsOfBuckets) {
  LatencyCounts counts;
  EXPECT_EQ(counts.Quantile(0.5), 0);
  counts.buckets[1] = 90;                      // up to 1 ms
  counts.buckets[kLatencyBounds.size()] = 10;  // beyond all bounds
  EXPECT_EQ(counts.Quantile(0.5), 0.001);
  EXPECT_EQ(counts.Quantile(0.9), 0.001);
  EXPECT_EQ(counts.Quantile(0.99), kLatencyBounds.back());
}

}  // namespace
}  // namespace glintfs::testing
