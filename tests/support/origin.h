// Origin: a small HTTP/1.1 server on a loopback port whose behaviour a test scripts per path, while it runs:
// validators, ranges, redirects, status codes, and trouble: hanging, resetting, short, long and wrong answers. For what
// a well-behaved server (see nginx.h) never does. Thread-safe; one thread per connection.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "fs/base/mutex.h"
#include "fs/base/thread.h"

namespace glintfs::testing {

enum class Trouble {
  kNone,
  kHangBeforeHeaders,  // until Release() or the client goes away
  kHangInBody,         // after `trouble_after` bytes
  kResetInBody,        // TCP reset after `trouble_after` bytes
  kShortBody,          // clean close after `trouble_after` bytes, Content-Length promises all
  kChunkedShortBody,   // chunked, ends well after `trouble_after` bytes: only Content-Range tells
  kLongBody,           // chunked, more bytes than the range has
  kWholeForRange,      // 200 with the whole object
  kWrongRange,         // 206 with a Content-Range one byte further
  kNoContentRange,     // 206 without it
  kMultipart,          // 206 multipart/byteranges
};

// What a path answers.
struct OriginFile {
  std::string content;
  std::string etag = "\"v1\"";  // sent as it is; empty: none
  std::string last_modified;    // sent as it is; empty: none
  std::string type = "application/octet-stream";
  bool ranges = true;           // false: 200 and the whole, whatever is asked
  bool conditions = true;       // honours If-Match and If-Unmodified-Since (412)
  bool allow_head = true;       // false: 405
  bool send_length = true;      // false: chunked, and no length on HEAD
  int status = 0;               // non-zero: this status, empty body
  int status_times = -1;        // for so many requests, then the content; -1: always
  std::vector<std::string> headers;  // more header lines, "Retry-After: 1"
  int refuse_ranges = 0;        // non-zero: this status for a request with a Range header
  std::string require;          // non-empty: 401 unless the request has this header line, "X-Auth-Token: good"
  std::string raw;              // non-empty: exactly these bytes for every request, then the connection closes

  Trouble trouble = Trouble::kNone;
  int trouble_times = -1;       // for so many GETs, then none; -1: always
  uint64_t trouble_after = 0;
  bool trouble_on_head = false;
  uint64_t bytes_per_second = 0;  // 0: no limit
};

struct OriginRequest {
  std::string method;
  std::string target;  // as sent
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  uint64_t connection = 0;                     // serial number

  std::string Header(const std::string& name) const {
    const auto it = headers.find(name);
    return it == headers.end() ? "" : it->second;
  }
};

class Origin {
 public:
  Origin();   // listens on 127.0.0.1, a free port
  ~Origin();  // ends every connection

  int port() const { return port_; }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/"; }

  // Paths as they appear in requests: "/a.img"; with a query, "/a?b=c", for requests that have just that one. What is not set is 404.
  void Set(const std::string& path, OriginFile file);
  void Update(const std::string& path, const std::function<void(OriginFile&)>& change);
  void Remove(const std::string& path);
  // Ends all hanging; what hangs goes on as if nothing had been.
  void Release();

  std::vector<OriginRequest> Requests(const std::string& path = "", const std::string& method = "") const;
  uint64_t BytesSent(const std::string& path) const;  // of bodies, counted once sent: wait for it
  int hanging() const { return hanging_; }            // connections that hang right now
  int open_connections() const { return open_; }

 private:
  struct Reply;

  void Accept();
  void Serve(int fd, uint64_t serial);
  bool Answer(int fd, const OriginRequest& request);
  static Reply ReplyTo(const OriginRequest& request, const OriginFile& file);
  bool SendBody(int fd, const OriginRequest& request, const OriginFile& file, const Reply& reply);
  bool Hang(int fd);
  OriginFile FileFor(const OriginRequest& request);

  int listen_fd_ = -1;
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> release_count_{0};
  std::atomic<int> hanging_{0};
  std::atomic<int> open_{0};

  mutable Mutex mu_;
  std::map<std::string, OriginFile> files_ GUARDED_BY(mu_);
  std::vector<OriginRequest> requests_ GUARDED_BY(mu_);
  std::map<std::string, uint64_t> bytes_sent_ GUARDED_BY(mu_);
  std::vector<int> fds_ GUARDED_BY(mu_);
  std::vector<Thread> threads_ GUARDED_BY(mu_);
  Thread acceptor_;
};

}  // namespace glintfs::testing
