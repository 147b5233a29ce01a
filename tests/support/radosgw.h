// RadosGateway: a real radosgw (S3) on a loopback port, storing in a test's Ceph, as a child process of the test.
//
//   auto gateway = RadosGateway::Start(*ceph);
//   const S3User user = gateway->MakeUser("images");
//   S3Client client(gateway->endpoint(), user.access_key, user.secret_key);
//
// Not thread-safe.
#pragma once

#include <memory>
#include <string>

#include "tests/support/ceph.h"

namespace glintfs::testing {

// Keys that the gateway made up.
struct S3User {
  std::string uid;
  std::string access_key;
  std::string secret_key;
};

class RadosGateway {
 public:
  // Throws std::runtime_error with the gateway's own words when it does not come up. `ceph` must outlive it.
  static std::unique_ptr<RadosGateway> Start(Ceph& ceph);
  ~RadosGateway();  // stops it

  // "http://127.0.0.1:PORT". By "http://localhost:PORT" it also serves buckets in the host name.
  std::string endpoint() const;
  int port() const;

  S3User MakeUser(const std::string& uid);
  S3User AddKey(const std::string& uid);  // one more
  void RemoveKey(const S3User& key);

  void Stop();
  void Restart();  // on the same port; returns once it serves
  void Freeze();   // SIGSTOP
  void Thaw();

 private:
  explicit RadosGateway(Ceph& ceph);
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace glintfs::testing
