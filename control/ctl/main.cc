// glintctl: asks a running glintfs daemon what it caches, and tells it what to cache, keep and remove.
#include <curl/curl.h>
#include <stdio_ext.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string_view>

#include "control/ctl/client.h"
#include "control/ctl/command_line.h"
#include "control/ctl/command_list.h"
#include "control/ctl/commands.h"
#include "control/ctl/exit_code.h"
#include "control/ctl/find_socket.h"

namespace {

int Run(int argc, char** argv) {
  using namespace glintfs::ctl;
  if (argc > 1 && std::string_view(argv[1]) == "__complete") return RunComplete({argv + 2, argv + argc});
  CtlOptions options;
  if (const auto exit = ParseCommandLine(argc, argv, options)) return *exit;
  // What the command line says goes before the environment, which may name both.
  if (const char* const url = std::getenv("GLINTFS_URL"); url != nullptr && options.socket.empty() && options.url.empty()) options.url = url;
  if (!options.url.empty()) {
    auto daemon = FindRemoteDaemon(options.url, options.token_file, options.ca_file);
    if (!daemon) {
      PrintError(options, daemon.error());
      return ExitCodeFor(daemon.error());
    }
    Client client(std::move(daemon).value());
    return RunCommand(options, client);
  }
  if (options.socket.empty()) {
    auto found = FindSocket(SocketDirectories());
    if (!found) {
      if (options.command == "doctor") return RunDoctor(options, nullptr, found.error());
      PrintError(options, found.error());
      return ExitCodeFor(found.error());
    }
    options.socket = std::move(found).value();
  }
  Client client(options.socket);
  return RunCommand(options, client);
}

// Whether all that was printed got where it was to go; else says so. A full disk may show with the last of it only.
bool OutputArrived() {
  const bool failed = std::ferror(stdout) != 0, pending = ::__fpending(stdout) > 0;
  errno = 0;
  const bool closed = std::fclose(stdout) == 0 || (errno == EBADF && !pending);  // nothing was to go where there is nothing
  if (closed && !failed) return true;
  // Why is known only if it happened just now.
  std::fprintf(stderr, "glintctl: the result could not be written%s%s\n", errno != 0 ? ": " : "", errno != 0 ? std::strerror(errno) : "");
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  curl_global_init(CURL_GLOBAL_DEFAULT);
  int code = glintfs::ctl::kExitFailed;
  try {
    code = Run(argc, argv);
  } catch (const std::exception& error) {
    if (std::ferror(stdout) == 0) std::fprintf(stderr, "glintctl: %s\n", error.what());  // else it is told below
  }
  if (!OutputArrived() && code == glintfs::ctl::kExitOk) code = glintfs::ctl::kExitFailed;
  curl_global_cleanup();
  return code;
}
