// glintctl cache --wait: one image until it is cached, verified, or will not be.
#include <signal.h>

#include "tests/control/ctl_test.h"

namespace glintfs::testing {
namespace {

using nlohmann::json;

class GlintctlWaitTest : public GlintctlTest {
 protected:
  void SetImage(uint64_t cached, ImageState state) {
    ImageStatus image = MakeImage("w.img", 4 << 20, state, cached);
    image.filling = state == ImageState::kPartial;
    service_.AddImage(image);
  }
  bool WaitForCall() {
    return WaitFor([&] { return !service_.calls().empty(); });
  }
};

TEST_F(GlintctlWaitTest, EndsWhenTheImageIsCached) {
  SetImage(1 << 20, ImageState::kPartial);
  Subprocess ctl(Command({"cache", "--wait", "w.img"}), {});
  ASSERT_TRUE(WaitFor([&] { return ctl.ErrorSoFar().find("w.img:  25%  1.00 MiB of 4.00 MiB") != std::string::npos; }));
  SetImage(4 << 20, ImageState::kComplete);
  service_.RemoveQueued("w.img");
  const ProcessResult result = ctl.Wait();
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.out, "w.img: cached\n");
}

TEST_F(GlintctlWaitTest, DrawsABarOnATerminal) {
  SetImage(2 << 20, ImageState::kPartial);
  Subprocess ctl(Command({"cache", "--wait", "w.img"}), OnTerminal());
  ASSERT_TRUE(WaitFor([&] { return ctl.ErrorSoFar().find("w.img  [=====") != std::string::npos; }))
      << ctl.ErrorSoFar();
  SetImage(4 << 20, ImageState::kVerified);
  EXPECT_EQ(ctl.Wait().code, 0);
}

TEST_F(GlintctlWaitTest, InterruptEndsTheWaitingOnly) {
  Subprocess ctl(Command({"cache", "--wait", "w.img"}), {});
  ASSERT_TRUE(WaitFor([&] { return ctl.ErrorSoFar().find("w.img: ") != std::string::npos; }));
  ctl.Signal(SIGINT);
  const ProcessResult result = ctl.Wait();
  EXPECT_EQ(result.code, 6);
  EXPECT_NE(result.err.find("the daemon goes on caching it"), std::string::npos) << result.err;
  EXPECT_EQ(service_.calls(), std::vector<std::string>{"queue w.img"});
  EXPECT_EQ(service_.Queue().size(), 1u);
}

TEST_F(GlintctlWaitTest, TimesOut) {
  SetImage(1 << 20, ImageState::kPartial);
  const json result = CtlJson({"cache", "--wait", "--timeout", "100ms", "w.img"}, 6);
  EXPECT_EQ(result["results"][0]["ok"], false);
}

TEST_F(GlintctlWaitTest, ShowsWhyItIsTriedAgain) {
  Subprocess ctl(Command({"cache", "--wait", "w.img"}), OnTerminal());
  ASSERT_TRUE(WaitForCall());
  service_.RemoveQueued("w.img");
  QueueEntry failed;
  failed.name = "w.img";
  failed.attempts = 1;
  failed.error = "connection refused";
  service_.AddQueued(failed);
  EXPECT_TRUE(
      WaitFor([&] { return ctl.ErrorSoFar().find("will be tried again: connection refused") != std::string::npos; }));
  service_.RemoveQueued("w.img");
  const ProcessResult result = ctl.Wait();
  EXPECT_EQ(result.code, 1);
  EXPECT_NE(result.err.find("left the queue without being cached"), std::string::npos) << result.err;
}

TEST_F(GlintctlWaitTest, SaysWhyAnImageIsInvalid) {
  Subprocess ctl(Command({"cache", "--wait", "w.img"}), {});
  ASSERT_TRUE(WaitForCall());
  ImageStatus image = MakeImage("w.img", 4 << 20, ImageState::kInvalid, 4 << 20);
  image.error = "does not match its sha256";
  service_.AddImage(image);
  service_.RemoveQueued("w.img");
  const ProcessResult result = ctl.Wait();
  EXPECT_EQ(result.code, 1);
  EXPECT_NE(result.err.find("does not match its sha256"), std::string::npos) << result.err;
}

TEST_F(GlintctlWaitTest, WaitsForTheVerdictWhereThereIsAChecksum) {
  ImageStatus image = MakeImage("w.img", 4 << 20, ImageState::kComplete, 4 << 20);
  image.checksum_asked = false;  // it may have one
  service_.AddImage(image);
  Subprocess ctl(Command({"cache", "--wait", "w.img"}), OnTerminal());
  ASSERT_TRUE(WaitFor([&] { return Contains(ctl.ErrorSoFar(), "]  100%  4.00 MiB of 4.00 MiB  verifying"); })) << ctl.ErrorSoFar();
  service_.RemoveQueued("w.img");
  image.checksum_asked = true;
  image.checksum = Checksum{"sha256", "abcd"};
  service_.AddImage(image);
  const int looks = service_.looks();
  ASSERT_TRUE(WaitFor([&] { return service_.looks() > looks + 4; }));
  EXPECT_EQ(ctl.OutputSoFar(), "") << "not cached before it is verified";
  image.state = ImageState::kVerified;
  service_.AddImage(image);
  const ProcessResult result = ctl.Wait();
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.out, "w.img: cached\n");
}

TEST_F(GlintctlWaitTest, AWrongChecksumIsAFailure) {
  ImageStatus image = MakeImage("w.img", 4 << 20, ImageState::kComplete, 4 << 20);
  image.checksum = Checksum{"sha256", "abcd"};
  service_.AddImage(image);
  Subprocess ctl(Command({"cache", "--wait", "w.img"}), {});
  ASSERT_TRUE(WaitFor([&] { return Contains(ctl.ErrorSoFar(), "verifying"); })) << ctl.ErrorSoFar();
  image.state = ImageState::kInvalid;
  image.error = "its sha256 is dcba, the source says abcd";
  service_.AddImage(image);
  const ProcessResult result = ctl.Wait();
  EXPECT_EQ(result.code, 1);
  EXPECT_EQ(result.out, "");
  EXPECT_NE(result.err.find("not cached: wrong checksum: its sha256 is dcba, the source says abcd. Compare the image in the store"), std::string::npos)
      << result.err;
}

TEST_F(GlintctlWaitTest, AnImageThatIsInvalidAlreadyIsNotWaitedFor) {
  ImageStatus image = MakeImage("w.img", 4 << 20, ImageState::kInvalid, 4 << 20);
  image.error = "its sha256 is dcba, the source says abcd";
  service_.AddImage(image);
  const ProcessResult result = Ctl({"cache", "--wait", "w.img"});  // it stays in the queue
  EXPECT_EQ(result.code, 1);
  EXPECT_NE(result.err.find("glintctl evict 'w.img'"), std::string::npos) << result.err;
  const ProcessResult background = Ctl({"cache", "w.img"});
  EXPECT_EQ(background.code, 1);
  EXPECT_NE(background.err.find("wrong checksum"), std::string::npos) << background.err;
}

TEST_F(GlintctlWaitTest, TheNewVersionOfASupersededImageIsWaitedFor) {
  ImageStatus image = MakeImage("w.img", 4 << 20, ImageState::kInvalid, 4 << 20);
  image.error = "superseded: the source has another version, or none";
  service_.AddImage(image);
  Subprocess ctl(Command({"cache", "--wait", "w.img"}), {});
  ASSERT_TRUE(WaitForCall());
  const int looks = service_.looks();
  ASSERT_TRUE(WaitFor([&] { return service_.looks() > looks + 4; }));
  SetImage(4 << 20, ImageState::kComplete);
  service_.RemoveQueued("w.img");
  const ProcessResult result = ctl.Wait();
  EXPECT_EQ(result.code, 0) << result.err;
}

TEST_F(GlintctlWaitTest, APlainLineIsPrintedWhenItSaysSomethingNew) {
  Subprocess ctl(Command({"cache", "--wait", "w.img"}), {});
  ASSERT_TRUE(WaitFor([&] { return Contains(ctl.ErrorSoFar(), "w.img: queued\n"); })) << ctl.ErrorSoFar();
  const auto start = std::chrono::steady_clock::now();  // longer than a line comes after the other
  ASSERT_TRUE(WaitFor([&] { return std::chrono::steady_clock::now() - start > std::chrono::seconds(6); }));
  EXPECT_EQ(ctl.ErrorSoFar(), "w.img: queued\n");
  SetImage(4 << 20, ImageState::kComplete);
  EXPECT_EQ(ctl.Wait().code, 0);
}

TEST_F(GlintctlWaitTest, TheDaemonGoesAway) {
  Subprocess ctl(Command({"cache", "--wait", "w.img"}), {});
  ASSERT_TRUE(WaitForCall());
  server_.reset();
  EXPECT_EQ(ctl.Wait().code, 3);
}

}  // namespace
}  // namespace glintfs::testing
