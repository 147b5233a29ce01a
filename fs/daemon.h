// Daemon: the composition root. Owns every part of a running mount, made in this order and stopped in reverse:
//
//   RunningSettings, EventLog → Backend → Cache → Catalog → Filesystem → Session → Service → ControlServer
//
// Used by one thread (main); its parts have their own.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "fs/base/own_mount.h"
#include "fs/base/result.h"
#include "fs/options.h"
#include "fs/running_settings.h"

namespace glintfs {

class Daemon {
 public:
  // Returns once the mount answers. `on_unmounted` is called once, from another thread, when somebody else unmounts.
  // Errors are one line each. REQUIRES: CheckPlaces and PrepareCacheDirectory were fine; `options` outlives the daemon.
  // `mount` is told what is mounted, for as long as it is.
  static Result<std::unique_ptr<Daemon>> Start(const Options& options, std::unique_ptr<Backend> backend, std::shared_ptr<OwnMount> mount,
                                               std::function<void()> on_unmounted);
  // Unmounts, fails what is in flight, writes the last checkpoint.
  ~Daemon();

  // Those in force; changes take effect at once.
  RunningSettings& settings();
  // Reads token and certificate of the control API again.
  void ReloadControl();

  // One line for `systemctl status`: what is served, and what is in the way.
  std::string Summary();
  // Does the mount answer, as far as this can be told without asking the source, the disk or the kernel? See Session::Serves.
  bool Works();

 private:
  struct Parts;
  explicit Daemon(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace glintfs
