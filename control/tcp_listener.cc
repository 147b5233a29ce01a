#include "control/tcp_listener.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <net/if.h>
#include <netinet/in.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>

namespace glintfs {
namespace {

constexpr int kBacklog = 128;

std::optional<uint16_t> ParsePort(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return port;
}

std::optional<TcpAddress> ParseV4(const std::string& host, uint16_t port) {
  TcpAddress address;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  if (::inet_pton(AF_INET, host.c_str(), &v4->sin_addr) != 1) return std::nullopt;
  v4->sin_family = AF_INET;
  v4->sin_port = htons(port);
  address.length = sizeof *v4;
  return address;
}

// With a zone ("fe80::1%eth0") where there is one.
std::optional<TcpAddress> ParseV6(const std::string& host, uint16_t port) {
  TcpAddress address;
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  const size_t percent = host.find('%');
  if (::inet_pton(AF_INET6, host.substr(0, percent).c_str(), &v6->sin6_addr) != 1) return std::nullopt;
  if (percent != std::string::npos) {
    v6->sin6_scope_id = ::if_nametoindex(host.c_str() + percent + 1);
    if (v6->sin6_scope_id == 0) return std::nullopt;
  }
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons(port);
  address.length = sizeof *v6;
  return address;
}

std::string TextOf(const sockaddr_storage& storage) {
  char host[INET6_ADDRSTRLEN] = "";
  if (storage.ss_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&storage);
    ::inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
    return fmt::format("{}:{}", host, ntohs(v4->sin_port));
  }
  if (storage.ss_family != AF_INET6) return "unknown";
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&storage);
  ::inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
  return fmt::format("[{}]:{}", host, ntohs(v6->sin6_port));
}

Error ListenError(const TcpAddress& address, int code) {
  const std::string text = address.Text();
  switch (code) {
    case EADDRINUSE:
      return Error{Errc::kBusy, fmt::format("control_tcp={}: another program listens there, choose another port", text)};
    case EADDRNOTAVAIL:
      return Error{Errc::kInvalid, fmt::format("control_tcp={}: no address of this machine", text)};
    case EACCES:
      return Error{Errc::kAccessDenied, fmt::format("control_tcp={}: ports below 1024 need root, choose another", text)};
    default: return ErrnoError(code, "control_tcp=" + text);
  }
}

}  // namespace

bool TcpAddress::loopback() const {
  if (storage.ss_family == AF_INET)
    return (ntohl(reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr.s_addr) >> 24) == 127;
  const in6_addr& v6 = reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr;
  return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
}

std::string TcpAddress::Text() const { return TextOf(storage); }

Result<TcpAddress> ParseTcpAddress(std::string_view text) {
  const size_t colon = text.rfind(':');
  const Error wrong{Errc::kInvalid, fmt::format("option control_tcp: '{}' is no address and port; like 127.0.0.1:9393 or "
                                                "[::1]:9393 (names are not looked up)", text)};
  if (colon == std::string_view::npos) return wrong;
  const auto port = ParsePort(text.substr(colon + 1));
  std::string_view host = text.substr(0, colon);
  if (!port || host.empty()) return wrong;
  std::optional<TcpAddress> address;
  if (host.front() == '[' && host.back() == ']') {
    address = ParseV6(std::string(host.substr(1, host.size() - 2)), *port);
  } else {
    address = ParseV4(std::string(host), *port);
  }
  if (!address) return wrong;
  return *address;
}

Result<TcpListener> TcpListener::Listen(const TcpAddress& address) {
  TcpListener listener;
  const int family = address.storage.ss_family, yes = 1, no = 0;
  listener.fd_ = UniqueFd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int fd = listener.fd_.get();
  if (fd < 0) return ErrnoError(errno, "control_tcp=" + address.Text());
  // A daemon that is started again must not wait for the old connections' TIME_WAIT.
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  // [::] means IPv4 too, whatever net.ipv6.bindv6only says.
  if (family == AF_INET6) ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.length) != 0 || ::listen(fd, kBacklog) != 0)
    return ListenError(address, errno);
  listener.address_.length = sizeof listener.address_.storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&listener.address_.storage), &listener.address_.length) != 0)
    return ListenError(address, errno);
  return listener;
}

std::string PeerText(int socket) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&storage), &length) != 0) return "unknown";
  return TextOf(storage);
}

}  // namespace glintfs
