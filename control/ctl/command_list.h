// The commands that have a file of their own. Each asks the daemon, prints what it answered and returns the exit code.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/ctl/client.h"
#include "control/ctl/command_line.h"
#include "fs/base/result.h"

namespace glintfs::ctl {

// The names on the command line and those that match its globs: of pins for unpin, of what is being cached for cancel, else of what
// is in the cache. Nothing, with `code` set, after having printed what is wrong.
std::optional<std::vector<std::string>> NamesToActOn(const CtlOptions& options, Client& client, int& code);

int RunPin(const CtlOptions& options, Client& client);
int RunUnpin(const CtlOptions& options, Client& client);
int RunCancel(const CtlOptions& options, Client& client);
int RunEvict(const CtlOptions& options, Client& client);
int RunCache(const CtlOptions& options, Client& client);
int RunVerify(const CtlOptions& options, Client& client);
int RunEvents(const CtlOptions& options, Client& client);
int RunTop(const CtlOptions& options, Client& client);
int RunSet(const CtlOptions& options, Client& client);
int RunGet(const CtlOptions& options, Client& client);

// `client` is null when there is no daemon to ask; `error` then says why.
int RunDoctor(const CtlOptions& options, Client* client, const Error& error);

// Prints the words that can follow the last of `words`, one per line: what the shell completes. `words` are those after
// "glintctl". Never prints an error, and takes a second at most.
int RunComplete(const std::vector<std::string>& words);

}  // namespace glintfs::ctl
