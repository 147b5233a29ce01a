// The threads block in read(2) on /dev/fuse. libfuse's own loop ends them by pthread_cancel; here a signal that does
// nothing makes the read return, again and again until each has seen that it is over (a signal just before the read is
// lost). Nothing waits for a reply of the source, so each thread is back at its read soon.
//
// Ending: threads first, then every request that waits is answered EINTR, and only when none is left is the session
// destroyed, since a reply needs it. Then the mount point is detached lazily, so that open files cannot hold it.
//
// That unmount names a path. The connection outlives a umount(8) while a copy of the mount is somewhere (a container, a bind
// mount), and another mount may have come to the path meanwhile, or lie over ours: only what is known as ours is taken away.
//
// Before all that passthrough is stopped: an invalidation waits for the lookups in its directory, which must still be answered.
//
// Not here yet, but its place is: a /dev/fuse handed over by a previous daemon, which plugs in as the socket of Attach does.
#include "fs/fuse/session.h"

#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "fs/base/log.h"
#include "fs/fuse/mount_checks.h"

namespace glintfs {
namespace {

constexpr unsigned kMaxRead = 1 << 20;  // bytes in one READ: as many pages as a request carries
constexpr Nanos kAnswerLimit = std::chrono::seconds(20);

int WakeSignal() { return SIGRTMIN + 3; }

void InstallWakeSignal() {
  struct sigaction action{};
  action.sa_handler = [](int) {};
  sigemptyset(&action.sa_mask);  // and no SA_RESTART: the read is to return
  ::sigaction(WakeSignal(), &action, nullptr);
}

// libfuse tells what went wrong only here; the last line becomes part of the error.
thread_local std::string libfuse_said;

void OnLibfuseLog(fuse_log_level level, const char* format, va_list args) {
  char line[512];
  std::vsnprintf(line, sizeof line, format, args);
  std::string text(line);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  if (text.starts_with("fuse: ")) text.erase(0, 6);
  if (level <= FUSE_LOG_WARNING) libfuse_said = text;
  LogDebug("libfuse: {}", text);
}

// In an option list a comma ends the option and a backslash escapes.
std::string Escaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == ',' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

std::string OptionList(const SessionOptions& options, bool mounting) {
  std::string list = fmt::format("max_read={}", kMaxRead);
  if (!mounting) return list;
  list += options.writable ? ",rw" : ",ro";
  list += ",subtype=glintfs,fsname=" + Escaped(options.fsname);
  if (options.allow_other) list += ",allow_other";
  if (options.default_permissions) list += ",default_permissions";
  for (const std::string& option : options.extra) list += "," + Escaped(option);
  return list;
}

}  // namespace

Session::Session(SessionOptions options, Filesystem& filesystem)
    : options_(std::move(options)),
      context_{.filesystem = filesystem, .negotiate = [this](fuse_conn_info* connection) { Negotiate(connection); },
               .wire = &wire_} {}

Session::~Session() { Stop(); }

// ---- Beginning

Result<std::unique_ptr<Session>> Session::Mount(SessionOptions options, Filesystem& filesystem) {
  GLINTFS_TRY(CheckMountpoint(options.mountpoint, options.nonempty));
  GLINTFS_TRY(CheckFuse(options.allow_other));
  std::unique_ptr<Session> session(new Session(std::move(options), filesystem));
  session->mounted_ = true;
  GLINTFS_TRY(session->Create());
  GLINTFS_TRY(session->MountKernel());
  session->Serve();
  GLINTFS_TRY(session->WaitUntilAnswers());
  session->RaiseReadAhead();
  session->StartPassthrough();
  return session;
}

Result<std::unique_ptr<Session>> Session::Attach(SessionOptions options, Filesystem& filesystem, UniqueFd socket) {
  std::unique_ptr<Session> session(new Session(std::move(options), filesystem));
  GLINTFS_TRY(session->Create());
  if (const int err = session->wire_.Install(session->session_, socket.get(), Wire::Peer::kSocket); err != 0)
    return ErrnoError(err, "serve a socket");
  socket.Release();  // closed with the session
  filesystem.passthrough().Refuse(*session);
  session->Serve();
  return session;
}

Result<void> Session::Create() {
  if (options_.passthrough) wire_.WantPassthrough();
  fuse_set_log_func(OnLibfuseLog);
  libfuse_said.clear();
  const std::string list = OptionList(options_, mounted_);
  fuse_args args = FUSE_ARGS_INIT(0, nullptr);
  fuse_opt_add_arg(&args, "glintfs");
  fuse_opt_add_arg(&args, "-o");
  fuse_opt_add_arg(&args, list.c_str());
  session_ = fuse_session_new(&args, &AdapterOperations(), sizeof(fuse_lowlevel_ops), &context_);
  fuse_opt_free_args(&args);
  if (session_ == nullptr) return Error{Errc::kInvalid, "mount options: " + libfuse_said};
  return {};
}

Result<void> Session::MountKernel() {
  libfuse_said.clear();
  // As the table of mounts will have it.
  std::error_code failed;
  std::string place = std::filesystem::canonical(options_.mountpoint, failed).string();
  if (failed) return Error{Errc::kNotFound, fmt::format("mount point {}: {}", options_.mountpoint, failed.message())};
  if (fuse_session_mount(session_, place.c_str()) == 0) {
    options_.mount->Remember(std::move(place));
    const int err = wire_.Install(session_, fuse_session_fd(session_), Wire::Peer::kKernel);
    return err == 0 ? Result<void>() : ErrnoError(err, "serve the mount");
  }
  return Error{Errc::kAccessDenied, fmt::format("cannot mount at {}: {}", options_.mountpoint,
                                                libfuse_said.empty() ? "see the line above" : libfuse_said)};
}

void Session::Negotiate(fuse_conn_info* connection) {
  constexpr unsigned kWanted =
      FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_EXPLICIT_INVAL_DATA;
  // Splice costs more than it saves: requests are small, and for replies see adapter.cc. Nothing is written, so a
  // write-back cache would only stand in the way of passthrough. Content never changes under a node, so the kernel need
  // not look for changes. With ASYNC_DIO a direct read waits where no signal reaches it, not even SIGKILL: on a hanging
  // source its process could not be ended.
  constexpr unsigned kUnwanted = FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
                                 FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
                                 FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_ASYNC_DIO | FUSE_CAP_ATOMIC_O_TRUNC |
                                 FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS | FUSE_CAP_IOCTL_DIR;
  connection->want &= ~kUnwanted;
  connection->want |= connection->capable & kWanted;
  wire_.Negotiate(connection);
  connection->max_read = kMaxRead;
  // Reads that the kernel sends ahead count as "background" until they are answered, and so do those parked on the
  // source: with few of them allowed, a hanging source would stop the reads of cached images.
  connection->max_background = options_.max_background;
  connection->congestion_threshold = options_.max_background;
  LogDebug("FUSE protocol {}.{}, capabilities {:#x}, wanted {:#x}", connection->proto_major, connection->proto_minor,
           connection->capable, connection->want);
  MutexLock lock(mu_);
  negotiated_ = true;
  changed_.NotifyAll();
}

Result<void> Session::WaitUntilAnswers() {
  {
    MutexLock lock(mu_);
    const auto end = std::chrono::steady_clock::now() + kAnswerLimit;
    while (!negotiated_ && running_ > 0 && std::chrono::steady_clock::now() < end)
      changed_.WaitFor(mu_, std::chrono::seconds(1));
    if (!negotiated_) return Error{Errc::kTimedOut, "the kernel did not take up the mount at " + options_.mountpoint};
  }
  struct stat st{};
  if (::stat(options_.mountpoint.c_str(), &st) != 0) return ErrnoError(errno, "the mount at " + options_.mountpoint);
  return {};
}

// The kernel reads ahead 128 KiB on FUSE mounts unless told otherwise, and only root can tell it.
void Session::RaiseReadAhead() {
  struct stat st{};
  if (options_.read_ahead == 0 || ::stat(options_.mountpoint.c_str(), &st) != 0) return;
  const std::string path = fmt::format("/sys/class/bdi/{}:{}/read_ahead_kb", major(st.st_dev), minor(st.st_dev));
  std::ofstream file(path);
  file << options_.read_ahead / 1024 << std::flush;
  if (!file) LogDebug("cannot set {}: {}; the kernel reads ahead less", path, std::strerror(errno));
}

// Tried on a file of the cache once, so that what it says is known before the first image is complete.
void Session::StartPassthrough() {
  if (!options_.passthrough) return context_.filesystem.passthrough().Refuse(*this);
  const UniqueFd probe(::open(options_.passthrough_probe.c_str(), O_RDONLY | O_CLOEXEC));
  if (!wire_.passthrough_agreed()) {
    passthrough_refused_ = "this kernel does not offer it (Linux 6.9 does)";
  } else if (!probe.valid()) {
    passthrough_refused_ = ErrnoError(errno, options_.passthrough_probe).ToString();
  } else if (const auto id = Register(probe.get()); !id) {
    passthrough_refused_ = id.error().message;
  } else {
    Unregister(*id);
    passthrough_refused_.clear();
    return context_.filesystem.passthrough().Start(*this);
  }
  context_.filesystem.passthrough().Refuse(*this);
}

Result<int32_t> Session::Register(int fd) { return RegisterBackingFile(fuse_session_fd(session_), fd); }

void Session::Unregister(int32_t backing_id) { UnregisterBackingFile(fuse_session_fd(session_), backing_id); }

// ---- Serving

void Session::Serve() {
  InstallWakeSignal();
  const int threads = std::clamp(options_.threads, 1, 64);
  {
    MutexLock lock(mu_);
    running_ = threads;
  }
  turns_ = std::vector<Turns>(threads);
  turns_seen_.assign(threads, 0);
  for (int i = 0; i < threads; ++i)
    threads_.emplace_back("fuse-" + std::to_string(i), [this, i](std::stop_token) { ServeOne(turns_[i].count); });
}

bool Session::Serves() {
  bool serves = false;
  for (size_t i = 0; i < turns_.size(); ++i) {
    const uint64_t turns = turns_[i].count.load(std::memory_order_relaxed);
    if (turns % 2 == 0 || turns != turns_seen_[i]) serves = true;
    turns_seen_[i] = turns;
  }
  return serves;
}

void Session::ServeOne(std::atomic<uint64_t>& turns) {
  sigset_t wake;
  sigemptyset(&wake);
  sigaddset(&wake, WakeSignal());
  pthread_sigmask(SIG_UNBLOCK, &wake, nullptr);
  {
    MutexLock lock(mu_);
    serving_.push_back(pthread_self());
  }
  fuse_buf buffer{};
  while (!fuse_session_exited(session_)) {
    const int n = fuse_session_receive_buf(session_, &buffer);
    if (n == -EINTR || n == -EAGAIN) continue;
    if (n < 0) LogError("reading from the kernel: {}; the mount ends", std::strerror(-n));
    if (n <= 0) break;
    turns.fetch_add(1, std::memory_order_relaxed);
    fuse_session_process_buf(session_, &buffer);
    turns.fetch_add(1, std::memory_order_relaxed);
  }
  ::free(buffer.mem);
  if (mounted_ && ConnectionGone()) options_.mount->Forget();
  fuse_session_exit(session_);  // whatever ended this thread ends all
  over_ = true;
  MutexLock lock(mu_);
  std::erase_if(serving_, [](pthread_t thread) { return pthread_equal(thread, pthread_self()) != 0; });
  --running_;
  changed_.NotifyAll();
}

bool Session::ended() {
  MutexLock lock(mu_);
  return running_ == 0;
}

void Session::WaitUntilEnded() {
  for (;;) {
    WakeThreads();  // those that still sit in their read when another has seen the end
    MutexLock lock(mu_);
    if (running_ == 0) return;
    if (over_) {
      changed_.WaitFor(mu_, std::chrono::milliseconds(10));
    } else {
      changed_.Wait(mu_);
    }
  }
}

void Session::WakeThreads() {
  if (!over_) return;
  MutexLock lock(mu_);  // a thread in the list has not ended
  for (const pthread_t thread : serving_) pthread_kill(thread, WakeSignal());
}

// ---- Ending

void Session::Stop() {
  {
    MutexLock lock(mu_);
    if (std::exchange(stopping_, true)) {
      while (!stopped_) changed_.Wait(mu_);
      return;
    }
    over_ = true;
    changed_.NotifyAll();
  }
  context_.filesystem.InterruptAll();  // what an invalidation may wait for
  context_.filesystem.passthrough().Stop();
  if (session_ != nullptr) {
    fuse_session_exit(session_);
    WaitUntilEnded();
    threads_.clear();
    while (context_.filesystem.requests_outstanding() > 0) {
      context_.filesystem.InterruptAll();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    if (mounted_) Unmount();
    fuse_session_destroy(session_);
    session_ = nullptr;
  }
  MutexLock lock(mu_);
  stopped_ = true;
  changed_.NotifyAll();
}

// The kernel ends the connection with the last copy of the mount.
bool Session::ConnectionGone() const {
  pollfd fd{.fd = fuse_session_fd(session_), .events = 0, .revents = 0};
  return ::poll(&fd, 1, 0) == 1 && (fd.revents & POLLERR) != 0;
}

void Session::Unmount() {
  const bool known = !options_.mount->place().device.empty();
  const std::string why_not = options_.mount->WhyNot();
  const bool ours = ConnectionGone() || !known || why_not.empty();
  if (!ours) LogWarn("{}: left alone; the mount of this daemon ends where it still is", why_not);
  if (ours || LetGo()) fuse_session_unmount(session_);  // leaves the path alone, too, when the connection is gone
  options_.mount->Forget();
}

// Closes the connection. libfuse forgets a mount point only by unmounting it, which it leaves be when its descriptor tells of
// an error: the end of a pipe that nobody reads does.
bool Session::LetGo() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return false;
  ::close(ends[0]);
  const UniqueFd unread(ends[1]);
  return ::dup3(unread.get(), fuse_session_fd(session_), O_CLOEXEC) >= 0;
}

Result<void> Session::InvalidateEntry(NodeId parent, const std::string& name) {
  AssertNoLockHeld();
  const int err = fuse_lowlevel_notify_inval_entry(session_, parent, name.c_str(), name.size());
  return err == 0 ? Result<void>() : ErrnoError(-err, "invalidate " + name);
}

Result<void> Session::InvalidatePages(NodeId node) {
  AssertNoLockHeld();
  const int err = fuse_lowlevel_notify_inval_inode(session_, node, 0, 0);
  return err == 0 ? Result<void>() : ErrnoError(-err, "invalidate pages");
}

}  // namespace glintfs
