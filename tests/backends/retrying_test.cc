// Retrying and its deadlines, against a source whose every attempt is scripted.
#include "backends/retrying.h"

#include <deque>
#include <thread>

#include "backends/deadline.h"
#include "backends/retry_hint.h"
#include "tests/backends/fetching.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

const Error kGone{Errc::kUnavailable, "connection refused"};

// One attempt of a fetch or a stat.
struct Attempt {
  std::optional<Error> error = {};  // none: success
  uint64_t passes = UINT64_MAX;   // bytes of the extent passed on before that
  Nanos hint{0};
  bool hang = false;              // until stopped
};

struct Script {
  std::deque<Attempt> attempts;   // empty: success
  std::vector<Extent> asked;
  int stats = 0;

  Attempt Next() {
    if (attempts.empty()) return {};
    Attempt next = attempts.front();
    attempts.pop_front();
    return next;
  }
};

Error HangUntil(const std::stop_token& stop) {
  SleepUnlessStopped(std::chrono::minutes(10), stop);
  return Error{Errc::kCancelled, "given up"};
}

class ScriptedReader final : public ImageReader {
 public:
  ScriptedReader(std::string content, Script& script, bool ranges)
      : ImageReader(content.size()), content_(std::move(content)), script_(script), ranges_(ranges) {}

 private:
  Result<void> DoFetch(Extent extent, DataSink& sink, std::stop_token stop) override {
    script_.asked.push_back(extent);
    if (!ranges_ && extent.offset != 0) return Error{Errc::kNotSupported, "no ranges"};
    const Attempt attempt = script_.Next();
    const std::string part = content_.substr(extent.offset, std::min(extent.length, attempt.passes));
    for (size_t at = 0; at < part.size(); at += 1000)
      if (!sink.Write(std::as_bytes(std::span(part).subspan(at, std::min<size_t>(1000, part.size() - at))))) return {};
    if (attempt.hang) return HangUntil(stop);
    SetRetryHint(attempt.hint);
    if (attempt.error) return *attempt.error;
    return {};
  }
  const std::string content_;
  Script& script_;
  const bool ranges_;
};

class ScriptedBackend final : public Backend {
 public:
  ScriptedBackend(std::string content, Script& script, bool ranges)
      : Backend("script://"), content_(std::move(content)), script_(script), ranges_(ranges) {}

 private:
  Result<NameInfo> DoStat(std::string_view, std::stop_token stop) override {
    ++script_.stats;
    const Attempt attempt = script_.Next();
    if (attempt.hang) return HangUntil(stop);
    SetRetryHint(attempt.hint);
    if (attempt.error) return *attempt.error;
    return NameInfo{.is_directory = true, .image = {}};
  }
  Result<Listing> DoList(std::string_view, std::string_view, std::stop_token) override { return Listing(); }
  Result<std::unique_ptr<ImageReader>> DoOpen(const ImageInfo&, std::stop_token) override {
    return std::unique_ptr<ImageReader>(std::make_unique<ScriptedReader>(content_, script_, ranges_));
  }
  const std::string content_;
  Script& script_;
  const bool ranges_;
};

class RetryingTest : public ::testing::Test {
 protected:
  RetryingTest() {
    policy_.sleep = [this](Nanos time, std::stop_token stop) {
      slept_.push_back(time);
      return !stop.stop_requested();
    };
    policy_.random = [] { return 1.0; };
  }
  void Start(bool ranges = true) {
    backend_ = MakeRetrying(std::make_unique<ScriptedBackend>(content_, script_, ranges), policy_);
    reader_ = std::move(*backend_->Open({.id = {"script://", "a", "v"}, .size = content_.size(), .mtime = {}}, {}));
  }

  const std::string content_ = PatternBytes(1'000'000);
  Script script_;
  RetryPolicy policy_;
  std::vector<Nanos> slept_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<ImageReader> reader_;
};

using std::chrono::milliseconds;

TEST_F(RetryingTest, BacksOffAndGivesUp) {
  policy_.retries = 7;
  Start();
  script_.attempts.assign(100, Attempt{.error = kGone});
  EXPECT_EQ(CodeOf(backend_->Stat("a", {})), "unavailable");
  EXPECT_EQ(script_.stats, 8);
  EXPECT_EQ(slept_, (std::vector<Nanos>{milliseconds(100), milliseconds(200), milliseconds(400), milliseconds(800),
                                        milliseconds(1600), milliseconds(3200), milliseconds(5000)}));
}

TEST_F(RetryingTest, JitterIsFull) {
  policy_.random = [] { return 0.25; };
  EXPECT_EQ(RetryDelay(policy_, 1, Nanos(0)), milliseconds(25));
  EXPECT_EQ(RetryDelay(policy_, 100, Nanos(0)), milliseconds(1250));
  EXPECT_EQ(RetryDelay(policy_, 1, milliseconds(700)), milliseconds(700)) << "what the server asks for";
  policy_.random = nullptr;
  for (int i = 0; i < 100; ++i) {
    EXPECT_GE(RetryDelay(policy_, 2, Nanos(0)), Nanos(0));
    EXPECT_LT(RetryDelay(policy_, 2, Nanos(0)), milliseconds(200));
  }
}

TEST_F(RetryingTest, OnlyMissingAnswersAreRetried) {
  Start();
  for (const Errc code : {Errc::kUnavailable, Errc::kTimedOut, Errc::kIo}) {
    script_.attempts = {Attempt{.error = Error{code, "x"}}};
    EXPECT_EQ(CodeOf(backend_->Stat("a", {})), "ok");
  }
  for (const Errc code : {Errc::kNotFound, Errc::kAccessDenied, Errc::kStale, Errc::kNotSupported, Errc::kInvalid}) {
    script_.attempts = {Attempt{.error = Error{code, "x"}}};
    EXPECT_EQ(CodeOf(backend_->Stat("a", {})), ErrcName(code));
  }
}

TEST_F(RetryingTest, AFetchResumesAfterWhatItPassedOn) {
  Start();
  script_.attempts = {Attempt{.error = kGone, .passes = 500}, Attempt{.error = kGone, .passes = 0},
                      Attempt{.error = kGone, .passes = 1}};
  auto text = FetchText(*reader_, {1000, 10'000});
  ASSERT_OK(text);
  EXPECT_EQ(*text, content_.substr(1000, 10'000));
  EXPECT_EQ(script_.asked, (std::vector<Extent>{{1000, 10'000}, {1500, 9500}, {1500, 9500}, {1501, 9499}}));
}

TEST_F(RetryingTest, ProgressRenewsTheAttempts) {
  policy_.retries = 1;
  Start();
  script_.attempts.assign(9, Attempt{.error = kGone, .passes = 100'000});
  auto text = FetchText(*reader_, {0, 1'000'000});
  ASSERT_OK(text);
  EXPECT_EQ(*text, content_);
  script_.attempts.assign(9, Attempt{.error = kGone, .passes = 10});
  EXPECT_EQ(CodeOf(FetchText(*reader_, {0, 1'000'000})), "unavailable") << "10 bytes are no progress";
}

TEST_F(RetryingTest, WithoutRangesItStartsOverAndDropsWhatWasPassedOn) {
  Start(/*ranges=*/false);
  script_.attempts = {Attempt{.error = kGone, .passes = 700}, Attempt{.error = kGone, .passes = 300},
                      Attempt{.error = kGone, .passes = 1500}};
  auto text = FetchText(*reader_, {0, 10'000});
  ASSERT_OK(text);
  EXPECT_EQ(*text, content_.substr(0, 10'000));
  EXPECT_EQ(CodeOf(FetchText(*reader_, {10, 10})), "not supported");
}

TEST_F(RetryingTest, AllBytesPassedOnIsSuccessHoweverTheConnectionEnded) {
  Start();
  script_.attempts = {Attempt{.error = kGone}};
  EXPECT_EQ(*FetchText(*reader_, {5, 10}), content_.substr(5, 10));
  EXPECT_EQ(script_.asked.size(), 1u);
  script_.attempts = {Attempt{.error = Error{Errc::kStale, "changed"}}};
  EXPECT_EQ(CodeOf(FetchText(*reader_, {5, 10})), "stale");
}

TEST_F(RetryingTest, EnoughEndsItWithoutAnotherAttempt) {
  Start();
  StringSink sink(1500);
  EXPECT_EQ(CodeOf(reader_->Fetch({0, 10'000}, sink, {})), "ok");
  EXPECT_EQ(sink.text, content_.substr(0, 2000));
  EXPECT_EQ(script_.asked.size(), 1u);
}

TEST_F(RetryingTest, WaitsAsLongAsTheServerAsksButNotBeyondTheDeadline) {
  Start();
  script_.attempts = {Attempt{.error = kGone, .hint = std::chrono::seconds(3)}};
  EXPECT_EQ(CodeOf(backend_->Stat("a", {})), "ok");
  EXPECT_EQ(slept_, std::vector<Nanos>{std::chrono::seconds(3)});
  slept_.clear();
  script_.attempts = {Attempt{.error = kGone, .hint = std::chrono::minutes(3)}};
  EXPECT_EQ(CodeOf(backend_->Stat("a", {})), "unavailable") << "told at once, not after the deadline";
  EXPECT_TRUE(slept_.empty());
}

TEST_F(RetryingTest, OneDeadlineForAllAttempts) {
  policy_.ask_deadline = milliseconds(300);
  policy_.fetch_deadline = milliseconds(300);
  policy_.base = policy_.cap = milliseconds(1);
  Start();
  script_.attempts = {Attempt{.error = kGone}, Attempt{.hang = true}};
  auto info = backend_->Stat("a", {});
  EXPECT_EQ(CodeOf(info), "timed out");
  EXPECT_NE(info.error().message.find("connection refused"), std::string::npos) << info.error().message;

  script_.attempts = {Attempt{.passes = 10, .hang = true}};
  StringSink sink;
  EXPECT_EQ(CodeOf(reader_->Fetch({0, 100}, sink, {})), "timed out");
  EXPECT_EQ(sink.text, content_.substr(0, 10));
}

TEST_F(RetryingTest, ASlowReceiverDoesNotUseUpTheDeadline) {
  policy_.fetch_deadline = milliseconds(500);
  Start();
  CallbackSink sink([](size_t) {
    std::this_thread::sleep_for(milliseconds(700));
    return true;
  });
  EXPECT_EQ(CodeOf(reader_->Fetch({0, 2000}, sink, {})), "ok");
}

TEST_F(RetryingTest, StopEndsAHangAndASleepAtOnce) {
  policy_.sleep = nullptr;
  policy_.base = policy_.cap = std::chrono::seconds(14);
  Start();
  for (const bool hang : {true, false}) {
    script_.attempts = {hang ? Attempt{.hang = true} : Attempt{.error = kGone}};
    std::stop_source stop;
    std::thread stopper([&] {
      std::this_thread::sleep_for(milliseconds(20));  // in either order it must end
      stop.request_stop();
    });
    EXPECT_EQ(CodeOf(backend_->Stat("a", stop.get_token())), "cancelled");
    EXPECT_EQ(CodeOf(FetchText(*reader_, {0, 10}, stop.get_token())), "cancelled");
    stopper.join();
  }
}

TEST(DeadlineTimer, ManyWatchesFromManyThreads) {
  DeadlineTimer timer;
  std::vector<std::thread> threads;
  std::atomic<int> expired{0};
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 20; ++round) {
        DeadlineWatch watch(timer, i % 2 == 0 ? Nanos(milliseconds(2)) : Nanos(std::chrono::hours(1)), {});
        if (i % 2 == 0 && !SleepUnlessStopped(std::chrono::minutes(5), watch.token()) && watch.expired()) ++expired;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(expired, 4 * 20);
}

}  // namespace
}  // namespace glintfs::testing
