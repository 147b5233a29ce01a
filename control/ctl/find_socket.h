// Finds the control socket of the daemon when the user names none.
#pragma once

#include <string>
#include <vector>

#include "fs/base/result.h"

namespace glintfs::ctl {

// Where daemons put their sockets: $GLINTFS_RUNTIME_DIR or /run/glintfs, and $XDG_RUNTIME_DIR/glintfs; for users other than root what
// stands in for the latter, too: /run/user/UID/glintfs and ~/.cache/glintfs/control.
std::vector<std::string> SocketDirectories();

// Every *.sock in `directories` that a daemon listens on, also those that refuse us.
std::vector<std::string> LiveSockets(const std::vector<std::string>& directories);

// The one *.sock in `directories` that a daemon listens on. Sockets that refuse us count: there is a daemon.
//   kUnavailable  none (the message tells where it looked); kInvalid: several (lists them); kAccessDenied: one, but not
//   ours
Result<std::string> FindSocket(const std::vector<std::string>& directories);

// Who listens there but does not answer, and what to do about it, as a sentence without its full stop.
std::string DescribeListener(const std::string& socket);

}  // namespace glintfs::ctl
