// open_read [-k] [-d] [-n OFFSETS] BYTES PASSES FILE…: opens each file in turn, reads BYTES, closes it, and prints for each
// pass over all files the nanoseconds of one such operation. One pass that does not count goes before.
//   -k  every file is kept open: what is measured is the read
//   -d  with O_DIRECT
//   -n  reads at so many places of each file, evenly spread; 1 (the beginning) without it
// For scripts/bench: an interpreter would be a third of what a warm open and read takes.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

constexpr size_t kAlignment = 4096;

struct Settings {
  bool keep = false;
  int flags = O_RDONLY | O_CLOEXEC;
  long offsets = 1, bytes = 0, passes = 0;
};

struct Target {
  const char* path;
  int fd;
  off_t step;  // between two places
};

[[noreturn]] void Fail(const char* path) {
  std::perror(path);
  std::exit(1);
}

int Open(const char* path, int flags) {
  const int fd = open(path, flags);
  if (fd < 0) Fail(path);
  return fd;
}

std::vector<Target> Targets(char** paths, const Settings& settings) {
  std::vector<Target> targets;
  for (; *paths != nullptr; ++paths) {
    struct stat st{};
    if (stat(*paths, &st) != 0) Fail(*paths);
    const off_t step = st.st_size / settings.offsets / static_cast<off_t>(kAlignment) * static_cast<off_t>(kAlignment);
    targets.push_back({*paths, settings.keep ? Open(*paths, settings.flags) : -1, step});
  }
  return targets;
}

void Pass(const std::vector<Target>& targets, const Settings& settings, char* buffer) {
  for (long place = 0; place < settings.offsets; ++place) {
    for (const Target& target : targets) {
      const int fd = settings.keep ? target.fd : Open(target.path, settings.flags);
      if (pread(fd, buffer, static_cast<size_t>(settings.bytes), place * target.step) < 0) Fail(target.path);
      if (!settings.keep) close(fd);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  for (int option; (option = getopt(argc, argv, "kdn:")) != -1;) {
    if (option == 'k') settings.keep = true;
    if (option == 'd') settings.flags |= O_DIRECT;
    if (option == 'n') settings.offsets = std::atol(optarg);
  }
  if (argc - optind >= 3) {
    settings.bytes = std::atol(argv[optind]);
    settings.passes = std::atol(argv[optind + 1]);
  }
  if (settings.bytes <= 0 || settings.passes <= 0 || settings.offsets <= 0) {
    std::fprintf(stderr, "usage: open_read [-k] [-d] [-n OFFSETS] BYTES PASSES FILE...\n");
    return 2;
  }
  const std::vector<Target> targets = Targets(argv + optind + 2, settings);
  void* memory = nullptr;
  if (posix_memalign(&memory, kAlignment, static_cast<size_t>(settings.bytes)) != 0) return 1;

  const double operations = static_cast<double>(targets.size()) * static_cast<double>(settings.offsets);
  for (long pass = -1; pass < settings.passes; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    Pass(targets, settings, static_cast<char*>(memory));
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
    if (pass >= 0) std::printf("%.0f\n", took.count() / operations);
  }
  std::free(memory);
}
