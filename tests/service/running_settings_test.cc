// Settings that change while the daemon runs: all or none, one after the other, and the file wins on SIGHUP.
#include "fs/running_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "fs/base/thread.h"

namespace glintfs {
namespace {

using ::testing::HasSubstr;

class RunningSettingsTest : public ::testing::Test {
 protected:
  RunningSettingsTest() : settings_(Defaults()) {
    settings_.SetCallbacks({.apply = [this](const Options& now) { applied_.push_back(now); },
                            .changed = [this](const SettingChange& change) { changes_.push_back(change.name); }});
  }
  static Options Defaults() {
    Options options;
    for (const Setting& setting : SettingTable()) {
      const bool set = setting.default_text.empty() || setting.set(options, setting.default_text);
      EXPECT_TRUE(set) << setting.name;
    }
    return options;
  }
  std::string Value(const std::string& name) {
    for (const SettingValue& value : settings_.List())
      if (value.name == name) return value.value;
    return "?";
  }
  std::string ChangeError(const std::map<std::string, std::string>& values) {
    const auto changed = settings_.Change(values);
    EXPECT_FALSE(changed);
    EXPECT_EQ(changed ? Errc::kIo : changed.error().code, Errc::kInvalid);
    return changed ? "" : changed.error().message;
  }

  std::vector<Options> applied_;
  std::vector<std::string> changes_;
  RunningSettings settings_;
};

TEST_F(RunningSettingsTest, ListsEverySetting) {
  const auto list = settings_.List();
  ASSERT_EQ(list.size(), SettingTable().size());
  for (const SettingValue& value : list) {
    EXPECT_FALSE(value.help.empty()) << value.name;
    EXPECT_FALSE(value.allowed.empty()) << value.name;
    EXPECT_EQ(value.changeable, FindSetting(value.name)->on_sighup) << value.name;
  }
  EXPECT_EQ(Value("max_size"), "10G");
}

TEST_F(RunningSettingsTest, ChangesSeveral) {
  const auto changed = settings_.Change({{"max_size", "20Gi"}, {"log_level", "warn"}, {"fill_rate", "0"}});
  ASSERT_TRUE(changed) << changed.error().ToString();
  ASSERT_EQ(changed->size(), 2u) << "fill_rate was 0 before";
  EXPECT_EQ(changed->at(0).name, "max_size");
  EXPECT_EQ(changed->at(0).before, "10G");
  EXPECT_EQ(changed->at(0).after, "20Gi");
  ASSERT_EQ(applied_.size(), 1u);
  EXPECT_EQ(applied_[0].cache.limits.max_size, 20ull << 30);
  EXPECT_EQ(applied_[0].log_level, LogLevel::kWarn);
  EXPECT_EQ(changes_, (std::vector<std::string>{"max_size", "log_level"}));
  EXPECT_EQ(Value("max_size"), "20Gi");
}

TEST_F(RunningSettingsTest, AllOrNone) {
  EXPECT_THAT(ChangeError({{"fill_rate", "1M"}, {"max_size", "10Q"}}), HasSubstr("option max_size: '10Q' is not a size"));
  EXPECT_THAT(ChangeError({{"fill_rate", "1M"}, {"threads", "4"}}), HasSubstr("option threads: changes with the next mount only"));
  EXPECT_THAT(ChangeError({{"fill_rate", "1M"}, {"max_sice", "1G"}}), HasSubstr("did you mean max_size?"));
  EXPECT_THAT(ChangeError({{"fill_rate", "1M"}, {"noatime", "1"}}), HasSubstr("option noatime: unknown"));
  EXPECT_EQ(Value("fill_rate"), "0");
  EXPECT_TRUE(applied_.empty());
  EXPECT_TRUE(changes_.empty());
}

TEST_F(RunningSettingsTest, AMaxSizeThatHoldsNothingIsRefused) {
  EXPECT_EQ(ChangeError({{"max_size", "1"}}),
            "option max_size: '1' holds less than 4 chunks of 256Ki: give at least 1Mi, or 0 for no limit");
  EXPECT_TRUE(settings_.Change({{"max_size", "1Mi"}}));
  EXPECT_TRUE(settings_.Change({{"max_size", "0"}}));
}

TEST_F(RunningSettingsTest, OnSighupTheFileWins) {
  ASSERT_TRUE(settings_.Change({{"max_size", "20Gi"}, {"fill_rate", "5M"}}));
  applied_.clear();
  Options file = Defaults();
  file.cache.limits.fill_rate = 7'000'000;
  file.cache.fetch_threads = 3;  // changes with the next mount only
  settings_.Reload(file);
  EXPECT_EQ(Value("max_size"), "10G");
  EXPECT_EQ(Value("fill_rate"), "7M");
  EXPECT_EQ(Value("threads"), "16");
  ASSERT_EQ(applied_.size(), 1u);
  EXPECT_EQ(applied_[0].cache.limits.max_size, 10'000'000'000u);
  settings_.Reload(file);
  EXPECT_EQ(applied_.size(), 1u) << "nothing changed";
  file.cache.limits.max_size = 1;
  settings_.Reload(file);
  EXPECT_EQ(Value("max_size"), "10G");
}

// What is in force is always what was changed last.
TEST_F(RunningSettingsTest, ChangesAtOnceComeOneAfterTheOther) {
  std::atomic<int> applying{0};
  uint64_t last = 0;
  settings_.SetCallbacks({.apply =
                              [&](const Options& now) {
                                EXPECT_EQ(applying.fetch_add(1), 0);
                                last = now.cache.limits.fill_rate;
                                applying.fetch_sub(1);
                              },
                          .changed = {}});
  {
    std::vector<Thread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back("changer", [&, i](std::stop_token) {
        for (int n = 1; n <= 200; ++n) EXPECT_TRUE(settings_.Change({{"fill_rate", std::to_string(n * 1000 + i)}}));
      });
  }
  EXPECT_EQ(settings_.Get().cache.limits.fill_rate, last);
}

}  // namespace
}  // namespace glintfs
