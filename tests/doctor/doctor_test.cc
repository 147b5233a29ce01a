// What the daemon finds out about itself, with places and a source that the test makes.
#include "fs/doctor.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/support/fake_backend.h"
#include "tests/support/temp_dir.h"

namespace glintfs::testing {
namespace {

using Level = Finding::Level;

class DoctorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.mountpoint = "/mnt/a b";
    options_.cache.directory = dir_ / "cache";
    ASSERT_EQ(::mkdir(options_.cache.directory.c_str(), 0700), 0);
    status_.cache.disk_total = 100'000'000'000;
    status_.cache.disk_available = 50'000'000'000;
    status_.cache.limits.max_size = 10'000'000'000;
    places_.mounts = Write("mounts", "36 35 0:55 / /mnt/a\\040b ro,nosuid - fuse.glintfs http://x/ ro,allow_other\n");
    places_.process = Write("status", "Name:\tx\nCapEff:\t000001ffffffffff\n");
    places_.fuse_conf = Write("fuse.conf", "# user_allow_other\n");
    places_.fuse_parameters = dir_.path();
    Write("max_user_bgreq", "4096\n");
    std::filesystem::create_directories(dir_ / "bdi/0:55");
    places_.bdi = dir_ / "bdi";
    Write("bdi/0:55/read_ahead_kb", "1024\n");
    options_.allow_other = true;
  }
  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(dir_ / name) << text;
    return dir_ / name;
  }
  Finding Find(const std::string& check) {
    for (const Finding& finding : ExamineDaemon(options_, backend_, status_, mount_, {}, places_))
      if (finding.check == check) return finding;
    ADD_FAILURE() << "no finding about " << check;
    return {};
  }

  TempDir dir_;
  Options options_;
  ServiceStatus status_;
  FakeBackend backend_;
  OwnMount::Place mount_{.path = "/mnt/a b", .device = "0:55"};
  DoctorPlaces places_;
};

TEST_F(DoctorTest, AllIsWell) {
  for (const Finding& finding : ExamineDaemon(options_, backend_, status_, mount_, {}, places_)) {
    EXPECT_FALSE(finding.text.empty()) << finding.check;
    EXPECT_EQ(finding.level == Level::kOk, finding.advice.empty()) << finding.check << ": who is told of trouble is told what to do";
    // The machine of the test may have no NTP, few descriptors, a slow disk, an old kernel, /tmp on tmpfs.
    for (const char* check : {"passthrough", "privileges", "mount", "read_ahead", "cache directory", "cache space", "cache index", "source"}) {
      if (finding.check != check) continue;
      EXPECT_EQ(finding.level, Level::kOk) << check << ": " << finding.text;
    }
  }
}

TEST_F(DoctorTest, LeavesNothingInTheCacheDirectory) {
  Find("cache writes");
  EXPECT_TRUE(std::filesystem::is_empty(options_.cache.directory));
}

TEST_F(DoctorTest, Source) {
  backend_.FailAll({Errc::kUnavailable, "connection refused"});
  EXPECT_EQ(Find("source").level, Level::kFail);
  EXPECT_NE(Find("source").text.find("connection refused"), std::string::npos);
  backend_.Heal();
  backend_.FailAll({Errc::kAccessDenied, "HTTP 403"});
  EXPECT_NE(Find("source").text.find("refuses our credentials"), std::string::npos);
  backend_.Heal();
  backend_.FailAll({Errc::kNotSupported, "no root"});
  EXPECT_EQ(Find("source").level, Level::kOk);
}

TEST_F(DoctorTest, AStopEndsTheQuestionToTheSource) {
  backend_.HangAll();
  std::stop_source stop;
  stop.request_stop();
  const auto findings = ExamineDaemon(options_, backend_, status_, mount_, stop.get_token(), places_);
  EXPECT_GT(findings.size(), 8u);
  backend_.ReleaseAll();
}

TEST_F(DoctorTest, Privileges) {
  places_.process = Write("status", "CapEff:\t0000000000000000\n");
  EXPECT_EQ(Find("privileges").level, Level::kWarn);
  Write("max_user_bgreq", "12\n");
  EXPECT_EQ(Find("max_background").level, Level::kWarn);
  status_.passthrough_refused = "no CAP_SYS_ADMIN";
  EXPECT_EQ(Find("passthrough").level, Level::kWarn);
  options_.passthrough = false;
  EXPECT_EQ(Find("passthrough").level, Level::kOk) << "off as it was asked for";
}

TEST_F(DoctorTest, CacheDirectory) {
  ASSERT_EQ(::chmod(options_.cache.directory.c_str(), 0755), 0);
  EXPECT_EQ(Find("cache directory").level, Level::kWarn);
  if (::geteuid() == 0) {
    ASSERT_EQ(::chown(options_.cache.directory.c_str(), 1234, 1234), 0);
    EXPECT_NE(Find("cache directory").advice.find("chown"), std::string::npos);
  }
  options_.cache.directory = dir_ / "none";
  EXPECT_EQ(Find("cache directory").level, Level::kFail);
  EXPECT_EQ(Find("cache writes").level, Level::kFail);
  options_.cache.directory = "/dev/shm";
  if (std::filesystem::exists("/dev/shm")) {
    EXPECT_NE(Find("cache file system").text.find("tmpfs"), std::string::npos);
  }
  options_.cache.directory = "/proc";
  EXPECT_NE(Find("cache writes").level, Level::kOk);
}

TEST_F(DoctorTest, Space) {
  status_.cache.limits.max_size = 60'000'000'000;
  EXPECT_EQ(Find("cache space").level, Level::kWarn) << "max_size cannot be reached";
  status_.cache.limits.max_size = 0;
  EXPECT_EQ(Find("cache space").level, Level::kOk);
  status_.cache.disk_available = 1'000'000'000;
  EXPECT_EQ(Find("cache space").level, Level::kFail) << "below min_free";
}

TEST_F(DoctorTest, Index) {
  status_.cache.bad_chunks = 3;
  EXPECT_EQ(Find("cached data").level, Level::kWarn);
  EXPECT_EQ(Find("cache index").level, Level::kOk) << "the index is not what is bad";
  status_.cache.storage_error = "No space left on device";
  EXPECT_EQ(Find("cache index").level, Level::kFail);
}

TEST_F(DoctorTest, Mount) {
  options_.allow_other = false;
  EXPECT_EQ(Find("mount").level, Level::kWarn) << "others may use it";
  options_.allow_other = true;
  places_.mounts = Write("mounts", "36 35 0:55 / /mnt/a\\040b rw - fuse.glintfs http://x/ rw,allow_other\n");
  EXPECT_EQ(Find("mount").level, Level::kWarn);
  places_.mounts = Write("mounts", "36 35 0:55 / /mnt/other ro - fuse.glintfs http://x/ ro\n");
  EXPECT_EQ(Find("mount").level, Level::kFail);
}

TEST_F(DoctorTest, AnotherMountAtOurPathIsNotOurs) {
  places_.processes = dir_ / "proc";
  for (const char* pid : {"self", "12", "13", "14"}) std::filesystem::create_directories(dir_ / (std::string("proc/") + pid + "/ns"));
  const auto space = [&](const std::string& pid, const std::string& name) {
    std::filesystem::create_symlink("mnt:[" + name + "]", dir_ / ("proc/" + pid + "/ns/mnt"));
  };
  space("self", "1");
  space("12", "1");
  space("13", "2");
  space("14", "3");
  const std::string ours = "36 35 0:55 / /mnt/a\\040b ro - fuse.glintfs http://x/ ro,allow_other\n";
  const std::string other = "40 35 0:56 / /mnt/a\\040b ro - fuse.glintfs http://x/ ro,allow_other\n";
  Write("proc/12/mountinfo", ours);  // as if: a process of our namespace says no more than our own table
  Write("proc/13/mountinfo", "50 49 0:55 / /mnt/a\\040b ro - fuse.glintfs http://x/ ro,allow_other\n");
  Write("proc/13/comm", "qemu\n");
  Write("proc/14/mountinfo", other);

  places_.mounts = Write("mounts", other);
  EXPECT_EQ(Find("mount").level, Level::kFail);
  EXPECT_EQ(Find("mount").text, "the mount is no longer at /mnt/a b, but http://x/ (fuse.glintfs); a copy is held by: process 13 (qemu)");
  EXPECT_NE(Find("mount").advice.find("kill " + std::to_string(::getpid())), std::string::npos);

  Write("proc/13/mountinfo", other);
  EXPECT_NE(Find("mount").advice.find("grep -l ' 0:55 ' /proc"), std::string::npos);
  places_.mounts = Write("mounts", "");
  EXPECT_EQ(Find("mount").text.substr(0, 43), "the mount is no longer at /mnt/a b; files o");

  // The order of the table does not tell which of two shows: ours lies on the other one here, though it was made before.
  places_.mounts = Write("mounts", "36 40 0:55 / /mnt/a\\040b ro - fuse.glintfs http://x/ ro,allow_other\n" + other);
  EXPECT_EQ(Find("mount").level, Level::kOk) << Find("mount").text;
  places_.mounts = Write("mounts", ours + "40 36 0:56 / /mnt/a\\040b ro - tmpfs none rw\n");
  EXPECT_NE(Find("mount").text.find("held by: that same place, below"), std::string::npos) << Find("mount").text;
}

}  // namespace
}  // namespace glintfs::testing
