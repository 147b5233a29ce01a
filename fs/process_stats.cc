#include "fs/process_stats.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <sstream>
#include <string>

namespace glintfs {
namespace {

double Seconds(const timeval& time) { return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6; }

uint64_t CountOpenFds() {
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir("/proc/self/fd"), ::closedir);
  if (!dir) return 0;
  uint64_t count = 0;
  while (const dirent* entry = ::readdir(dir.get())) count += entry->d_name[0] != '.' ? 1 : 0;
  return count - 1;  // the one it was counted with
}

// When the machine started, plus when after that this process did.
Nanos StartTime() {
  std::ifstream stat("/proc/self/stat");
  std::string text((std::istreambuf_iterator<char>(stat)), {});
  const size_t name_end = text.rfind(')');  // the name may hold anything
  if (name_end == std::string::npos) return Nanos(0);
  std::istringstream fields(text.substr(name_end + 1));
  std::string skipped;
  for (int i = 3; i < 22; ++i) fields >> skipped;
  uint64_t ticks = 0;
  fields >> ticks;
  std::ifstream system("/proc/stat");
  for (std::string line; std::getline(system, line);)
    if (line.starts_with("btime "))
      return std::chrono::seconds(std::stoll(line.substr(6))) +
             std::chrono::milliseconds(ticks * 1000 / static_cast<uint64_t>(::sysconf(_SC_CLK_TCK)));
  return Nanos(0);
}

}  // namespace

ProcessStats ReadProcessStats() {
  ProcessStats stats;
  stats.started = StartTime();
  rusage usage{};
  if (::getrusage(RUSAGE_SELF, &usage) == 0) stats.cpu_seconds = Seconds(usage.ru_utime) + Seconds(usage.ru_stime);
  stats.open_fds = CountOpenFds();
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) stats.max_fds = files.rlim_cur;
  std::ifstream statm("/proc/self/statm");
  uint64_t pages = 0, resident = 0;
  if (statm >> pages >> resident) {
    const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
    stats.virtual_bytes = pages * page;
    stats.resident_bytes = resident * page;
  }
  return stats;
}

}  // namespace glintfs
