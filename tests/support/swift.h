// Swift: a real OpenStack Swift on loopback as child processes of the test: proxy, account, container and object server with one
// device, memcached for the tokens of TempAuth, and large objects of both kinds.
//
//   auto swift = Swift::Start();
//   swift->MakeContainer("images");
//   swift->Call("PUT", "/images/disk.raw", bytes);                          // as test:tester, who owns the account
//   swift->Call("PUT", "/images/big", "", {"X-Object-Manifest: images/big-"});
//
// Up in about five seconds. Not thread-safe.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace glintfs::testing {

struct SwiftReply {
  long status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

class Keystone;

class Swift {
 public:
  // Throws std::runtime_error with the servers' own words when they do not come up.
  static std::unique_ptr<Swift> Start();
  // Tokens are those of `keystone` instead, in whose catalogue it is entered; requests are those of its user demo.
  static std::unique_ptr<Swift> Start(Keystone& keystone);
  ~Swift();  // stops them

  std::string auth_url() const;     // of version 1
  std::string storage_url() const;  // of the account of both users (demo's project), without '/' at its end
  static constexpr char kUser[] = "test:tester";  // may do everything
  static constexpr char kKey[] = "key-of-tester-51c9";
  static constexpr char kGuest[] = "test:guest";  // may do what a container's ACL allows
  static constexpr char kGuestKey[] = "key-of-guest-27de";

  void MakeContainer(const std::string& name);
  // A request below the account: "/container/object?query", encoded. Throws when nothing answers.
  SwiftReply Request(const std::string& method, const std::string& path, const std::string& body = "",
                     const std::vector<std::string>& headers = {});
  // The same; throws unless it succeeds.
  SwiftReply Call(const std::string& method, const std::string& path, const std::string& body = "",
                  const std::vector<std::string>& headers = {});

  // Of the proxy, which everything passes through.
  void Stop();
  void Restart();
  void Freeze();
  void Thaw();

  // Every token of TempAuth given out so far is refused from now on.
  void ForgetTokens();

  std::string Errors() const;  // what the servers have written

 private:
  Swift();
  struct Parts;
  static std::unique_ptr<Swift> Start(Keystone* keystone);
  void StartProxy();
  void WaitUntilItAnswers();
  std::string Token();

  std::unique_ptr<Parts> parts_;
};

}  // namespace glintfs::testing
