#include "tests/support/origin.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string_view>

namespace glintfs::testing {
namespace {

constexpr int kTickMs = 5;

std::string Lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return text;
}

// Reads one header block into `request`; `buffer` keeps what follows it. False at the end of the connection.
bool ReadRequest(int fd, std::string& buffer, OriginRequest& request) {
  size_t end;
  while ((end = buffer.find("\r\n\r\n")) == std::string::npos) {
    char piece[4096];
    const ssize_t n = ::recv(fd, piece, sizeof(piece), 0);
    if (n <= 0) return false;
    buffer.append(piece, static_cast<size_t>(n));
  }
  std::istringstream lines(buffer.substr(0, end));
  buffer.erase(0, end + 4);
  std::string line;
  lines >> request.method >> request.target;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    const size_t colon = line.find(':');
    if (colon != std::string::npos)
      request.headers[Lower(line.substr(0, colon))] = line.substr(std::min(colon + 2, line.size()));
  }
  const size_t length = static_cast<size_t>(std::atol(request.Header("content-length").c_str()));
  while (buffer.size() < length) {
    char piece[4096];
    const ssize_t n = ::recv(fd, piece, sizeof(piece), 0);
    if (n <= 0) return false;
    buffer.append(piece, static_cast<size_t>(n));
  }
  request.body = buffer.substr(0, length);
  buffer.erase(0, length);
  return true;
}

bool SendAll(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t n = ::send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    data.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

void ResetOnClose(int fd) {
  const linger abort{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
}

struct Range {
  uint64_t first, last;
};

std::optional<Range> RangeOf(const OriginRequest& request, uint64_t size) {
  unsigned long long first = 0, last = 0;
  if (std::sscanf(request.Header("range").c_str(), "bytes=%llu-%llu", &first, &last) != 2) return std::nullopt;
  return Range{first, std::min<uint64_t>(last, size == 0 ? 0 : size - 1)};
}

bool ConditionFails(const OriginRequest& request, const OriginFile& file) {
  if (!file.conditions) return false;
  const std::string match = request.Header("if-match"), since = request.Header("if-unmodified-since");
  return (!match.empty() && match != file.etag) || (!since.empty() && since != file.last_modified);
}

}  // namespace

// The status line and headers, and which part of the content follows.
struct Origin::Reply {
  int status = 200;
  std::string headers;
  uint64_t first = 0;
  uint64_t length = 0;   // of the body
  bool chunked = false;
  bool body = true;

  void Add(const std::string& line) { headers += line + "\r\n"; }
};

Origin::Origin() {
  listen_fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  if (::bind(listen_fd_, reinterpret_cast<sockaddr*>(&address), length) != 0 || ::listen(listen_fd_, 128) != 0)
    throw std::runtime_error("origin: no free loopback port");
  ::getsockname(listen_fd_, reinterpret_cast<sockaddr*>(&address), &length);
  port_ = ntohs(address.sin_port);
  acceptor_ = Thread("origin", [this](std::stop_token) { Accept(); });
}

Origin::~Origin() {
  stopping_ = true;
  ::shutdown(listen_fd_, SHUT_RDWR);
  acceptor_.Join();
  std::vector<Thread> threads;
  {
    MutexLock lock(mu_);
    for (const int fd : fds_) ::shutdown(fd, SHUT_RDWR);
    threads.swap(threads_);
  }
  for (Thread& thread : threads) thread.Join();
  ::close(listen_fd_);
}

void Origin::Accept() {
  for (uint64_t serial = 1; !stopping_; ++serial) {
    const int fd = ::accept4(listen_fd_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    ++open_;
    MutexLock lock(mu_);
    fds_.push_back(fd);
    threads_.emplace_back("origin-conn", [this, fd, serial](std::stop_token) { Serve(fd, serial); });
  }
}

void Origin::Serve(int fd, uint64_t serial) {
  std::string buffer;
  for (bool more = true; more && !stopping_;) {
    OriginRequest request;
    request.connection = serial;
    more = ReadRequest(fd, buffer, request);
    if (!more) break;
    {
      MutexLock lock(mu_);
      requests_.push_back(request);
    }
    more = Answer(fd, request);
  }
  {
    MutexLock lock(mu_);
    std::erase(fds_, fd);
  }
  ::close(fd);
  --open_;
}

OriginFile Origin::FileFor(const OriginRequest& request) {
  MutexLock lock(mu_);
  auto it = files_.find(request.target);
  if (it == files_.end()) it = files_.find(request.target.substr(0, request.target.find('?')));
  if (it == files_.end()) {
    OriginFile missing;
    missing.status = 404;
    missing.etag = "";
    return missing;
  }
  OriginFile file = it->second;
  if (const size_t colon = file.require.find(": ");
      colon != std::string::npos && request.Header(Lower(file.require.substr(0, colon))) != file.require.substr(colon + 2))
    file.status = 401;
  if (file.refuse_ranges != 0 && !request.Header("range").empty()) file.status = file.refuse_ranges;
  if (file.status_times > 0 && --it->second.status_times == 0) it->second.status = 0;
  if (file.trouble != Trouble::kNone && (request.method == "GET" || file.trouble_on_head)) {
    if (it->second.trouble_times > 0 && --it->second.trouble_times == 0) it->second.trouble = Trouble::kNone;
  } else {
    file.trouble = Trouble::kNone;
  }
  return file;
}

bool Origin::Hang(int fd) {
  const uint64_t released = release_count_;
  ++hanging_;
  bool alive = true;
  while (alive && release_count_ == released) {
    pollfd poll_fd{.fd = fd, .events = POLLRDHUP, .revents = 0};
    alive = ::poll(&poll_fd, 1, kTickMs) == 0 && !stopping_;
  }
  --hanging_;
  return alive;
}

Origin::Reply Origin::ReplyTo(const OriginRequest& request, const OriginFile& file) {
  Reply reply;
  reply.body = request.method != "HEAD";
  reply.length = file.content.size();
  const auto range = RangeOf(request, file.content.size());
  const std::string total = std::to_string(file.content.size());
  if (file.status != 0 || (!file.allow_head && request.method == "HEAD") || ConditionFails(request, file)) {
    reply.status = file.status != 0 ? file.status : ConditionFails(request, file) ? 412 : 405;
    reply.length = 0;
  } else if (range && file.ranges && range->first >= file.content.size()) {
    reply.status = 416;
    reply.length = 0;
    reply.Add("Content-Range: bytes */" + total);
  } else if (range && file.ranges && file.trouble != Trouble::kWholeForRange) {
    const uint64_t shift = file.trouble == Trouble::kWrongRange ? 1 : 0;
    reply.status = 206;
    reply.first = range->first;
    reply.length = range->last - range->first + 1;
    if (file.trouble != Trouble::kNoContentRange && file.trouble != Trouble::kMultipart)
      reply.Add("Content-Range: bytes " + std::to_string(range->first + shift) + "-" +
                std::to_string(range->last + shift) + "/" + total);
  }
  return reply;
}

bool Origin::Answer(int fd, const OriginRequest& request) {
  const OriginFile file = FileFor(request);
  if (file.trouble == Trouble::kHangBeforeHeaders && !Hang(fd)) return false;
  if (!file.raw.empty()) {
    SendAll(fd, file.raw);
    return false;
  }
  Reply reply = ReplyTo(request, file);
  reply.chunked = reply.status < 300 && (!file.send_length || file.trouble == Trouble::kChunkedShortBody ||
                                         file.trouble == Trouble::kLongBody);
  if (!file.etag.empty()) reply.Add("ETag: " + file.etag);
  if (!file.last_modified.empty()) reply.Add("Last-Modified: " + file.last_modified);
  reply.Add("Content-Type: " + (file.trouble == Trouble::kMultipart ? "multipart/byteranges; boundary=x" : file.type));
  for (const std::string& line : file.headers) reply.Add(line);
  if (!reply.chunked) reply.Add("Content-Length: " + std::to_string(reply.length));
  if (reply.chunked && reply.body) reply.Add("Transfer-Encoding: chunked");
  if (!SendAll(fd, "HTTP/1.1 " + std::to_string(reply.status) + " X\r\n" + reply.headers + "\r\n")) return false;
  return !reply.body || SendBody(fd, request, file, reply);
}

bool Origin::SendBody(int fd, const OriginRequest& request, const OriginFile& file, const Reply& reply) {
  const std::string path = request.target.substr(0, request.target.find('?'));
  const bool cut = file.trouble == Trouble::kHangInBody || file.trouble == Trouble::kResetInBody ||
                   file.trouble == Trouble::kShortBody || file.trouble == Trouble::kChunkedShortBody;
  std::string body = file.content.substr(std::min<uint64_t>(reply.first, file.content.size()), reply.length);
  if (file.trouble == Trouble::kLongBody) body += "too much";
  uint64_t sent = 0;
  while (sent < body.size()) {
    uint64_t piece =
        std::min<uint64_t>(body.size() - sent, file.bytes_per_second != 0 ? file.bytes_per_second / 20 + 1 : 64 << 10);
    if (cut) piece = std::min(piece, file.trouble_after - std::min(file.trouble_after, sent));
    if (cut && sent >= file.trouble_after) {
      if (file.trouble == Trouble::kHangInBody) {
        if (!Hang(fd)) return false;
        piece = body.size() - sent;
      } else if (file.trouble == Trouble::kChunkedShortBody) {
        break;
      } else {
        if (file.trouble == Trouble::kResetInBody) ResetOnClose(fd);
        return false;
      }
    }
    const std::string_view data = std::string_view(body).substr(sent, piece);
    char head[32];
    std::snprintf(head, sizeof(head), "%zx\r\n", data.size());
    if (reply.chunked && !SendAll(fd, head)) return false;
    if (!SendAll(fd, data) || (reply.chunked && !SendAll(fd, "\r\n"))) return false;
    sent += data.size();
    {
      MutexLock lock(mu_);
      bytes_sent_[path] += data.size();
    }
    if (file.bytes_per_second != 0) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return !reply.chunked || SendAll(fd, "0\r\n\r\n");
}

void Origin::Set(const std::string& path, OriginFile file) {
  MutexLock lock(mu_);
  files_[path] = std::move(file);
}

void Origin::Update(const std::string& path, const std::function<void(OriginFile&)>& change) {
  MutexLock lock(mu_);
  change(files_[path]);
}

void Origin::Remove(const std::string& path) {
  MutexLock lock(mu_);
  files_.erase(path);
}

void Origin::Release() { ++release_count_; }

std::vector<OriginRequest> Origin::Requests(const std::string& path, const std::string& method) const {
  MutexLock lock(mu_);
  std::vector<OriginRequest> found;
  for (const OriginRequest& request : requests_)
    if ((path.empty() || request.target == path) && (method.empty() || request.method == method))
      found.push_back(request);
  return found;
}

uint64_t Origin::BytesSent(const std::string& path) const {
  MutexLock lock(mu_);
  const auto it = bytes_sent_.find(path);
  return it == bytes_sent_.end() ? 0 : it->second;
}

}  // namespace glintfs::testing
