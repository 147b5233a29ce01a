#include "fs/base/size_text.h"

#include <gtest/gtest.h>

namespace glintfs {
namespace {

using namespace std::chrono_literals;

TEST(SizeText, ReadsKubernetesQuantities) {
  EXPECT_EQ(ParseSize("10G").value(), 10'000'000'000u);
  EXPECT_EQ(ParseSize("10Gi").value(), 10ull << 30);
  EXPECT_EQ(ParseSize("1.5k").value(), 1500u);
  EXPECT_EQ(ParseSize("0").value(), 0u);
  EXPECT_EQ(ParseSize("0.1").value(), 1u) << "rounded up";
  EXPECT_EQ(ParseSize("4096").value(), 4096u);
}

TEST(SizeText, RefusesWhatIsNoQuantity) {
  for (const char* text : {"", "G", "10g", "-1", "+1", "1e3", "10 G", "10GB", "1..5", "99999999999999999999", "16Ei", "0x10"})
    EXPECT_FALSE(ParseSize(text)) << text;
}

TEST(SizeText, DurationsAndShares) {
  EXPECT_EQ(ParseDuration("24h").value(), 24h);
  EXPECT_EQ(ParseDuration("500ms").value(), 500ms);
  EXPECT_EQ(ParseDuration("1.5s").value(), 1500ms);
  EXPECT_EQ(ParseDuration("7").value(), 7s);
  EXPECT_FALSE(ParseDuration("1y"));
  EXPECT_FALSE(ParseDuration("200000d"));
  EXPECT_DOUBLE_EQ(ParseShare("90%").value(), 0.9);
  EXPECT_DOUBLE_EQ(ParseShare("0.05").value(), 0.05);
  EXPECT_FALSE(ParseShare("101%"));
  EXPECT_FALSE(ParseShare("9 %"));
}

TEST(SizeText, WritesWhatItReads) {
  for (uint64_t bytes : {0ull, 1ull, 1000ull, 1024ull, 10'000'000'000ull, 10ull << 30, 123'456'789ull})
    EXPECT_EQ(ParseSize(FormatQuantity(bytes)).value(), bytes) << FormatQuantity(bytes);
  EXPECT_EQ(FormatQuantity(10'000'000'000), "10G");
  EXPECT_EQ(FormatQuantity(262144), "256Ki");
  EXPECT_EQ(FormatSize(1'536'000), "1.46 MiB");
  EXPECT_EQ(FormatSize(1023), "1023 B");
  EXPECT_EQ(FormatDuration(90min), "1h30m");
  EXPECT_EQ(FormatDuration(5ms), "5ms");
}

}  // namespace
}  // namespace glintfs
