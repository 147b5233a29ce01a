#include "tests/mount/harness.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <stdexcept>

#include "fs/base/unique_fd.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

[[noreturn]] void Throw(const std::string& what, int error = errno) {
  throw std::runtime_error(what + ": " + std::strerror(error));
}

}  // namespace

std::string GlintfsBinary() { return GLINTFS_BINARY; }
std::string GlintctlBinary() { return GLINTCTL_BINARY; }

GlintfsMount::GlintfsMount(std::string source, std::string options)
    : source_(std::move(source)), options_(std::move(options)) {
  std::filesystem::create_directory(mountpoint());
}

GlintfsMount::~GlintfsMount() {
  if (process_ && !Stop()) process_->Signal(SIGKILL);
  process_.reset();
  while (!MountType(mountpoint()).empty())
    if (::umount2(mountpoint().c_str(), MNT_DETACH) != 0) break;
}

std::vector<std::string> GlintfsMount::CommandLine() const {
  std::string options = "cache=" + cache() + ",control=" + socket() + ",log=" + log() + ",log_level=debug";
  if (std::filesystem::exists(config())) options += ",config=" + config();
  if (!options_.empty()) options += "," + options_;
  return {GlintfsBinary(), source_, mountpoint(), "-o", options};
}

void GlintfsMount::Start() {
  std::vector<std::string> argv = CommandLine();
  argv.push_back("-f");
  const std::string errors = dir_ / "stderr";
  std::vector<std::string> environment = environment_;
  environment.push_back("GLINTFS_DUMPABLE=1");
  process_ = std::make_unique<Process>(argv, ProcessOptions{.environment = environment, .stderr_path = errors});
  // statfs is always answered by the daemon, never from the kernel's memory of a dead one.
  struct statfs info;
  const bool up = WaitFor(
      [&] {
        return !process_->Running() || (::statfs(mountpoint().c_str(), &info) == 0 && info.f_type == FUSE_SUPER_MAGIC);
      },
      std::chrono::seconds(60));
  if (!up || !process_->Running()) throw std::runtime_error("glintfs did not come up: " + ReadFile(errors) + LogText());
}

std::optional<int> GlintfsMount::Stop(int signal) {
  process_->Signal(signal);
  return process_->Wait(std::chrono::seconds(60));
}

void GlintfsMount::Kill() {
  process_->Signal(SIGKILL);
  process_->Wait();
}

std::string GlintfsMount::LogText() const { return std::filesystem::exists(log()) ? ReadFile(log()) : ""; }

bool GlintfsMount::mounted() const { return MountType(mountpoint()).starts_with("fuse"); }

CommandResult GlintfsMount::Ctl(std::vector<std::string> args) const {
  std::vector<std::string> argv = {GlintctlBinary(), "-s", socket()};
  argv.insert(argv.end(), args.begin(), args.end());
  return RunCommand(argv);
}

nlohmann::json GlintfsMount::CtlJson(std::vector<std::string> args) const {
  args.push_back("--json");
  const CommandResult result = Ctl(args);
  if (!result.ok()) throw std::runtime_error("glintctl " + args[0] + ": " + result.err);
  return nlohmann::json::parse(result.out);
}

nlohmann::json GlintfsMount::Get(const std::string& path) const {
  const CommandResult result = RunCommand({"curl", "-sSf", "--unix-socket", socket(), "http://localhost" + path});
  if (!result.ok()) throw std::runtime_error("GET " + path + ": " + result.err);
  return nlohmann::json::parse(result.out);
}

std::string GlintfsMount::State(const std::string& name) const {
  return Xattr(*this / name, "user.glintfs.state").value_or("");
}

bool GlintfsMount::WaitForState(const std::string& name, const std::string& state) const {
  return WaitFor([&] { return State(name) == state; }, std::chrono::seconds(60));
}

std::string MountTest::Put(const std::string& name, std::string content) {
  WriteFile(source_ / name, content);
  return content;
}

// ---- Files.

std::string ReadFile(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) Throw("open " + path);
  std::string content;
  std::vector<char> buffer(1 << 20);
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n < 0) Throw("read " + path);
    if (n == 0) return content;
    content.append(buffer.data(), static_cast<size_t>(n));
  }
}

void WriteFile(const std::string& path, const std::string& content) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << content;
  if (!file.flush()) throw std::runtime_error("write " + path);
}

std::string Pattern(size_t size, unsigned seed) {
  std::mt19937_64 random(seed);
  std::string content(size, '\0');
  for (size_t at = 0; at < size;) {
    const size_t run = std::min(size - at, static_cast<size_t>(4096 + random() % 500'000));
    if (random() % 6 != 0) {  // else a run of zeros
      for (size_t i = 0; i < run; i += 8) {
        const uint64_t word = random();
        std::memcpy(content.data() + at + i, &word, std::min<size_t>(8, run - i));
      }
    }
    at += run;
  }
  return content;
}

std::string ReadAt(int fd, uint64_t offset, size_t length) {
  std::string content(length, '\0');
  size_t got = 0;
  while (got < length) {
    const ssize_t n = ::pread(fd, content.data() + got, length - got, static_cast<off_t>(offset + got));
    if (n < 0) Throw("pread");
    if (n == 0) break;
    got += static_cast<size_t>(n);
  }
  content.resize(got);
  return content;
}

std::string ReadAt(const std::string& path, uint64_t offset, size_t length) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) Throw("open " + path);
  return ReadAt(fd.get(), offset, length);
}

int ReadErrno(const std::string& path, uint64_t offset) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return errno;
  char byte;
  return ::pread(fd.get(), &byte, 1, static_cast<off_t>(offset)) < 0 ? errno : 0;
}

std::vector<std::string> Names(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::optional<std::string> Xattr(const std::string& path, const std::string& name) {
  char value[4096];
  const ssize_t n = ::getxattr(path.c_str(), name.c_str(), value, sizeof value);
  if (n < 0) return std::nullopt;
  return std::string(value, static_cast<size_t>(n));
}

std::string MountType(const std::string& path) {
  std::ifstream file("/proc/self/mountinfo");
  std::string line, type;
  while (std::getline(file, line)) {
    std::istringstream fields(line);
    std::string at, field;
    for (int i = 0; i < 5; ++i) fields >> at;
    while (fields >> field && field != "-") {
    }
    if (at == path && fields >> field) type = field;
  }
  return type;
}

std::vector<pid_t> ProcessesWith(const std::string& text) {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "cmdline", std::ios::binary);
    std::stringstream command;
    command << file.rdbuf();
    if (command.str().find(text) != std::string::npos) found.push_back(std::stoi(name));
  }
  return found;
}

void DropPageCache(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) Throw("open " + path);
  ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
}

}  // namespace glintfs::testing
