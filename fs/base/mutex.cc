#include "fs/base/mutex.h"

#ifndef NDEBUG
#include <cstdio>
#include <cstdlib>

namespace glintfs {
namespace {
thread_local int held_locks = 0;

[[noreturn]] void Die(const char* message) {
  std::fprintf(stderr, "glintfs: lock rule broken: %s\n", message);
  std::abort();
}
}  // namespace

void AssertNoLockHeld() {
  if (held_locks != 0) Die("I/O, a backend call or a reply under a lock");
}

namespace internal {
void NoteLocked() {
  if (held_locks++ != 0) Die("a thread took a second lock");
}
void NoteUnlocked() { --held_locks; }
}  // namespace internal
}  // namespace glintfs
#endif
