// Nginx: a real nginx on a loopback port, serving a directory, as a child process of the test.
//
//   auto nginx = Nginx::Start(dir.path(), "limit_rate 20m;");
//   MakeBackend(nginx->url(), …);
//   EXPECT_TRUE(WaitFor([&] { return nginx->BytesSent("/disk.raw") == size; }));  // logged after the answer
//
// The port is bound before nginx starts and handed to it, so tests that run in parallel never collide. Listings are on.
// Not thread-safe, but for the log queries.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"

namespace glintfs::testing {

struct NginxOptions {
  std::string location;     // lines inside `location / { }`
  std::string server;       // lines inside `server { }`: more locations
  std::string certificate;  // PEM files; both set: https with HTTP/2 offered
  std::string key;
};

class Nginx {
 public:
  struct LogEntry {
    std::string method;
    std::string uri;     // decoded, without query
    int status = 0;
    uint64_t body_bytes = 0;
    std::string protocol;  // "HTTP/1.1", "HTTP/2.0"
    std::string range;     // the Range header, or "-"
    uint64_t connection = 0;  // serial number of the connection
  };

  // Throws std::runtime_error with nginx's own words when it does not come up.
  static std::unique_ptr<Nginx> Start(const std::string& root, const std::string& extra_location_conf = "");
  static std::unique_ptr<Nginx> Start(const std::string& root, const NginxOptions& options);
  ~Nginx();  // stops it

  int port() const { return port_; }
  std::string url() const;  // "http://127.0.0.1:PORT/" or https://
  pid_t pid() const { return pid_; }

  void Stop();     // kills it and waits; connections are refused from then on
  void Restart();  // on the same port; after Stop() or while it runs
  void Freeze();   // SIGSTOP: accepts connections (the kernel does) and never answers
  void Thaw();     // SIGCONT

  // One entry per request that has ended.
  std::vector<LogEntry> AccessLog() const;
  uint64_t BytesSent(const std::string& uri) const;  // bodies of all requests for `uri`; of all when empty
  // How many different bytes of `uri` the requests from the log's entry `first` on have sent, however often each: what a
  // fetch that was repeated or overtaken adds to BytesSent is not in it. Throws on a Range that is not "bytes=A-B".
  uint64_t DistinctBytesSent(const std::string& uri, size_t first = 0) const;
  uint64_t Requests(const std::string& uri, const std::string& method = "") const;

 private:
  Nginx(std::string root, NginxOptions options);
  void WriteConf() const;
  void Spawn(int listen_fd);
  void WaitUntilItAnswers();

  const std::string root_;
  const NginxOptions options_;
  TempDir dir_;
  int port_ = 0;
  pid_t pid_ = -1;
};

}  // namespace glintfs::testing
