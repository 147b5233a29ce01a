// The parts of the FUSE layer on their own: nodes, requests, health, checks before mounting.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "fs/catalog/source_health.h"
#include "fs/fuse/errno_table.h"
#include "fs/fuse/mount_checks.h"
#include "fs/fuse/node_table.h"
#include "fs/fuse/requests.h"
#include "fs/fuse/session.h"
#include "tests/support/fake_backend.h"
#include "tests/support/fake_cache.h"
#include "tests/support/temp_dir.h"

namespace glintfs {
namespace {

using testing::FakeBackend;
using testing::FakeCache;
using testing::FakeOpener;
using testing::TempDir;

// ---- Node ids: a successor on the same mount must compute the same.

TEST(NodeIdTest, MeansTheSameToTheNextDaemon) {
  EXPECT_EQ(NodeIdFor(0, Residency::kPartial), 2u);
  EXPECT_EQ(NodeIdFor(7, Residency::kPartial), 16u);
  EXPECT_EQ(NodeIdFor(7, Residency::kComplete), 17u);
  EXPECT_EQ(DirectoryNodeId(""), kRootNode);
  EXPECT_EQ(DirectoryNodeId("dir"), 0x630b3f45d5d4c070u) << "golden: changing it makes open mounts fail over a restart";
  EXPECT_NE(DirectoryNodeId("dir"), DirectoryNodeId("dir2"));
  EXPECT_EQ(DirectoryNodeId("dir") >> 62, 1u);
}

TEST(NodeTableTest, CountsLookupsAndOpensExactly) {
  FakeBackend backend;
  backend.Put("a", 1);
  FakeOpener opener(backend);
  NodeTable nodes;
  const NodeId id = nodes.LookUpImage(3, Residency::kPartial, backend.Info("a")).id;
  nodes.LookUpImage(3, Residency::kPartial, backend.Info("a"));
  EXPECT_EQ(nodes.OpenedAt(id), nullptr);
  ASSERT_TRUE(nodes.AddOpen(id, *opener.opener()(backend.Info("a"))));
  nodes.Forget(id, 2);
  EXPECT_NE(nodes.Find(id), nullptr) << "still open";
  nodes.RemoveOpen(id);
  EXPECT_EQ(nodes.Find(id), nullptr);
  EXPECT_EQ(opener.images_alive(), 0);
  EXPECT_FALSE(nodes.AddOpen(id, nullptr)) << "gone";
  nodes.RemoveOpen(id);
  nodes.Forget(id, 100);
  nodes.Forget(kRootNode, 100);
  EXPECT_NE(nodes.Find(kRootNode), nullptr);
  EXPECT_EQ(nodes.size(), 1u);
}

TEST(NodeTableTest, ANodeKeepsWhatItWasMadeWith) {
  FakeBackend backend;
  backend.Put("a", 1);
  NodeTable nodes;
  const auto first = nodes.LookUpImage(3, Residency::kPartial, backend.Info("a"));
  ImageInfo other = backend.Info("a");
  other.mtime = std::chrono::seconds(5);
  EXPECT_EQ(nodes.LookUpImage(3, Residency::kPartial, other).info, first.info);
}

TEST(InodeNumberTest, IsOfTheNameAndTheSource) {
  FakeBackend backend;
  FakeCache cache;
  Catalog catalog({}, backend, cache);
  FsOptions options;
  options.source = "http://host/images/";
  const Filesystem one(options, catalog, cache), again(options, catalog, cache);
  options.source = "http://other/images/";
  const Filesystem other(options, catalog, cache);
  EXPECT_EQ(one.InodeNumber("a"), again.InodeNumber("a"));
  EXPECT_NE(one.InodeNumber("a"), other.InodeNumber("a"));
  EXPECT_NE(one.InodeNumber("a"), one.InodeNumber("b"));
  EXPECT_EQ(one.InodeNumber(""), 1u);
}

TEST(AttributesTest, FollowTheOptions) {
  FakeBackend backend;
  FakeCache cache;
  Catalog catalog({}, backend, cache);
  FsOptions options;
  options.file_mode = 0640;
  options.uid = 5;
  Filesystem filesystem(options, catalog, cache);
  NodeReply reply;
  ASSERT_EQ(filesystem.GetAttributes(kRootNode, reply), 0);
  EXPECT_EQ(reply.attributes.mode, S_IFDIR | 0750u) << "x wherever there is r";
  EXPECT_EQ(reply.attributes.uid, 5u);
}

// ---- Requests

TEST(RequestsTest, AnInterruptReachesAParkedRequest) {
  Requests requests;
  int cancelled = 0;
  requests.Begin(1);
  requests.Park(1, [&] { ++cancelled; });
  EXPECT_EQ(cancelled, 0);
  requests.Interrupt(1);
  EXPECT_EQ(cancelled, 1);
  EXPECT_EQ(requests.outstanding(), 1u);
  requests.End(1);
  requests.Interrupt(1);
  EXPECT_EQ(cancelled, 1);
  EXPECT_EQ(requests.outstanding(), 0u);
}

TEST(RequestsTest, AnInterruptBeforeParkingIsKept) {
  Requests requests;
  int cancelled = 0;
  requests.Begin(1);
  requests.Interrupt(1);
  requests.Park(1, [&] { ++cancelled; });
  EXPECT_EQ(cancelled, 1);
  requests.End(1);
  requests.Park(1, [&] { ++cancelled; });
  EXPECT_EQ(cancelled, 1) << "it has ended";
}

TEST(RequestsTest, TheEndOfTheMountReachesAllNowAndLater) {
  Requests requests;
  int cancelled = 0;
  for (uint64_t id = 1; id <= 100; ++id) {
    requests.Begin(id);
    requests.Park(id, [&requests, &cancelled, id] {
      ++cancelled;
      requests.End(id);
    });
  }
  requests.InterruptAll();
  EXPECT_EQ(cancelled, 100);
  requests.Begin(101);
  requests.Park(101, [&] { ++cancelled; });
  EXPECT_EQ(cancelled, 101);
}

// ---- Health

TEST(SourceHealthTest, FailuresAndAnswers) {
  FakeClock clock;
  SourceHealth health(std::chrono::milliseconds(250), clock);
  EXPECT_FALSE(health.InTrouble());
  const Error down{Errc::kUnavailable, "down"}, denied{Errc::kAccessDenied, "no"}, stopped{Errc::kCancelled, "stop"};
  health.End(health.Begin(), &denied);
  EXPECT_FALSE(health.InTrouble()) << "that was an answer";
  health.End(health.Begin(), &down);
  EXPECT_TRUE(health.InTrouble());
  EXPECT_TRUE(health.FailFast());
  health.End(health.Begin(), &stopped);
  EXPECT_TRUE(health.InTrouble()) << "that was none";
  clock.Advance(std::chrono::seconds(3));
  EXPECT_TRUE(health.InTrouble());
  EXPECT_FALSE(health.FailFast());
  EXPECT_FALSE(health.Get().reachable);
  health.End(health.Begin(), nullptr);
  EXPECT_FALSE(health.InTrouble());
  EXPECT_TRUE(health.Get().reachable);
}

TEST(SourceHealthTest, AQuestionThatHangsIsTroubleUnlessALaterOneIsAnswered) {
  FakeClock clock;
  SourceHealth health(std::chrono::milliseconds(250), clock);
  const uint64_t hanging = health.Begin();
  clock.Advance(std::chrono::milliseconds(200));
  EXPECT_FALSE(health.InTrouble());
  clock.Advance(std::chrono::milliseconds(100));
  EXPECT_TRUE(health.InTrouble());
  EXPECT_TRUE(health.Get().reachable) << "slow is no news yet";
  clock.Advance(std::chrono::seconds(2));
  EXPECT_FALSE(health.Get().reachable);
  const uint64_t later = health.Begin();
  clock.Advance(std::chrono::milliseconds(1));
  health.End(later, nullptr);
  EXPECT_FALSE(health.InTrouble());
  health.End(hanging, nullptr);
  EXPECT_FALSE(health.InTrouble());
}

// ---- Errors of mounting: one clear line each

TEST(MountChecksTest, TellWhatIsWrongWithTheMountPoint) {
  const TempDir directory;
  EXPECT_TRUE(CheckMountpoint(directory.path(), false));
  const auto missing = CheckMountpoint(directory / "missing", false);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Errc::kNotFound);
  EXPECT_NE(missing.error().message.find("does not exist"), std::string::npos);
  std::ofstream(directory / "file") << "x";
  const auto file = CheckMountpoint(directory / "file", false);
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, Errc::kNotDirectory);
  const auto nonempty = CheckMountpoint(directory.path(), false);
  ASSERT_FALSE(nonempty);
  EXPECT_EQ(nonempty.error().code, Errc::kInvalid);
  EXPECT_NE(nonempty.error().message.find("nonempty"), std::string::npos);
  EXPECT_TRUE(CheckMountpoint(directory.path(), true));
}

TEST(SessionTest, AnUnknownMountOptionIsNamed) {
  const TempDir directory;
  FakeBackend backend;
  FakeCache cache;
  Catalog catalog({}, backend, cache);
  Filesystem filesystem({}, catalog, cache);
  SessionOptions options;
  options.mountpoint = directory.path();
  options.extra = {"no_such_option"};
  if (!CheckFuse(false)) GTEST_SKIP() << "no FUSE here";
  const auto session = Session::Mount(options, filesystem);
  ASSERT_FALSE(session);
  EXPECT_NE(session.error().message.find("no_such_option"), std::string::npos) << session.error().ToString();
}

}  // namespace
}  // namespace glintfs
