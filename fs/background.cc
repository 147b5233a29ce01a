// setsid() is left for Ready(), so that Ctrl-C during a slow start still reaches the child.
#include "fs/background.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace glintfs {
namespace {

[[noreturn]] void ExitLikeChild(int pipe, pid_t child) {
  char ready = 0;
  ssize_t n;
  while ((n = ::read(pipe, &ready, 1)) < 0 && errno == EINTR) {
  }
  if (n == 1) ::_exit(0);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) != 0) ::_exit(WEXITSTATUS(status));
  if (WIFSIGNALED(status)) std::fprintf(stderr, "glintfs: died from signal %d while starting\n", WTERMSIG(status));
  ::_exit(1);
}

}  // namespace

Result<Background> Background::Fork() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return ErrnoError(errno, "cannot go to the background: pipe");
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) return ErrnoError(errno, "cannot go to the background: fork");
  if (child > 0) {
    write_end.Reset();
    ExitLikeChild(read_end.get(), child);
  }
  return Background(std::move(write_end));
}

void Background::Ready() {
  ::setsid();
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null.get(), fd);
  const char ready = 1;
  while (::write(pipe_.get(), &ready, 1) < 0 && errno == EINTR) {
  }
  pipe_.Reset();
}

}  // namespace glintfs
