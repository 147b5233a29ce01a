// Client: requests to the control socket of one daemon, one at a time on one connection. Not thread-safe.
#pragma once

#include <chrono>
#include <memory>
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

class Client {
 public:
  explicit Client(std::string socket_path);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // `target` is a path with encoded names, and a query if any. A reply with any status is a success.
  //   kUnavailable  nobody listens, or the connection broke; kAccessDenied: not allowed to connect; kTimedOut
  Result<Reply> Send(const std::string& verb, const std::string& target, const std::vector<std::string>& headers = {});

  const std::string& socket_path() const { return socket_path_; }

 private:
  const std::string socket_path_;
  struct Curl;
  const std::unique_ptr<Curl> curl_;
};

}  // namespace glintfs::ctl
