// Nothing here asks our own mount: a daemon that waits for itself would be the next trouble.
#include "fs/doctor.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>
#include <system_error>

#include "fs/base/mount_table.h"
#include "fs/base/size_text.h"
#include "fs/base/unique_fd.h"
#include "fs/startup.h"

namespace glintfs {
namespace {

using Level = Finding::Level;
using SteadyClock = std::chrono::steady_clock;

constexpr Nanos kSlowSource = std::chrono::seconds(1);
constexpr Nanos kSlowDisk = std::chrono::milliseconds(100);
constexpr size_t kTestBytes = 1 << 20;
constexpr rlim_t kFewDescriptors = 4096;
constexpr int64_t kBuiltAfter = 1'735'689'600;  // 2025-01-01: an earlier clock was never set

Finding Ok(std::string check, std::string text) { return {std::move(check), Level::kOk, std::move(text), ""}; }
Finding Warn(std::string check, std::string text, std::string advice) {
  return {std::move(check), Level::kWarn, std::move(text), std::move(advice)};
}
Finding Fail(std::string check, std::string text, std::string advice) {
  return {std::move(check), Level::kFail, std::move(text), std::move(advice)};
}
std::string Reason(int error) { return std::error_code(error, std::generic_category()).message(); }

bool HasLine(const std::string& path, std::string_view wanted) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    line.erase(0, line.find_first_not_of(" \t"));
    line.erase(line.find_last_not_of(" \t\r") + 1);
    if (line == wanted) return true;
  }
  return false;
}

bool MayAdministrate(const std::string& process) {
  constexpr int kCapSysAdmin = 21;
  std::ifstream file(process);
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("CapEff:")) return (std::stoull(line.substr(7), nullptr, 16) >> kCapSysAdmin & 1) != 0;
  return false;
}

// ---- Kernel and privileges

Finding Kernel() {
  utsname names{};
  ::uname(&names);
  int major = 0, minor = 0;
  std::sscanf(names.release, "%d.%d", &major, &minor);
  const std::string text = fmt::format("Linux {}", names.release);
  if (major > 6 || (major == 6 && minor >= 9)) return Ok("kernel", text + ": FUSE with passthrough");
  if (major > 6 || (major == 6 && minor >= 1)) return Ok("kernel", text + ": FUSE without passthrough, which needs 6.9");
  return Warn("kernel", text + " is older than what glintfs is tested with", "Use Linux 6.1 or newer");
}

Finding Passthrough(const Options& options, const ServiceStatus& status) {
  if (status.passthrough_refused.empty()) return Ok("passthrough", "on: complete images are read at the speed of the disk");
  if (!options.passthrough) return Ok("passthrough", "off by setting; complete images are read through glintfs");
  return Warn("passthrough", "off: " + status.passthrough_refused,
              "It needs Linux 6.9, root (CAP_SYS_ADMIN) and a cache directory that is on no overlay; all works without it, slower");
}

Finding Privileges(const Options& options, const DoctorPlaces& places) {
  const bool admin = MayAdministrate(places.process);
  const std::string who = fmt::format("user id {}, {} CAP_SYS_ADMIN", ::geteuid(), admin ? "with" : "without");
  if (admin) return Ok("privileges", who);
  if (options.allow_other && ::geteuid() != 0 && !HasLine(places.fuse_conf, "user_allow_other"))
    return Fail("privileges", who + "; allow_other is set, but users may not use it", "Write the line user_allow_other into " + places.fuse_conf);
  return Warn("privileges", who + ": no passthrough, no larger readahead", "Mount as root where that matters");
}

Finding Descriptors() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur == RLIM_INFINITY) return Ok("descriptors", "no limit");
  const std::string text = fmt::format("at most {} open files", limit.rlim_cur);
  if (limit.rlim_cur >= kFewDescriptors) return Ok("descriptors", text);
  return Warn("descriptors", text, "Each image in use takes one: LimitNOFILE=65536 in the unit, or ulimit -n before the mount");
}

// ---- Cache

std::string FileSystemName(int64_t type) {
  switch (static_cast<uint32_t>(type)) {
    case 0xEF53: return "ext4";
    case 0x58465342: return "xfs";
    case 0x9123683E: return "btrfs";
    case 0x2FC12FC1: return "zfs";
    case 0xF2F52010: return "f2fs";
    case 0x01021994: return "tmpfs";
    case 0x794C7630: return "overlay";
    case 0x6969: return "nfs";
    case 0x65735546: return "fuse";
    case 0xFE534D42: return "smb";
    case 0x00C36400: return "ceph";
    default: return fmt::format("a file system of type {:#x}", static_cast<uint32_t>(type));
  }
}

Finding CacheFileSystem(const std::string& directory) {
  struct statfs fs {};
  if (::statfs(directory.c_str(), &fs) != 0)
    return Fail("cache file system", directory + ": " + Reason(errno), "Mend the disk, or choose another directory with cache=");
  const std::string name = FileSystemName(fs.f_type), text = directory + " is on " + name;
  if (name == "overlay") return Warn("cache file system", text + ": no passthrough there", "Give the cache a volume of its own");
  if (name == "tmpfs") return Warn("cache file system", text + ": what is cached is lost with the next boot and takes memory", "Choose a directory on a disk with cache=");
  if (name == "nfs" || name == "fuse" || name == "smb" || name == "ceph")
    return Warn("cache file system", text + ": a cache there is as slow as the network and fails with it", "Choose a directory on a local disk with cache=");
  return Ok("cache file system", text);
}

Finding CacheOwner(const std::string& directory) {
  struct stat st {};
  if (::stat(directory.c_str(), &st) != 0)
    return Fail("cache directory", directory + ": " + Reason(errno), "Unmount and mount again; the directory is made anew");
  const std::string text = fmt::format("{}: owner {}, mode {:04o}", directory, st.st_uid, st.st_mode & 07777);
  if (st.st_uid != ::geteuid()) return Warn("cache directory", text + ", but glintfs runs as another user", fmt::format("chown {} {}", ::geteuid(), directory));
  if ((st.st_mode & 077) != 0) return Warn("cache directory", text + ": others can read what is cached", "chmod 0700 " + directory);
  return Ok("cache directory", text);
}

Finding Space(const CacheStats& cache) {
  const uint64_t keep = static_cast<uint64_t>(static_cast<double>(cache.disk_total) * cache.limits.min_free);
  const std::string text = fmt::format("{} of {} free, {} cached", FormatSize(cache.disk_available), FormatSize(cache.disk_total), FormatSize(cache.used_bytes));
  if (cache.disk_total == 0) return Warn("cache space", "the size of the disk is not known", "Mend the disk, or choose another directory with cache=");
  if (cache.disk_available < keep)
    return Fail("cache space", fmt::format("{}: less than min_free={:.0f}%", text, cache.limits.min_free * 100),
                "Free space on that disk, or lower min_free; nothing new is cached until then");
  if (cache.limits.max_size > 0 && cache.used_bytes + cache.disk_available - keep < cache.limits.max_size)
    return Warn("cache space", fmt::format("{}: the disk is full before max_size={} is reached", text, FormatQuantity(cache.limits.max_size)),
                "Lower max_size (glintctl set max_size=SIZE), or free space");
  return Ok("cache space", text);
}

Finding CacheWrite(const std::string& directory) {
  const UniqueFd file(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  const std::string mend = "Look at the disk (dmesg, df, mount): read-only, full or broken";
  if (!file.valid()) {
    if (errno == EOPNOTSUPP) return Warn("cache writes", "not tried: the file system has no O_TMPFILE", "Use ext4, xfs or btrfs");
    return Fail("cache writes", "cannot make a file: " + Reason(errno), mend);
  }
  const std::string bytes(kTestBytes, 'x');
  const auto start = SteadyClock::now();
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t written = ::write(file.get(), bytes.data() + done, bytes.size() - done);
    if (written < 0) return Fail("cache writes", "cannot write: " + Reason(errno), mend);
    done += static_cast<size_t>(written);
  }
  if (::fdatasync(file.get()) != 0) return Fail("cache writes", "cannot write to disk: " + Reason(errno), mend);
  const Nanos took = SteadyClock::now() - start;
  const std::string text = fmt::format("1 MiB written and synced in {}", FormatDuration(took));
  return took <= kSlowDisk ? Ok("cache writes", text) : Warn("cache writes", text, "A slow or busy disk makes first reads slow: iostat -x 1");
}

Finding Index(const CacheStats& cache) {
  if (!cache.storage_error.empty())
    return Fail("cache index", "the cache cannot store: " + cache.storage_error, "Look at the disk; reads go past the cache until it works again");
  return Ok("cache index", fmt::format("{} images, {} commits since the start", cache.images, cache.index_commits));
}

Finding Content(const CacheStats& cache) {
  if (cache.bad_chunks == 0) return Ok("cached data", "no chunk on disk was found bad since the start");
  return Warn("cached data", fmt::format("{} chunks on disk did not match their hashes since the start", cache.bad_chunks),
              "Look at the disk (dmesg, smartctl), then glintctl verify --all");
}

// ---- Source

Finding Source(Backend& backend, std::stop_token stop) {
  const auto start = SteadyClock::now();
  const auto answer = backend.Stat("", stop);
  const Nanos took = SteadyClock::now() - start;
  const std::string where = backend.source();
  if (!answer && answer.error().code == Errc::kAccessDenied)
    return Fail("source", fmt::format("{} refuses our credentials: {}", where, answer.error().message),
                "Put good ones where the old ones are; the manual page of the source, glintfs-NAME(7), names the places");
  // A source without a root to ask for still resolves names.
  if (!answer && answer.error().code != Errc::kNotSupported)
    return Fail("source", fmt::format("{}: {}", where, answer.error().ToString()),
                "Look at the store and the network; what is cached is served meanwhile");
  const std::string text = fmt::format("{} answers, with our credentials, in {}", where, FormatDuration(took));
  return took <= kSlowSource ? Ok("source", text) : Warn("source", text, "A slow store or network makes first reads slow");
}

// ---- Clock

Finding ClockFinding() {
  timex state{};
  const int result = ::adjtimex(&state);  // modes 0: asks only
  if (Clock::System().WallNow() < std::chrono::seconds(kBuiltAfter))
    return Fail("clock", "the clock was never set", "Set it: S3 and Keystone refuse signatures and tokens with a wrong time");
  if (result < 0) return Warn("clock", "adjtimex: " + Reason(errno), "Make sure that the time is kept by NTP");
  if (result == TIME_ERROR || (state.status & STA_UNSYNC) != 0)
    return Warn("clock", "not synchronised", "timedatectl set-ntp true; S3 and Keystone refuse signatures and tokens with a wrong time");
  return Ok("clock", "synchronised");
}

// ---- Mount

std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// What still has the mount: places in our mount namespace, and a process of each other one. Those of other users only root sees.
std::vector<std::string> Holders(const OwnMount::Place& ours, const std::vector<MountEntry>& own_table, const std::string& processes) {
  std::vector<std::string> holders;
  for (const MountEntry& mount : own_table)
    if (mount.device == ours.device) holders.push_back(mount.path == ours.path ? "that same place, below" : mount.path);
  std::error_code error;
  std::set<std::string> seen = {std::filesystem::read_symlink(processes + "/self/ns/mnt", error).string()};
  for (std::filesystem::directory_iterator it(processes, error), end; !error && it != end; it.increment(error)) {
    const std::string pid = it->path().filename().string();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    std::error_code hidden;
    const std::string space = std::filesystem::read_symlink(it->path() / "ns/mnt", hidden).string();
    if (hidden || !seen.insert(space).second) continue;
    const auto table = ReadMountTable(it->path() / "mountinfo");
    const bool holds = std::any_of(table.begin(), table.end(), [&](const MountEntry& mount) { return mount.device == ours.device; });
    if (holds) holders.push_back(fmt::format("process {} ({})", pid, FirstLine(it->path() / "comm")));
  }
  return holders;
}

// The daemon lives on although the mount point shows no mount of its.
Finding NoLongerMounted(const OwnMount::Place& mount, const std::vector<MountEntry>& table, const DoctorPlaces& places) {
  const auto top = TopMountAt(mount.path, table);
  const std::string instead = top ? fmt::format(", but {} ({})", top->source, top->type) : "";
  const std::vector<std::string> holders = Holders(mount, table, places.processes);
  const std::string where = fmt::format("the mount is no longer at {}{}", mount.path, instead);
  const std::string end = fmt::format("or end this daemon: kill {}", ::getpid());
  if (holders.empty())
    return Fail("mount", where + "; files of it are open, or a process that only root can see has a copy",
                "As root: grep -l ' " + mount.device + " ' /proc/[0-9]*/mountinfo names the processes; end those, " + end);
  return Fail("mount", fmt::format("{}; a copy is held by: {}", where, fmt::join(holders, ", ")),
              fmt::format("End or restart what holds the copy, or umount it there, {}", end));
}

void Mount(const Options& options, const OwnMount::Place& ours, const DoctorPlaces& places, std::vector<Finding>& findings) {
  const auto table = ReadMountTable(places.mounts);
  const auto mount = TopMountAt(ours.path.empty() ? options.mountpoint : ours.path, table);
  if (!ours.device.empty() && (!mount || mount->device != ours.device)) {
    findings.push_back(NoLongerMounted(ours, table, places));
    return;
  }
  if (!mount || mount->type != kMountType) {
    findings.push_back(Fail("mount", options.mountpoint + " is not mounted where glintfs runs", "Mount it again; under systemd without PrivateTmp, ProtectSystem and the like"));
    return;
  }
  const bool read_only = ("," + mount->options + ",").find(",ro,") != std::string::npos || ("," + mount->super_options + ",").find(",ro,") != std::string::npos;
  const bool others = ("," + mount->super_options + ",").find(",allow_other,") != std::string::npos;
  const std::string text = fmt::format("{}: {}, {}", options.mountpoint, mount->options, mount->super_options);
  if (!read_only && options.layout == Layout::kImages) {
    findings.push_back(Warn("mount", text + ": somebody has remounted it read-write", "mount -o remount,ro " + options.mountpoint));
  } else if (others != options.allow_other) {
    findings.push_back(Warn("mount", text + ": allow_other is not as set", "Mount it again"));
  } else {
    findings.push_back(Ok("mount", text));
  }
  const std::string ahead = FirstLine(places.bdi + "/" + mount->device + "/read_ahead_kb");
  if (!ahead.empty()) findings.push_back(Ok("read_ahead", ahead + " KiB"));
}

Finding BackgroundRequests(const DoctorPlaces& places) {
  const std::string most = FirstLine(places.fuse_parameters + "/max_user_bgreq");
  if (most.empty()) return Ok("max_background", "the kernel tells no limit for users");
  unsigned value = 0;
  std::istringstream(most) >> value;
  if (MayAdministrate(places.process) || value >= 1024) return Ok("max_background", "limit for users " + most);
  return Warn("max_background", "the kernel lets users have " + most + " requests at once: a hanging store can hold up cached reads",
              "echo 4096 > " + places.fuse_parameters + "/max_user_bgreq as root, then mount again");
}

}  // namespace

std::vector<Finding> ExamineDaemon(const Options& options, Backend& backend, const ServiceStatus& status, const OwnMount::Place& mount,
                                   std::stop_token stop, const DoctorPlaces& places) {
  const std::string& directory = options.cache.directory;
  std::vector<Finding> findings = {Kernel(), Passthrough(options, status), Privileges(options, places), Descriptors()};
  Mount(options, mount, places, findings);
  findings.push_back(BackgroundRequests(places));
  findings.push_back(CacheOwner(directory));
  findings.push_back(CacheFileSystem(directory));
  findings.push_back(Space(status.cache));
  findings.push_back(CacheWrite(directory));
  findings.push_back(Index(status.cache));
  findings.push_back(Content(status.cache));
  findings.push_back(Source(backend, std::move(stop)));
  findings.push_back(ClockFinding());
  return findings;
}

}  // namespace glintfs
