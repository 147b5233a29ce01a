// Notifier: tells the service manager how the daemon is, in the protocol of sd_notify(3): datagrams to the socket named by
// $NOTIFY_SOCKET. A few lines here instead of a library; where nobody listens, all of it does nothing.
//
// Used by one thread (main).
#pragma once

#include <string>
#include <string_view>

#include "fs/base/clock.h"

namespace glintfs {

class Notifier {
 public:
  // Tells nobody.
  Notifier() = default;
  // Takes $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID, and removes them, so that no child speaks for us.
  static Notifier FromEnvironment();

  bool enabled() const { return !socket_.empty(); }
  // A sign of life is due within this time, again and again; 0: none is wanted.
  Nanos watchdog() const { return watchdog_; }

  void Status(std::string_view line);  // for `systemctl status`; sent only when it is another one than before
  void Ready();                        // the mount answers, or a reload is done
  void Reloading();
  void Stopping();
  void Alive();

 private:
  void Send(const std::string& message) const;

  std::string socket_;  // a path, or an abstract name that begins with '@'
  Nanos watchdog_{0};
  std::string status_;
};

}  // namespace glintfs
