// What mount tests share: a running glintfs of this build with its own directories, and small looks at files through
// it.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace glintfs::testing {

// The binaries under test are built like the tests.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif
#else
inline constexpr bool kSanitized = false;
#endif


std::string GlintfsBinary();
std::string GlintctlBinary();

// A glintfs in the foreground, as a child of the test. Its mount point, cache, socket and log are in a directory of its
// own, which stays over Stop, Kill and Start, and goes with this object; so does the mount.
class GlintfsMount {
 public:
  // `options` is appended to -o. Does not start anything.
  explicit GlintfsMount(std::string source, std::string options = "");
  ~GlintfsMount();

  // Waits until the mount answers. Throws std::runtime_error with the daemon's words when it does not come up.
  void Start();
  // Sends `signal` and waits for the end; the exit code (128 + signal), nullopt when it does not end.
  std::optional<int> Stop(int signal = 15);
  void Kill();  // SIGKILL; the dead mount stays, as it would

  std::string operator/(const std::string& name) const { return mountpoint() + "/" + name; }
  std::string mountpoint() const { return dir_ / "mnt"; }
  std::string cache() const { return dir_ / "cache"; }
  std::string socket() const { return dir_ / "control.sock"; }
  std::string log() const { return dir_ / "log"; }
  std::string config() const { return dir_ / "config.toml"; }  // used when it exists
  std::string LogText() const;
  bool mounted() const;
  Process& process() { return *process_; }

  std::vector<std::string> CommandLine() const;
  void set_options(const std::string& options) { options_ = options; }
  void set_source(const std::string& source) { source_ = source; }
  void set_environment(std::vector<std::string> environment) { environment_ = std::move(environment); }

  CommandResult Ctl(std::vector<std::string> args) const;
  // The answer of `glintctl --json args`; throws with its words when it fails.
  nlohmann::json CtlJson(std::vector<std::string> args) const;
  // GET on the control socket, by curl.
  nlohmann::json Get(const std::string& path) const;
  // xattr user.glintfs.state of a name.
  std::string State(const std::string& name) const;
  // Waits until it is that; false when it never was.
  bool WaitForState(const std::string& name, const std::string& state) const;

 private:
  TempDir dir_;
  std::string source_;
  std::string options_;
  std::vector<std::string> environment_;
  std::unique_ptr<Process> process_;
};

// `size` bytes that look random, with runs of zeros, the same for the same seed.
std::string Pattern(size_t size, unsigned seed);

// A directory of images to mount, and the skip where nothing can be mounted.
class MountTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::access("/dev/fuse", R_OK | W_OK) != 0 || ::geteuid() != 0) GTEST_SKIP() << "needs root and /dev/fuse";
  }
  std::string source() const { return "dir://" + source_.path(); }
  // Writes an image into the source and returns its content.
  std::string Put(const std::string& name, std::string content);
  std::string Put(const std::string& name, size_t size, unsigned seed) { return Put(name, Pattern(size, seed)); }

  TempDir source_;
};

// ---- Files.

std::string ReadFile(const std::string& path);  // throws with the errno's text
void WriteFile(const std::string& path, const std::string& content);
// pread of a path or descriptor; throws with the errno's text.
std::string ReadAt(const std::string& path, uint64_t offset, size_t length);
std::string ReadAt(int fd, uint64_t offset, size_t length);
// The errno of reading one byte at `offset`, 0 when it can be read.
int ReadErrno(const std::string& path, uint64_t offset);
std::vector<std::string> Names(const std::string& directory);  // sorted; throws with the errno's text
std::optional<std::string> Xattr(const std::string& path, const std::string& name);
// Type of the topmost mount at `path`, empty for none. Asks no file system.
std::string MountType(const std::string& path);
// Processes that have `text` among their arguments.
std::vector<pid_t> ProcessesWith(const std::string& text);
// Drops what the kernel keeps of `path` (so that a read reaches the daemon again).
void DropPageCache(const std::string& path);

}  // namespace glintfs::testing
