// Client: requests to one daemon over its control socket or over TCP, one at a time on one connection. Not thread-safe.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fs/base/result.h"

namespace glintfs::ctl {

struct Reply {
  int status = 0;
  std::string body;

  bool ok() const { return status >= 200 && status < 300; }
  // {"error": {"message": …}} of the body, or "HTTP status 500" when it has none.
  std::string ErrorMessage() const;
};

// A daemon that is asked over TCP.
struct RemoteDaemon {
  std::string url;      // "https://host:9393"
  std::string token;    // sent with every request; must not be printed
  std::string ca_file;  // PEM; empty: the system's
};
// kInvalid, with what to do, when `url` is none or the token cannot be read: it is the first line of `token_file`.
Result<RemoteDaemon> FindRemoteDaemon(std::string url, const std::string& token_file, std::string ca_file);

class Client {
 public:
  explicit Client(std::string socket_path);
  explicit Client(RemoteDaemon daemon);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // `target` is a path with encoded names, and a query if any; `body` is sent unless it is empty. A reply with any status is a
  // success.
  //   kUnavailable  nobody listens, or the connection broke; kAccessDenied: not allowed to connect
  //   kTimedOut     no answer within the patience, or by the deadline
  //   kCancelled    Interrupted(), or the test of SetAbort says so
  Result<Reply> Send(const std::string& verb, const std::string& target, const std::vector<std::string>& headers = {},
                     const std::string& body = "");

  // How long it waits for answers that the daemon has at hand (default 10 s). What may wait for the source takes longer, but is
  // only asked of a daemon that has answered before.
  void SetPatience(std::chrono::nanoseconds patience) { patience_ = patience; }
  // No request goes on after it.
  void SetDeadline(std::chrono::steady_clock::time_point deadline) { deadline_ = deadline; }
  bool DeadlinePassed() const { return deadline_ && std::chrono::steady_clock::now() >= *deadline_; }
  // Asked every tenth of a second while it waits; true ends the request.
  void SetAbort(std::function<bool()> abort) { abort_ = std::move(abort); }

  const std::string& socket_path() const { return socket_path_; }  // empty over TCP
  std::string name() const { return socket_path_.empty() ? daemon_.url : socket_path_; }

 private:
  Result<Reply> SendWithin(std::chrono::nanoseconds patience, const std::string& verb, const std::string& target,
                           const std::vector<std::string>& headers, const std::string& body);
  Result<int> Perform(std::chrono::nanoseconds patience);  // a CURLcode
  Error NoAnswer() const;

  const std::string socket_path_;
  const RemoteDaemon daemon_;
  struct Curl;
  const std::unique_ptr<Curl> curl_;
  std::chrono::nanoseconds patience_ = std::chrono::seconds(10);
  std::optional<std::chrono::steady_clock::time_point> deadline_;
  std::function<bool()> abort_;
  bool answered_ = false;  // the daemon did, at least once
};

}  // namespace glintfs::ctl
