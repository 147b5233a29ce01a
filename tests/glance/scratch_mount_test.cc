// A mount with layout=glance-cache as any program sees it, without a Glance.
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#include <cstring>
#include <filesystem>

#include "fs/base/unique_fd.h"
#include "tests/mount/harness.h"
#include "tests/support/openstack.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

class ScratchMount : public MountTest {
 protected:
  void Mount(const std::string& options = "") {
    if (!mount_) mount_ = std::make_unique<GlintfsMount>(source());
    mount_->set_options("layout=glance-cache,attr_ttl=1s" + (options.empty() ? "" : "," + options));
    ::chmod(std::filesystem::path(mount_->mountpoint()).parent_path().c_str(), 0711);
    mount_->Start();
  }
  std::string Image(const std::string& name, size_t size) {
    const std::string id = UuidFor(name);
    Put(id, size, 7);
    return id;
  }
  bool Listed(const std::string& name) {
    const auto names = Names(mount_->mountpoint());
    return std::find(names.begin(), names.end(), name) != names.end();
  }
  std::string At(const std::string& name) { return *mount_ / name; }

  std::unique_ptr<GlintfsMount> mount_;
};

// What the SQLite driver of Glance does, by several processes at a time.
constexpr char kWriters[] = R"(
import os, sqlite3, sys
path, rounds, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def writer(n):
    for i in range(rounds):
        c = sqlite3.connect(path, timeout=60)
        c.execute('PRAGMA synchronous = NORMAL')
        with c:
            c.execute('INSERT INTO t VALUES (?, ?)', (n, i))
        c.close()
c = sqlite3.connect(path, timeout=60)
c.execute('PRAGMA journal_mode = ' + mode)
c.execute('CREATE TABLE IF NOT EXISTS t (writer, round)')
c.commit()
c.close()
children = []
for n in range(4):
    pid = os.fork()
    if pid == 0:
        try:
            writer(n)
        except BaseException as e:
            print(e, file=sys.stderr)
            os._exit(1)
        os._exit(0)
    children.append(pid)
failed = sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children)
c = sqlite3.connect(path)
print(failed, c.execute('SELECT COUNT(DISTINCT writer * 1000 + round) FROM t').fetchone()[0], c.execute('PRAGMA integrity_check').fetchone()[0])
)";

TEST_F(ScratchMount, SqliteWritersInParallelLoseNothing) {
  Mount();
  for (const char* mode : {"DELETE", "WAL"}) {
    const CommandResult result = RunCommand({"/usr/bin/python3", "-c", kWriters, At(std::string(mode) + ".db"), "25", mode});
    EXPECT_EQ(result.out, "0 100 ok\n") << mode << result.err;
  }
  // And are there after a restart, and after a daemon that was killed.
  mount_->Stop();
  mount_->Start();
  EXPECT_EQ(RunCommand({"/usr/bin/python3", "-c", kWriters, At("DELETE.db"), "25", "DELETE"}).out, "0 100 ok\n");
  mount_->Kill();
  mount_->Start();
  EXPECT_EQ(RunCommand({"/usr/bin/python3", "-c", kWriters, At("DELETE.db"), "25", "DELETE"}).out, "0 100 ok\n");
}

TEST_F(ScratchMount, FilesBehaveAsFilesDo) {
  Mount();
  const std::string path = At("checkme");
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_APPEND, 0644));
  ASSERT_TRUE(fd.valid()) << std::strerror(errno);
  EXPECT_EQ(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL, 0644), -1);
  EXPECT_EQ(errno, EEXIST);
  EXPECT_EQ(::write(fd.get(), "one", 3), 3);
  const UniqueFd other(::open(path.c_str(), O_WRONLY | O_APPEND));
  EXPECT_EQ(::write(other.get(), "two", 3), 3);
  EXPECT_EQ(::write(fd.get(), "three", 5), 5);
  EXPECT_EQ(ReadFile(path), "onetwothree");
  EXPECT_EQ(::fsync(fd.get()), 0);
  {
    const UniqueFd truncated(::open(path.c_str(), O_WRONLY | O_TRUNC));
    ASSERT_TRUE(truncated.valid());
    EXPECT_EQ(ReadFile(path), "");
  }
  EXPECT_EQ(::ftruncate(fd.get(), 8192), 0);
  void* map = ::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  ASSERT_NE(map, MAP_FAILED) << std::strerror(errno);
  std::memcpy(static_cast<char*>(map) + 5000, "mapped", 6);
  EXPECT_EQ(::msync(map, 8192, MS_SYNC), 0);
  ::munmap(map, 8192);
  EXPECT_EQ(ReadFile(mount_->cache() + "/scratch/root/checkme").substr(5000, 6), "mapped");
  EXPECT_EQ(::rename(path.c_str(), At("queue/moved").c_str()), 0);
  EXPECT_EQ(Names(At("queue")), std::vector<std::string>{"moved"});
  EXPECT_EQ(::unlink(At("queue/moved").c_str()), 0);
  char text[6] = {};
  EXPECT_EQ(::pread(fd.get(), text, 6, 5000), 6) << "open, though unlinked";
  EXPECT_EQ(std::string(text, 6), "mapped");
  struct stat st{};
  EXPECT_EQ(::fstat(fd.get(), &st), 0);
  EXPECT_EQ(st.st_size, 8192);
}

TEST_F(ScratchMount, HoldsNoMoreThanItsLimit) {
  Mount();
  const UniqueFd fd(::open(At("big").c_str(), O_RDWR | O_CREAT, 0644));
  ASSERT_TRUE(fd.valid());
  const std::string block(1 << 20, 'x');
  size_t written = 0;
  while (written < (200u << 20) && ::write(fd.get(), block.data(), block.size()) == static_cast<ssize_t>(block.size())) written += block.size();
  EXPECT_EQ(errno, ENOSPC);
  EXPECT_EQ(written, 64u << 20);
  EXPECT_TRUE(WaitFor([&] { return mount_->LogText().find("the scratch area is full") != std::string::npos; }));
  EXPECT_EQ(::unlink(At("big").c_str()), 0);
  EXPECT_NE(::open(At("small").c_str(), O_RDWR | O_CREAT, 0644), -1);
  struct statvfs space{};
  EXPECT_EQ(::statvfs(mount_->mountpoint().c_str(), &space), 0);
  EXPECT_EQ(space.f_blocks * space.f_frsize / 1'000'000, 9'999u) << "max_size, as df shows it; scratch is beside it";
}

TEST_F(ScratchMount, AnOrdinaryUserWhoOwnsItMayDoAllThatGlanceDoes) {
  const passwd* nobody = ::getpwnam("nobody");
  const group* nogroup = ::getgrnam("nogroup");
  ASSERT_TRUE(nobody != nullptr && nogroup != nullptr);
  const std::string id = Image("image", 3'000'000);
  Mount("uid=nobody,gid=nogroup");
  const std::string script = "set -e; cd " + mount_->mountpoint() +
                             "; test -w .; mkdir queue 2>/dev/null && exit 9; echo x > checkme; test $(cat checkme) = x; rm checkme; > queue/" + id +
                             "; rm queue/" + id + "; cmp " + id + " - ; test -w " + id + "; rm -f " + id + "; test -e " + id;
  const ProcessOptions as_nobody{.directory = "/", .user = nobody->pw_uid};
  const CommandResult result = RunCommand({"sh", "-c", "cat " + At(id) + " | (" + script + ")"}, as_nobody);
  EXPECT_TRUE(result.ok()) << result.status << result.out << result.err;
  const CommandResult xattr = RunCommand({"/usr/bin/python3", "-c",
                                          "import os,sys\nos.setxattr(sys.argv[1],'user.hits',b'3')\nprint(int(os.getxattr(sys.argv[1],'user.hits')) >= 0)",
                                          At(id)}, as_nobody);
  EXPECT_EQ(xattr.out, "True\n") << xattr.err;
  // Others may read images, and nothing else.
  const passwd* daemon = ::getpwnam("daemon");
  ASSERT_NE(daemon, nullptr);
  const ProcessOptions as_other{.directory = "/", .user = daemon->pw_uid};
  EXPECT_TRUE(RunCommand({"cmp", At(id), At(id)}, as_other).ok());
  for (const std::string& command : {"echo x > " + At("new"), "rm -f " + At(id), "rm -f " + At("queue/x") + "; > " + At("queue/x")})
    EXPECT_FALSE(RunCommand({"sh", "-c", command}, as_other).ok()) << command;
}

TEST_F(ScratchMount, ImagesAreImmutableAndNothingElseIsMade) {
  const std::string id = Image("image", 3'000'000);
  Mount();
  const std::string image = At(id), bytes = ReadFile(image);
  EXPECT_EQ(::open(image.c_str(), O_RDWR), -1);
  EXPECT_EQ(errno, EROFS);
  EXPECT_EQ(::truncate(image.c_str(), 0), -1);
  EXPECT_EQ(errno, EROFS);
  EXPECT_EQ(::chmod(image.c_str(), 0600), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::utimensat(AT_FDCWD, image.c_str(), nullptr, 0), -1);
  EXPECT_EQ(errno, EROFS);
  EXPECT_EQ(::rename(image.c_str(), At("x").c_str()), -1);
  EXPECT_EQ(errno, EPERM);
  WriteFile(At("x"), "x");
  EXPECT_EQ(::rename(At("x").c_str(), image.c_str()), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::link(image.c_str(), At("l").c_str()), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::symlink("x", At("l").c_str()), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::mkdir(At("d").c_str(), 0755), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::open(At(UuidFor("no image")).c_str(), O_RDWR | O_CREAT, 0644), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_TRUE(ReadFile(image) == bytes);
}

TEST_F(ScratchMount, UnlinkEvictsAndTheListingShowsWhatIsWhole) {
  const std::string id = Image("image", 3'000'000), other = Image("other", 30'000'000);
  Put("debian.raw", 1000, 1);
  Mount();
  EXPECT_EQ(Names(mount_->mountpoint()), (std::vector<std::string>{"incomplete", "invalid", "queue"}));
  const std::string bytes = ReadFile(At(id));
  ASSERT_TRUE(WaitFor([&] { return Listed(id); }));
  EXPECT_FALSE(Listed(other));
  EXPECT_EQ(ReadErrno(At("debian.raw"), 0), ENOENT) << "no id";
  struct stat st{};
  EXPECT_EQ(::stat(At(id).c_str(), &st), 0);
  EXPECT_GE(st.st_atime, st.st_mtime) << "the last access";
  EXPECT_EQ(::unlink(At(id).c_str()), 0);
  EXPECT_TRUE(WaitFor([&] { return !Listed(id); })) << "at once, or when the kernel has closed it";
  EXPECT_EQ(mount_->State(id), "absent");
  EXPECT_TRUE(ReadFile(At(id)) == bytes);
  ASSERT_TRUE(WaitFor([&] { return Listed(id); }));
  {
    const UniqueFd open(::open(At(id).c_str(), O_RDONLY));
    EXPECT_EQ(::unlink(At(id).c_str()), 0);
    EXPECT_TRUE(Listed(id)) << "open";
    EXPECT_TRUE(ReadAt(open.get(), 2'000'000, 1000) == bytes.substr(2'000'000, 1000));
  }
  EXPECT_TRUE(WaitFor([&] { return !Listed(id); })) << "once it is closed";
  EXPECT_TRUE(ReadFile(At(id)) == bytes);
  ASSERT_TRUE(WaitFor([&] { return Listed(id); }));
  const UniqueFd open(::open(At(id).c_str(), O_RDONLY));
  EXPECT_EQ(::unlink(At(id).c_str()), 0);
  EXPECT_TRUE(ReadFile(At(id)) == bytes) << "opened again: wanted";
  EXPECT_TRUE(Listed(id));
}

TEST_F(ScratchMount, CompleteImagesPassThrough) {
  const std::string id = Image("image", 3'000'000);
  Mount();
  ASSERT_TRUE(WaitFor([&] { return mount_->LogText().find("info passthrough ") != std::string::npos; }));
  if (mount_->LogText().find("passthrough off: this kernel") != std::string::npos) GTEST_SKIP() << "Linux before 6.9 has none";
  const std::string bytes = ReadFile(At(id));
  const auto read = [&] { return mount_->Get("/v1/status")["counters"].at("bytes_read").get<uint64_t>(); };
  EXPECT_TRUE(WaitFor([&] {
    const uint64_t before = read();
    DropPageCache(At(id));
    EXPECT_TRUE(ReadFile(At(id)) == bytes);
    return read() == before;
  })) << "read by the kernel itself";
}

TEST_F(ScratchMount, AnOwnerWhomNothingIsAllowedIsRefused) {
  GlintfsMount mount(source(), "layout=glance-cache,noallow_other,uid=nobody");
  try {
    mount.Start();
    ADD_FAILURE() << "mounted";
  } catch (const std::runtime_error& e) {
    EXPECT_NE(std::string(e.what()).find("allow_other"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace glintfs::testing
