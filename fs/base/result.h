// Result<T>: a value or an Error. Member names follow std::expected (C++23), which Debian 12's compilers lack.
//
// Errors are values inside the project; exceptions thrown by libraries are caught where the library is called.
#pragma once

#include <cassert>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

namespace glintfs {

// What went wrong, as far as a caller can act on it. ToErrno (fs/fuse/errno_table.h) and ToHttpStatus (control/) map each one.
enum class Errc {
  kNotFound,      // the source answered: no such name. An answer, may be remembered.
  kUnavailable,   // the source could not be asked or did not answer. Never means "deleted".
  kTimedOut,      // the deadline passed without an answer
  kAccessDenied,  // credentials refused
  kStale,         // the source holds another version than the one asked for
  kNotSupported,  // the other side cannot do this (ranges, listing)
  kInvalid,       // bad argument, setting, name or answer
  kNoSpace,       // no room in the cache, even after eviction
  kIo,            // local I/O failed
  kCorrupt,       // bytes do not match their checksum
  kBusy,          // in use: try later
  kCancelled,     // the caller gave up, or the daemon is stopping
  kIsDirectory,
  kNotDirectory,
};
inline constexpr size_t kErrcCount = static_cast<size_t>(Errc::kNotDirectory) + 1;

std::string_view ErrcName(Errc code);  // "not found", "unavailable", …

struct Error {
  Errc code;
  std::string message;  // one line, for people; never holds a secret

  // "unavailable: GET http://host/x: connection refused"
  std::string ToString() const;
};

inline bool operator==(const Error& a, const Error& b) { return a.code == b.code && a.message == b.message; }

template <typename T>
class [[nodiscard]] Result {
 public:
  using value_type = T;

  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}
  Result(Errc code, std::string message) : Result(Error{code, std::move(message)}) {}

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }

  // REQUIRES: has_value()
  T& value() & { assert(has_value()); return std::get<0>(state_); }
  const T& value() const& { assert(has_value()); return std::get<0>(state_); }
  T&& value() && { assert(has_value()); return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  // REQUIRES: !has_value()
  const Error& error() const& { assert(!has_value()); return std::get<1>(state_); }
  Error&& error() && { assert(!has_value()); return std::get<1>(std::move(state_)); }

  template <typename U>
  T value_or(U&& other) const& { return has_value() ? value() : static_cast<T>(std::forward<U>(other)); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;

  Result() = default;
  Result(Error error) : failed_(true), error_(std::move(error)) {}
  Result(Errc code, std::string message) : Result(Error{code, std::move(message)}) {}

  bool has_value() const { return !failed_; }
  explicit operator bool() const { return !failed_; }
  void value() const { assert(!failed_); }

  const Error& error() const& { assert(failed_); return error_; }
  Error&& error() && { assert(failed_); return std::move(error_); }

 private:
  bool failed_ = false;
  Error error_{};
};

// An Errc for an errno of a local system call, with "what: strerror" as message.
Error ErrnoError(int err, std::string_view what);

}  // namespace glintfs

// Returns the error of `expr` (a Result) from the enclosing function, or goes on.
#define GLINTFS_TRY(expr)                                                      \
  do {                                                                         \
    if (auto glintfs_try = (expr); !glintfs_try) return std::move(glintfs_try).error(); \
  } while (false)

// Declares `var` as the value of `expr`, or returns its error.
#define GLINTFS_ASSIGN_CONCAT2(a, b) a##b
#define GLINTFS_ASSIGN_CONCAT(a, b) GLINTFS_ASSIGN_CONCAT2(a, b)
#define GLINTFS_ASSIGN(var, expr) GLINTFS_ASSIGN_IMPL(GLINTFS_ASSIGN_CONCAT(glintfs_result_, __LINE__), var, expr)
#define GLINTFS_ASSIGN_IMPL(tmp, var, expr) \
  auto tmp = (expr);                        \
  if (!tmp) return std::move(tmp).error();  \
  var = std::move(tmp).value()
