// glintctl doctor: what glintctl itself needs here, then what the daemon finds out about itself (GET /v1/doctor). Without a daemon
// the first part still tells why there may be none.
#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>
#include <system_error>

#include "control/ctl/answer.h"
#include "control/ctl/command_list.h"
#include "control/ctl/exit_code.h"
#include "control/ctl/find_socket.h"
#include "control/ctl/report.h"
#include "control/ctl/table.h"
#include "fs/base/unique_fd.h"

namespace glintfs::ctl {
namespace {

using nlohmann::json;

json Finding(const char* check, const char* level, const std::string& text, const std::string& advice = "") {
  return {{"check", check}, {"level", level}, {"text", text}, {"advice", advice}};
}

std::string Reason(int error) { return std::error_code(error, std::generic_category()).message(); }

json FuseDevice() {
  const UniqueFd device(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (device.valid()) return Finding("fuse device", "ok", "/dev/fuse can be opened");
  const int error = errno;
  return Finding("fuse device", "fail", "/dev/fuse: " + Reason(error),
                 error == EACCES || error == EPERM ? "chmod 0666 /dev/fuse, or mount as root"
                                                   : "modprobe fuse; a container needs --device /dev/fuse");
}

// Where fusermount3 is; empty when there is none.
std::string FindInPath(const std::string& program) {
  const char* const path = std::getenv("PATH");
  std::istringstream directories(path != nullptr ? path : "/usr/bin:/bin");
  for (std::string directory; std::getline(directories, directory, ':');)
    if (::access((directory + "/" + program).c_str(), X_OK) == 0) return directory + "/" + program;
  return "";
}

json FuserMount() {
  const std::string program = FindInPath("fusermount3");
  const bool root = ::geteuid() == 0;
  if (program.empty())
    return Finding("fusermount3", root ? "warn" : "fail", "there is no fusermount3 in PATH: only root can mount",
                   "apt install fuse3");
  struct stat st {};
  const bool setuid = ::stat(program.c_str(), &st) == 0 && (st.st_mode & S_ISUID) != 0 && st.st_uid == 0;
  if (setuid) return Finding("fusermount3", "ok", program + ", setuid root: users can mount");
  return Finding("fusermount3", root ? "ok" : "fail", program + " is not setuid root: only root can mount",
                 root ? "" : "apt install --reinstall fuse3");
}

// mount(8) runs /sbin/mount.fuse.glintfs, or mount.fuse3, which looks for glintfs in the PATH that mount gives it.
json MountHelper() {
  const char* const kWorks = ": mount -t fuse.glintfs and fstab work";
  for (const char* path : {"/sbin/mount.fuse.glintfs", "/usr/sbin/mount.fuse.glintfs"})
    if (::access(path, X_OK) == 0) return Finding("mount helper", "ok", std::string(path) + kWorks);
  for (const char* path : {"/sbin/mount.fuse3", "/usr/sbin/mount.fuse3", "/sbin/mount.fuse"}) {
    if (::access(path, X_OK) != 0) continue;
    for (const char* directory : {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}) {
      const std::string program = std::string(directory) + "/glintfs";
      if (::access(program.c_str(), X_OK) == 0) return Finding("mount helper", "ok", fmt::format("{} with {}{}", path, program, kWorks));
    }
  }
  return Finding("mount helper", "warn", "there is no /sbin/mount.fuse.glintfs: mount -t fuse.glintfs and fstab do not work",
                 "Install the package of glintfs, or link it there: ln -s /PATH/TO/glintfs /sbin/mount.fuse.glintfs");
}

std::string OwnVersion() { return GLINTFS_VERSION; }

json Version(const json& status) {
  const std::string daemon = Text(status, "version");
  if (daemon == OwnVersion()) return Finding("version", "ok", "glintctl and daemon are " + daemon);
  return Finding("version", "warn", fmt::format("glintctl is {}, the daemon {}", OwnVersion(), daemon),
                 "Mount again, so that the installed glintfs runs");
}

json NoDaemon(const Error& error, const std::string& socket) {
  switch (error.code) {
    case Errc::kAccessDenied: return Finding("daemon", "fail", error.message, "sudo glintctl doctor");
    case Errc::kTimedOut:
      return Finding("daemon", "fail", error.message, socket.empty() ? "Is it stopped or overloaded?" : DescribeListener(socket));
    case Errc::kInvalid: return Finding("daemon", "fail", error.message, "glintctl doctor -s SOCKET");
    default: return Finding("daemon", "fail", error.message, "glintfs SOURCE MOUNTPOINT, or mount what is in fstab; journalctl -t glintfs tells why one ended");
  }
}

void PrintFindings(const CtlOptions& options, const json& findings, bool daemon) {
  if (options.json) return PrintJson({{"daemon", daemon}, {"findings", findings}});
  const bool colors = UseColors(options.color, STDOUT_FILENO);
  size_t width = 0, warnings = 0, failures = 0;
  for (const json& finding : findings) width = std::max(width, DisplayWidth(Text(finding, "check")));
  for (const json& finding : findings) {
    const std::string level = Text(finding, "level"), check = Printable(Text(finding, "check"));
    const Color color = level == "ok" ? Color::kGreen : level == "warn" ? Color::kYellow : Color::kRed;
    if (level == "warn") ++warnings;
    if (level == "fail") ++failures;
    std::string text = Text(finding, "text");  // a list of sockets has lines
    for (size_t at = 0; (at = text.find('\n', at)) != text.npos;) text.replace(at, 1, " ");
    fmt::print("{}  {}{}  {}\n", Colored(fmt::format("{:<4}", level), color, colors), check, std::string(width - DisplayWidth(check), ' '),
               Printable(text));
    const std::string advice = Printable(Text(finding, "advice"));
    if (!advice.empty()) fmt::print("{}-> {}\n", std::string(width + 8, ' '), advice);
  }
  if (!options.quiet) fmt::print("{}, {}, {}\n", Counted(findings.size(), "check"), Counted(warnings, "warning"), Counted(failures, "failure"));
}

bool AnyFailed(const json& findings) {
  for (const json& finding : findings)
    if (Text(finding, "level") == "fail") return true;
  return false;
}

}  // namespace

int RunDoctor(const CtlOptions& options, Client* client, const Error& error) {
  json findings = {FuseDevice(), FuserMount(), MountHelper()};
  if (client == nullptr) {
    findings.push_back(NoDaemon(error, ""));
    PrintFindings(options, findings, false);
    return ExitCodeFor(error);
  }
  int status = 0;
  const auto answer = Get(*client, "/v1/status", &status);
  if (!answer) {
    findings.push_back(NoDaemon(status == 403 || status == 401 ? Error{Errc::kAccessDenied, answer.error().message} : answer.error(),
                                client->socket_path()));
    PrintFindings(options, findings, status != 0);
    if (status == 0) return ExitCodeFor(answer.error());
    return status == 200 ? kExitFailed : ExitCodeFor(status);  // 200: with nonsense
  }
  findings.push_back(Finding("daemon", "ok", "answers at " + client->name()));
  findings.push_back(Version(*answer));
  const auto found = Get(*client, "/v1/doctor", &status);
  if (found) {
    for (const json& finding : Part(*found, "findings")) findings.push_back(finding);
  } else {
    findings.push_back(Finding("daemon", "fail", found.error().message, "The log of the daemon tells more: journalctl -t glintfs"));
  }
  PrintFindings(options, findings, true);
  return AnyFailed(findings) ? kExitFailed : kExitOk;
}

}  // namespace glintfs::ctl
