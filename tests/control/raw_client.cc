#include "tests/control/raw_client.h"

#include <netdb.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace glintfs::testing {
namespace {
constexpr int kPatience = 30'000;  // ms
}  // namespace

RawClient::RawClient(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw std::runtime_error("path too long: " + path);
  std::memcpy(address.sun_path, path.data(), path.size());
  if (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw std::runtime_error("connect " + path + ": " + std::strerror(errno));
  }
}

RawClient RawClient::OverTcp(const std::string& address) {
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo hints{}, *found = nullptr;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  if (::getaddrinfo(host.c_str(), address.substr(colon + 1).c_str(), &hints, &found) != 0) throw std::runtime_error(address);
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, ::freeaddrinfo);
  UniqueFd fd(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), found->ai_addr, found->ai_addrlen) != 0)
    throw std::runtime_error("connect " + address + ": " + std::strerror(errno));
  return RawClient(std::move(fd));
}

bool RawClient::StartTls(const std::string& ca_file, int version) {
  ::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes without MSG_NOSIGNAL
  const std::unique_ptr<SSL_CTX, decltype(&::SSL_CTX_free)> context(::SSL_CTX_new(::TLS_client_method()), ::SSL_CTX_free);
  ::SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  if (::SSL_CTX_load_verify_file(context.get(), ca_file.c_str()) != 1) throw std::runtime_error("no authority in " + ca_file);
  if (version != 0) {  // an old one needs old ciphers
    ::SSL_CTX_set_min_proto_version(context.get(), version);
    ::SSL_CTX_set_max_proto_version(context.get(), version);
    ::SSL_CTX_set_cipher_list(context.get(), "DEFAULT@SECLEVEL=0");
  }
  tls_.reset(::SSL_new(context.get()), ::SSL_free);
  ::SSL_set_fd(tls_.get(), fd_.get());
  return ::SSL_connect(tls_.get()) == 1;
}

bool RawClient::Send(std::string_view bytes) {
  if (tls_) return ::SSL_write(tls_.get(), bytes.data(), static_cast<int>(bytes.size())) == static_cast<int>(bytes.size());
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool RawClient::Fill() {
  pollfd poll_fd{fd_.get(), POLLIN, 0};
  if (!(tls_ && ::SSL_pending(tls_.get()) > 0) && ::poll(&poll_fd, 1, kPatience) <= 0) return false;
  char bytes[65536];
  const ssize_t got = tls_ ? ::SSL_read(tls_.get(), bytes, sizeof bytes) : ::recv(fd_.get(), bytes, sizeof bytes, 0);
  if (got <= 0) return false;
  buffer_.append(bytes, static_cast<size_t>(got));
  return true;
}

std::optional<RawReply> RawClient::Receive(bool head) {
  size_t end;
  while ((end = buffer_.find("\r\n\r\n")) == buffer_.npos) {
    if (!Fill()) return std::nullopt;
  }
  RawReply reply;
  const std::string header = buffer_.substr(0, end + 2);
  buffer_.erase(0, end + 4);
  if (header.substr(0, 9) != "HTTP/1.1 ") return std::nullopt;
  reply.status = std::stoi(header.substr(9, 3));
  for (size_t at = header.find("\r\n") + 2; at < header.size();) {
    const size_t line_end = header.find("\r\n", at);
    const std::string line = header.substr(at, line_end - at);
    const size_t colon = line.find(": ");
    std::string name = line.substr(0, colon);
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    reply.headers[name] = line.substr(colon + 2);
    at = line_end + 2;
  }
  const auto length = reply.headers.find("content-length");
  if (head || length == reply.headers.end()) return reply;
  const size_t size = std::stoul(length->second);
  while (buffer_.size() < size) {
    if (!Fill()) return std::nullopt;
  }
  reply.body = buffer_.substr(0, size);
  buffer_.erase(0, size);
  return reply;
}

bool RawClient::WaitForEnd() {
  for (;;) {
    pollfd poll_fd{fd_.get(), POLLIN, 0};
    if (::poll(&poll_fd, 1, kPatience) <= 0) return false;
    char bytes[4096];
    if (::recv(fd_.get(), bytes, sizeof bytes, 0) <= 0) return true;
  }
}

void RawClient::CloseSending() { ::shutdown(fd_.get(), SHUT_WR); }

std::string RequestText(const std::string& verb, const std::string& target, const std::string& headers,
                        const std::string& body) {
  std::string text = verb + " " + target + " HTTP/1.1\r\nHost: localhost\r\n" + headers;
  if (!body.empty() || verb != "GET") text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  return text + "\r\n" + body;
}

RawReply Ask(const std::string& path, const std::string& verb, const std::string& target, const std::string& headers,
             const std::string& body) {
  RawClient client(path);
  client.Send(RequestText(verb, target, headers, body));
  return client.Receive(verb == "HEAD").value_or(RawReply{});
}

}  // namespace glintfs::testing
