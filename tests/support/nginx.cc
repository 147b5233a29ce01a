// Master and worker are a process group of their own, so that both can be frozen and neither outlives the test;
// PR_SET_PDEATHSIG ends them with a test that crashes. The bound socket is inherited the way nginx itself does it at an
// upgrade: NGINX="<fd>;".
#include "tests/support/nginx.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace glintfs::testing {
namespace {

constexpr int kInheritedFd = 9;
constexpr char kProbe[] = "/.up";  // asked for until nginx answers; not in the log

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

// A listening socket on 127.0.0.1; `port` 0 takes a free one and stores it.
int Listen(int& port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_in address = Loopback(port);
  socklen_t length = sizeof(address);
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), length) != 0 || ::listen(fd, 511) != 0) {
    ::close(fd);
    return -1;
  }
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
  port = ntohs(address.sin_port);
  return fd;
}

std::string Slurp(const std::string& path) {
  std::ifstream in(path);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

// One request of HTTP/1.0 words; true when something came back. For TLS a refusal in plain text is an answer, too.
bool Answers(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = Loopback(port);
  bool answered = false;
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    const std::string request = "HEAD " + std::string(kProbe) + " HTTP/1.0\r\n\r\n";
    pollfd poll_fd{.fd = fd, .events = POLLIN, .revents = 0};
    char byte;
    answered = ::send(fd, request.data(), request.size(), MSG_NOSIGNAL) > 0 && ::poll(&poll_fd, 1, 2000) == 1 &&
               ::recv(fd, &byte, 1, 0) == 1;
  }
  ::close(fd);
  return answered;
}

}  // namespace

std::unique_ptr<Nginx> Nginx::Start(const std::string& root, const std::string& extra_location_conf) {
  NginxOptions options;
  options.location = extra_location_conf;
  return Start(root, options);
}

std::unique_ptr<Nginx> Nginx::Start(const std::string& root, const NginxOptions& options) {
  std::unique_ptr<Nginx> nginx(new Nginx(root, options));
  const int fd = Listen(nginx->port_);
  if (fd < 0) throw std::runtime_error("no free loopback port");
  nginx->WriteConf();
  nginx->Spawn(fd);
  nginx->WaitUntilItAnswers();
  return nginx;
}

Nginx::Nginx(std::string root, NginxOptions options) : root_(std::move(root)), options_(std::move(options)) {}
Nginx::~Nginx() { Stop(); }

std::string Nginx::url() const {
  return (options_.certificate.empty() ? "http://127.0.0.1:" : "https://127.0.0.1:") + std::to_string(port_) + "/";
}

void Nginx::WriteConf() const {
  const bool tls = !options_.certificate.empty();
  std::ofstream conf(dir_ / "nginx.conf");
  conf << "daemon off;\nuser root;\nworker_processes 1;\n"
       << "pid " << (dir_ / "nginx.pid") << ";\nerror_log " << (dir_ / "error.log") << " warn;\n"
       << "events { worker_connections 1024; }\nhttp {\n"
       << "  log_format test "
          "'$request_method\\t$uri\\t$status\\t$body_bytes_sent\\t$server_protocol\\t$http_range\\t$connection';\n"
       << "  access_log " << (dir_ / "access.log") << " test;\n"
       << "  sendfile on;\n  tcp_nopush on;\n  keepalive_requests 100000;\n  default_type application/octet-stream;\n";
  for (const char* kind : {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"})
    conf << "  " << kind << "_temp_path " << (dir_ / kind) << ";\n";
  conf << "  server {\n    listen 127.0.0.1:" << port_ << (tls ? " ssl http2" : "")
       << ";\n    server_name localhost;\n";
  if (tls)
    conf << "    ssl_certificate " << options_.certificate << ";\n    ssl_certificate_key " << options_.key << ";\n";
  conf << "    root " << root_ << ";\n    autoindex on;\n"
       << "    location = " << kProbe << " { access_log off; return 204; }\n"
       << "    location / {\n" << options_.location << "\n    }\n" << options_.server << "\n  }\n}\n";
  if (!conf.flush()) throw std::runtime_error("cannot write nginx.conf");
}

void Nginx::Spawn(int listen_fd) {
  const std::string prefix = dir_.path(), conf = dir_ / "nginx.conf", errors = dir_ / "error.log";
  const std::string inherited = "NGINX=" + std::to_string(kInheritedFd) + ";";
  const char* argv[] = {"nginx", "-p", prefix.c_str(), "-c", conf.c_str(), "-e", errors.c_str(), nullptr};
  const char* envp[] = {inherited.c_str(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin", nullptr};
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) {  // only async-signal-safe calls: the test has threads
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    ::setpgid(0, 0);
    if (::getppid() != parent) ::_exit(1);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    const int out = ::open(errors.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(out, 1);
    ::dup2(out, 2);
    const int keep = ::fcntl(listen_fd, F_DUPFD, kInheritedFd + 1);  // so that dup2 clears close-on-exec in any case
    ::dup2(keep, kInheritedFd);
    ::close(keep);
    for (const char* path : {"/usr/sbin/nginx", "/usr/bin/nginx"})
      ::execve(path, const_cast<char* const*>(argv), const_cast<char* const*>(envp));
    ::_exit(127);
  }
  ::close(listen_fd);
  ::setpgid(pid_, pid_);  // in both, so that it is done whoever runs first
  if (pid_ < 0) throw std::runtime_error("cannot fork");
}

void Nginx::WaitUntilItAnswers() {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!Answers(port_)) {
    int status = 0;
    const bool ended = ::waitpid(pid_, &status, WNOHANG) == pid_;
    if (ended) pid_ = -1;
    if (ended || std::chrono::steady_clock::now() > end)
      throw std::runtime_error("nginx does not come up: " + Slurp(dir_ / "error.log"));
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

void Nginx::Stop() {
  if (pid_ <= 0) return;
  Thaw();
  ::kill(pid_, SIGTERM);  // fast shutdown: transfers are cut off; the master ends after its worker
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (::waitpid(pid_, nullptr, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > end) ::kill(-pid_, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  pid_ = -1;
}

void Nginx::Restart() {
  Stop();
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  int fd = Listen(port_);
  while (fd < 0 && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    fd = Listen(port_);
  }
  if (fd < 0) throw std::runtime_error("the port of nginx is taken");
  Spawn(fd);
  WaitUntilItAnswers();
}

void Nginx::Freeze() {
  if (pid_ > 0) ::kill(-pid_, SIGSTOP);
}

void Nginx::Thaw() {
  if (pid_ > 0) ::kill(-pid_, SIGCONT);
}

std::vector<Nginx::LogEntry> Nginx::AccessLog() const {
  std::vector<LogEntry> entries;
  std::ifstream in(dir_ / "access.log");
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    LogEntry entry;
    std::string status, bytes, connection;
    if (!std::getline(fields, entry.method, '\t') || !std::getline(fields, entry.uri, '\t') ||
        !std::getline(fields, status, '\t') || !std::getline(fields, bytes, '\t') ||
        !std::getline(fields, entry.protocol, '\t') || !std::getline(fields, entry.range, '\t') ||
        !std::getline(fields, connection, '\t'))
      continue;  // being written
    if (entry.uri == kProbe) continue;
    entry.status = std::atoi(status.c_str());
    entry.body_bytes = std::strtoull(bytes.c_str(), nullptr, 10);
    entry.connection = std::strtoull(connection.c_str(), nullptr, 10);
    entries.push_back(std::move(entry));
  }
  return entries;
}

uint64_t Nginx::BytesSent(const std::string& uri) const {
  uint64_t sum = 0;
  for (const LogEntry& entry : AccessLog())
    if (uri.empty() || entry.uri == uri) sum += entry.body_bytes;
  return sum;
}

uint64_t Nginx::DistinctBytesSent(const std::string& uri, size_t first) const {
  const std::vector<LogEntry> entries = AccessLog();
  std::vector<std::pair<uint64_t, uint64_t>> extents;
  for (size_t i = first; i < entries.size(); ++i) {
    if (entries[i].uri != uri || entries[i].method != "GET" || entries[i].body_bytes == 0) continue;
    uint64_t begin = 0;
    if (entries[i].range != "-" && std::sscanf(entries[i].range.c_str(), "bytes=%" SCNu64 "-", &begin) != 1)
      throw std::runtime_error("nginx: cannot read the range " + entries[i].range);
    extents.emplace_back(begin, begin + entries[i].body_bytes);
  }
  std::sort(extents.begin(), extents.end());
  uint64_t sum = 0, end = 0;
  for (const auto& [from, to] : extents) {
    if (to > end) sum += to - std::max(from, end);
    end = std::max(end, to);
  }
  return sum;
}

uint64_t Nginx::Requests(const std::string& uri, const std::string& method) const {
  uint64_t count = 0;
  for (const LogEntry& entry : AccessLog())
    if ((uri.empty() || entry.uri == uri) && (method.empty() || entry.method == method)) ++count;
  return count;
}

}  // namespace glintfs::testing
