// The settings control_tcp, control_auth, … as the control server takes them, checked.
#pragma once

#include <optional>

#include "control/server.h"
#include "fs/base/result.h"
#include "fs/options.h"

namespace glintfs {

// nullopt: not over TCP. kInvalid, with what to do, for settings that do not go together, and when nobody would have to show who he is.
// Contacts nothing, and reads no file but clouds.yaml.
Result<std::optional<TcpControlOptions>> MakeTcpControl(const Options& options);

// The same, and the token and the certificate can be read: for before anything is started.
Result<void> CheckTcpControl(const Options& options);

}  // namespace glintfs
