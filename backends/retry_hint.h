// How long the source asks to be left alone (Retry-After), told by a backend to the retry layer that called it. By way
// of the thread: the two meet nowhere else, and an Error is for people.
#pragma once

#include "fs/base/clock.h"

namespace glintfs {

namespace internal {
inline thread_local Nanos retry_hint{0};
}

inline void SetRetryHint(Nanos wait) { internal::retry_hint = wait; }
// The hint since the last call, 0 when there was none.
inline Nanos TakeRetryHint() {
  const Nanos hint = internal::retry_hint;
  internal::retry_hint = Nanos(0);
  return hint;
}

}  // namespace glintfs
