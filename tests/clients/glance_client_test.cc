// glance and openstacksdk with the token of a file.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/clients/client_fixture.h"

namespace glintfs::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using nlohmann::json;
using Calls = std::vector<std::string>;

class GlanceClientTest : public ClientTest {};

TEST_F(GlanceClientTest, CacheListShowsWhatIsCachedAndQueued) {
  StartTcp(Tcp());
  QueueEntry entry;
  entry.name = "dir/q.img";
  service_.AddQueued(entry);
  const CommandResult listed = Glance({"cache-list"});
  EXPECT_EQ(listed.status, 0) << listed.err;
  EXPECT_EQ(listed.err, "");
  EXPECT_THAT(listed.out, ContainsRegex("\\| +a\\.img +\\| +cached +\\| +2023-11-14T22:13:20\\.500000 +\\| +2023-11-14T22:13:20\\.250000 +\\| +1000 +\\| +7 +\\|"));
  EXPECT_THAT(listed.out, ContainsRegex("\\| +dir/b c\\.img +\\| +cached "));
  EXPECT_THAT(listed.out, ContainsRegex("\\| +dir/q\\.img +\\| +queued +\\| +N/A +\\| +N/A +\\| +N/A +\\| +N/A +\\|"));
  EXPECT_THAT(listed.out, Not(HasSubstr("partial.img")));
}

TEST_F(GlanceClientTest, CacheQueueAndDeleteNameWhatFails) {
  StartTcp(Tcp());
  service_.FailNext("none.img", Errc::kNotFound);
  const CommandResult queued = Glance({"cache-queue", "new.img", "none.img", "dir/b c.img"});
  EXPECT_THAT(queued.err, HasSubstr("Unable to queue image 'none.img' for caching."));
  EXPECT_EQ(service_.calls(), (Calls{"queue new.img", "queue none.img", "queue dir/b c.img"}));
  const CommandResult deleted = Glance({"cache-delete", "a.img", "a.img"});
  EXPECT_THAT(deleted.err, HasSubstr("Unable to delete image 'a.img' from cache."));
  EXPECT_EQ(service_.calls().size(), 5u);
}

TEST_F(GlanceClientTest, CacheClearTakesATarget) {
  StartTcp(Tcp());
  for (const char* target : {"cache", "queue", "both"}) {
    const CommandResult cleared = Glance({"cache-clear", "--target", target});
    EXPECT_EQ(cleared.status, 0) << cleared.err;
    EXPECT_EQ(cleared.err, "");
  }
  EXPECT_EQ(Glance({"cache-clear"}).status, 0);
  EXPECT_EQ(service_.calls(),
            (Calls{"clear cache", "clear queue", "clear queue", "clear cache", "clear queue", "clear cache"}));
}

TEST_F(GlanceClientTest, AWrongTokenIsRefused) {
  StartTcp(Tcp());
  const CommandResult refused = Glance({"cache-queue", "a.img"}, "guessed-in-vain-and-long");
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.err, HasSubstr("wrong token"));
  EXPECT_TRUE(service_.calls().empty());
}

TEST_F(GlanceClientTest, ImagesAreShownWhetherCachedOrNot) {
  StartTcp(Tcp());
  const CommandResult shown = Glance({"image-show", "partial.img"});
  EXPECT_EQ(shown.status, 0) << shown.err;
  EXPECT_THAT(shown.out, ContainsRegex("\\| size +\\| 2000 "));
  EXPECT_THAT(shown.out, ContainsRegex("\\| status +\\| active "));
  EXPECT_THAT(Glance({"image-list"}).out, ContainsRegex("\\| dir/b c\\.img +\\| dir/b c\\.img +\\|"));
  EXPECT_NE(Glance({"image-show", "none.img"}).status, 0);
}

TEST_F(GlanceClientTest, OverTlsWithTheAuthorityOfTheUser) {
  const CommandResult made =
      Run({"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=test",
           "-addext", "subjectAltName=IP:127.0.0.1,IP:::1", "-keyout", dir_ / "key.pem", "-out", dir_ / "cert.pem"});
  ASSERT_TRUE(made.ok()) << made.err;
  for (const char* host : {"127.0.0.1", "[::1]"}) {
    TcpControlOptions tcp = Tcp(host);
    tcp.tls_cert = dir_ / "cert.pem";
    tcp.tls_key = dir_ / "key.pem";
    server_.reset();
    StartTcp(tcp);
    tls_ = true;
    const CommandResult listed = Glance({"cache-list"}, kToken, {"--os-cacert", dir_ / "cert.pem"});
    EXPECT_EQ(listed.status, 0) << listed.err;
    EXPECT_THAT(listed.out, HasSubstr("a.img"));
    EXPECT_NE(Glance({"cache-list"}, kToken, {"--os-cacert", "/etc/ssl/certs/ca-certificates.crt"}).status, 0)
        << "an authority that nobody trusts";
    const CommandResult ctl = Run({GLINTCTL_BINARY, "--url", url(), "--token-file", dir_ / "token", "--ca-file", dir_ / "cert.pem", "list"});
    EXPECT_EQ(ctl.status, 0) << ctl.err;
    EXPECT_EQ(Run({GLINTCTL_BINARY, "--url", url(), "--token-file", dir_ / "token", "list"}).status, 3);
  }
}

TEST_F(GlanceClientTest, SdkFindsImagesAndDrivesTheCache) {
  service_.AddNamed("debian", MakeImage("id-1", 1000, ImageState::kAbsent, 0).info);
  service_.AddNamed("twice", MakeImage("id-2", 1000, ImageState::kAbsent, 0).info);
  service_.AddNamed("twice", MakeImage("id-3", 1000, ImageState::kAbsent, 0).info);
  StartTcp(Tcp());
  const CommandResult ran = Run({"/usr/bin/python3", CLIENTS_DIR "/sdk.py", url(), kToken});
  ASSERT_EQ(ran.status, 0) << ran.err;
  const json seen = json::parse(ran.out);
  EXPECT_EQ(seen["endpoint"], url() + "/v2/");
  EXPECT_EQ(seen["by id"], "a.img");
  EXPECT_EQ(seen["by name"], "id-1");
  EXPECT_TRUE(seen["missing"].is_null());
  EXPECT_EQ(seen["ambiguous"], "DuplicateResource");
  EXPECT_EQ(seen["images"], (json{"a.img", "dir/b c.img", "partial.img"}));
  EXPECT_EQ(seen["queue"], 202);
  EXPECT_EQ(seen["listed"]["queued_images"], json{"id-1"});
  EXPECT_EQ(seen["delete"], 204);
  EXPECT_EQ(seen["again"], 404);
  EXPECT_EQ(seen["clear"], 204);
  EXPECT_EQ(seen["bad clear"], 400);
  EXPECT_EQ(service_.calls(), (Calls{"queue id-1", "evict a.img", "evict a.img", "clear queue"}));
}

}  // namespace
}  // namespace glintfs::testing
