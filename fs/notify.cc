// A message that cannot be sent is lost: the service manager then does what it does with a daemon that says nothing.
#include "fs/notify.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "fs/base/unique_fd.h"

namespace glintfs {
namespace {

std::string Take(const char* name) {
  const char* value = ::getenv(name);
  std::string text(value == nullptr ? "" : value);
  ::unsetenv(name);
  return text;
}

int64_t Number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : 0;
}

}  // namespace

Notifier Notifier::FromEnvironment() {
  Notifier notifier;
  notifier.socket_ = Take("NOTIFY_SOCKET");
  const std::string usec = Take("WATCHDOG_USEC"), pid = Take("WATCHDOG_PID");
  const bool for_us = pid.empty() || Number(pid) == ::getpid();
  if (for_us && notifier.enabled()) notifier.watchdog_ = std::chrono::microseconds(std::max<int64_t>(Number(usec), 0));
  return notifier;
}

void Notifier::Status(std::string_view line) {
  std::string clean(line);
  std::replace(clean.begin(), clean.end(), '\n', ' ');  // a new line would begin another assignment
  if (clean == status_) return;
  status_ = std::move(clean);
  Send("STATUS=" + status_);
}

void Notifier::Ready() { Send("READY=1"); }

void Notifier::Reloading() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  Send(fmt::format("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1'000'000LL + now.tv_nsec / 1000));
}

void Notifier::Stopping() { Send("STOPPING=1"); }
void Notifier::Alive() { Send("WATCHDOG=1"); }

void Notifier::Send(const std::string& message) const {
  sockaddr_un address{};
  if (socket_.empty() || socket_.size() >= sizeof address.sun_path) return;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, socket_.data(), socket_.size());
  if (socket_.front() == '@') address.sun_path[0] = '\0';
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.size());
  const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const timeval patience{.tv_sec = 5, .tv_usec = 0};  // the queue may be full while the machine starts
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  ::sendto(fd.get(), message.data(), message.size(), MSG_NOSIGNAL,
           reinterpret_cast<const sockaddr*>(&address), length);
}

}  // namespace glintfs
