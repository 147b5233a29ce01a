#include "fs/control_tcp.h"

#include "backends/openstack/token_check.h"

namespace glintfs {
namespace {

using Auth = ControlTcpOptions::Auth;

Error Wrong(std::string message) { return Error{Errc::kInvalid, std::move(message)}; }

// Settings that mean something with control_tcp alone would be a false sense of safety without it.
Result<void> CheckUnused(const ControlTcpOptions& tcp) {
  const ControlTcpOptions defaults;
  const std::pair<const char*, bool> given[] = {{"control_auth", tcp.auth != defaults.auth},
                                                {"control_token_file", !tcp.token_file.empty()},
                                                {"control_keystone", !tcp.keystone.empty()},
                                                {"control_roles", tcp.roles != defaults.roles},
                                                {"control_tls_cert", !tcp.tls_cert.empty()},
                                                {"control_tls_key", !tcp.tls_key.empty()}};
  for (const auto& [name, set] : given)
    if (set) return Wrong(fmt::format("option {}: means nothing without control_tcp=ADDRESS:PORT", name));
  return {};
}

Result<std::vector<std::string>> ParseRoles(const std::string& text) {
  std::vector<std::string> roles;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find(',', start), text.size());
    std::string role = text.substr(start, end - start);
    role.erase(0, role.find_first_not_of(' '));
    role.resize(role.find_last_not_of(' ') + 1);
    if (role.empty()) return Wrong(fmt::format("option control_roles: '{}' has an empty role; like admin,operator", text));
    roles.push_back(std::move(role));
    start = end + 1;
  }
  return roles;
}

Result<void> AddAuth(const Options& options, TcpControlOptions& control) {
  const ControlTcpOptions& tcp = options.control_tcp;
  if (tcp.auth == Auth::kToken) {
    if (!tcp.keystone.empty()) return Wrong("option control_keystone: is for control_auth=keystone");
    if (tcp.token_file.empty())
      return Wrong("option control_tcp: needs control_token_file= (a file with a token), or control_auth=keystone");
    control.token_file = tcp.token_file;
    return {};
  }
  if (!tcp.token_file.empty()) return Wrong("option control_token_file: is for control_auth=token");
  GLINTFS_ASSIGN(control.roles, ParseRoles(tcp.roles));
  GLINTFS_ASSIGN(control.keystone, MakeTokenChecker(tcp.keystone, options.backend));
  return {};
}

}  // namespace

Result<std::optional<TcpControlOptions>> MakeTcpControl(const Options& options) {
  const ControlTcpOptions& tcp = options.control_tcp;
  if (tcp.listen.empty()) {
    GLINTFS_TRY(CheckUnused(tcp));
    return std::optional<TcpControlOptions>();
  }
  TcpControlOptions control;
  GLINTFS_ASSIGN(control.address, ParseTcpAddress(tcp.listen));
  GLINTFS_TRY(AddAuth(options, control));
  if (tcp.tls_cert.empty() != tcp.tls_key.empty())
    return Wrong(fmt::format("option {}: needs {} too", tcp.tls_cert.empty() ? "control_tls_key" : "control_tls_cert",
                             tcp.tls_cert.empty() ? "control_tls_cert" : "control_tls_key"));
  control.tls_cert = tcp.tls_cert;
  control.tls_key = tcp.tls_key;
  return std::optional(std::move(control));
}

Result<void> CheckTcpControl(const Options& options) {
  GLINTFS_ASSIGN(const std::optional<TcpControlOptions> control, MakeTcpControl(options));
  return control ? CheckTcpControl(*control) : Result<void>();
}

}  // namespace glintfs
