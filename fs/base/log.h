// Log lines, formatted with {fmt}: LogInfo("mounted {} at {}", source, mountpoint).
//
// One line per event, written for the person on call: what happened, to what, what follows. Never a secret.
// Thread-safe. Must not be called while holding a glintfs::Mutex (a log line is I/O).
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"

namespace glintfs {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

// "debug", "info", "warn", "error"; anything else is kInvalid.
Result<LogLevel> ParseLogLevel(std::string_view text);
std::string_view LogLevelName(LogLevel level);

void SetLogLevel(LogLevel level);
LogLevel GetLogLevel();

// Where lines go: a file (created 0640, appended), or stderr when `path` is empty, or syslog for "syslog". Where stderr is the
// journal, lines carry their priority for it and no time.
Result<void> OpenLog(const std::string& path);
// For SIGHUP after log rotation: opens the same path again. Keeps the old one on failure.
Result<void> ReopenLog();

// From now on warnings are kept, too, as far as they are logged.
void KeepWarnings();
// Those kept, each one once, at most ten and a word on how many more there are; no further ones are.
std::vector<std::string> TakeWarnings();

namespace internal {
extern std::atomic<int> log_level;
void WriteLog(LogLevel level, std::string_view line);
}  // namespace internal

#define GLINTFS_DEFINE_LOG(Name, level)                                            \
  template <typename... Args>                                                      \
  void Name(fmt::format_string<Args...> format, Args&&... args) {                  \
    if (static_cast<int>(level) < internal::log_level.load(std::memory_order_relaxed)) return; \
    internal::WriteLog(level, fmt::format(format, std::forward<Args>(args)...));   \
  }
GLINTFS_DEFINE_LOG(LogDebug, LogLevel::kDebug)
GLINTFS_DEFINE_LOG(LogInfo, LogLevel::kInfo)
GLINTFS_DEFINE_LOG(LogWarn, LogLevel::kWarn)
GLINTFS_DEFINE_LOG(LogError, LogLevel::kError)
#undef GLINTFS_DEFINE_LOG

}  // namespace glintfs
