// The sink is swapped whole on reopen: a shared_ptr read under a leaf std::mutex (not a glintfs::Mutex, so that it does not
// count for the one-lock rule; it is never held across anything but the pointer copy and the keeping of a line).
#include "fs/base/log.h"

#include <fcntl.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <utility>

#include "fs/base/mutex.h"

namespace glintfs {
namespace {

std::shared_ptr<spdlog::logger> MakeLogger(spdlog::sink_ptr sink) {
  auto logger = std::make_shared<spdlog::logger>("glintfs", std::move(sink));
  logger->set_level(spdlog::level::debug);
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
  logger->flush_on(spdlog::level::debug);
  return logger;
}

// Is standard error a stream of the journal? (systemd.exec(5): JOURNAL_STREAM)
bool StderrIsJournal() {
  const char* stream = std::getenv("JOURNAL_STREAM");
  struct stat st{};
  return stream != nullptr && ::fstat(STDERR_FILENO, &st) == 0 && fmt::format("{}:{}", st.st_dev, st.st_ino) == stream;
}

// "<4>": the priority that the journal takes from the start of a line, see sd-daemon(3).
class JournalPriority final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override {
    const std::string_view prefix = message.level >= spdlog::level::err    ? "<3>"
                                    : message.level == spdlog::level::warn ? "<4>"
                                    : message.level == spdlog::level::info ? "<6>"
                                                                           : "<7>";
    out.append(prefix.data(), prefix.data() + prefix.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<JournalPriority>(); }
};

std::shared_ptr<spdlog::logger> MakeStderrLogger() {
  auto logger = MakeLogger(std::make_shared<spdlog::sinks::stderr_sink_mt>());
  if (StderrIsJournal()) {
    auto formatter = std::make_unique<spdlog::pattern_formatter>();
    formatter->add_flag<JournalPriority>('*').set_pattern("%*%v");
    logger->set_formatter(std::move(formatter));
  }
  return logger;
}

struct LogState {
  std::mutex mu;
  std::string path;
  std::shared_ptr<spdlog::logger> logger = MakeStderrLogger();
  bool keeps = false;
  std::vector<std::string> warnings;
  size_t more = 0;  // warnings that are not kept
};

LogState& State() {
  static LogState* state = new LogState;  // never destroyed: threads may log while the process exits
  return *state;
}

void Keep(LogState& state, std::string_view line) {
  constexpr size_t kMost = 10;
  auto& kept = state.warnings;
  if (std::find(kept.begin(), kept.end(), line) != kept.end()) return;
  if (kept.size() < kMost) {
    kept.emplace_back(line);
  } else {
    ++state.more;
  }
}

Result<std::shared_ptr<spdlog::logger>> OpenSink(const std::string& path) {
  if (path.empty()) return MakeStderrLogger();
  if (path == "syslog") {
    auto logger = MakeLogger(std::make_shared<spdlog::sinks::syslog_sink_mt>("glintfs", 0, LOG_DAEMON, false));
    logger->set_pattern("%v");
    return logger;
  }
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (fd < 0) return ErrnoError(errno, "cannot open log file " + path);
  ::close(fd);
  try {
    return MakeLogger(std::make_shared<spdlog::sinks::basic_file_sink_mt>(path));
  } catch (const std::exception& e) {
    return Error{Errc::kIo, std::string("cannot open log file: ") + e.what()};
  }
}

}  // namespace

namespace internal {
std::atomic<int> log_level{static_cast<int>(LogLevel::kInfo)};

void WriteLog(LogLevel level, std::string_view line) {
  AssertNoLockHeld();
  std::shared_ptr<spdlog::logger> logger;
  {
    std::lock_guard lock(State().mu);
    logger = State().logger;
    if (State().keeps && level == LogLevel::kWarn) Keep(State(), line);
  }
  const spdlog::string_view_t text(line.data(), line.size());
  switch (level) {
    case LogLevel::kDebug: logger->log(spdlog::level::debug, text); break;
    case LogLevel::kInfo: logger->log(spdlog::level::info, text); break;
    case LogLevel::kWarn: logger->log(spdlog::level::warn, text); break;
    case LogLevel::kError: logger->log(spdlog::level::err, text); break;
  }
}
}  // namespace internal

Result<LogLevel> ParseLogLevel(std::string_view text) {
  for (LogLevel level : {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarn, LogLevel::kError})
    if (text == LogLevelName(level)) return level;
  return Error{Errc::kInvalid, fmt::format("'{}' is no log level: use debug, info, warn or error", text)};
}

std::string_view LogLevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return "debug";
    case LogLevel::kInfo: return "info";
    case LogLevel::kWarn: return "warn";
    case LogLevel::kError: return "error";
  }
  return "info";
}

void SetLogLevel(LogLevel level) { internal::log_level = static_cast<int>(level); }
LogLevel GetLogLevel() { return static_cast<LogLevel>(internal::log_level.load()); }

Result<void> OpenLog(const std::string& path) {
  GLINTFS_ASSIGN(auto logger, OpenSink(path));
  std::lock_guard lock(State().mu);
  State().path = path;
  State().logger = std::move(logger);
  return {};
}

void KeepWarnings() {
  std::lock_guard lock(State().mu);
  State().keeps = true;
}

std::vector<std::string> TakeWarnings() {
  std::lock_guard lock(State().mu);
  State().keeps = false;
  auto warnings = std::exchange(State().warnings, {});
  if (const size_t more = std::exchange(State().more, 0); more > 0) warnings.push_back(fmt::format("and {} more warnings, in the log", more));
  return warnings;
}

Result<void> ReopenLog() {
  std::string path;
  {
    std::lock_guard lock(State().mu);
    path = State().path;
  }
  return OpenLog(path);
}

}  // namespace glintfs
