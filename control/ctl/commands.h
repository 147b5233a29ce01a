// The commands of glintctl: each asks the daemon and prints what it answered.
#pragma once

#include "control/ctl/client.h"
#include "control/ctl/command_line.h"

namespace glintfs::ctl {

// Runs options.command; returns the exit code. Results go to standard output, progress and errors to standard error.
// With options.json standard output is one JSON document, {"error": …} included.
int RunCommand(const CtlOptions& options, Client& client);

// Prints an error that kept a command from being run.
void PrintError(const CtlOptions& options, const Error& error);

}  // namespace glintfs::ctl
