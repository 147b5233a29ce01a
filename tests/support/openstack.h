// Keystone and Glance: real ones on loopback, as children of the test, with their databases in SQLite files of a directory of their
// own.
//
//   auto keystone = Keystone::Start();
//   auto glance = Glance::Start({.keystone = keystone.get()});
//   glance->Upload({.id = UuidFor("a"), .name = "a"}, "bytes");
//   keystone->WriteClouds(dir / "clouds.yaml");        // cloud=test
//
// Up in some five and three seconds. Both end with the test, also one that is killed. Methods throw std::runtime_error with the
// server's words. Not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/http_ask.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace glintfs::testing {

// A UUID that depends on `text` alone.
std::string UuidFor(const std::string& text);

class Keystone {
 public:
  static std::unique_ptr<Keystone> Start();

  std::string url() const;  // "http://127.0.0.1:PORT/v3"
  // Of a user "demo" in the project "demo" of the default domain, who is a member there; and of "admin".
  static const std::string& demo_password();
  static const std::string& admin_password();

  // A service at `url` for all three interfaces, in RegionOne.
  void AddService(const std::string& type, const std::string& url);
  // For the catalogue of one region and interface.
  void AddEndpoint(const std::string& type, const std::string& region, const std::string& interface, const std::string& url);
  void SetPassword(const std::string& user, const std::string& password);
  struct Credential {
    std::string id, secret;
  };
  Credential AddApplicationCredential(const std::string& name, const std::string& role = "member");  // of demo
  std::string Token(const std::string& user);                    // "demo" or "admin", in the project of that name
  // Every token given so far is refused from now on.
  void ExpireTokens();

  // A clouds.yaml, readable by nobody else, with the clouds "test" (demo), "wrong" (demo with another password) and "admin".
  void WriteClouds(const std::string& path) const;
  static const std::string& wrong_password();

  void Stop();
  void Restart();
  void Freeze();
  void Thaw();

 private:
  Keystone() = default;
  void Spawn();
  void WriteKeys();
  HttpAnswer Admin(const std::string& method, const std::string& path, const std::string& body = "");
  std::string Made(const std::string& path, const std::string& kind, const std::string& body);  // the id
  std::string UserId(const std::string& user);

  TempDir dir_;
  int port_ = 0;
  std::map<std::string, std::string> services_;  // type → id
  std::unique_ptr<Process> process_;
};

struct GlanceOptions {
  const Keystone* keystone = nullptr;  // null: nobody has to log in
  Keystone* catalog = nullptr;         // where it is entered as "image"
  // Where data goes: lines of the section of the one store, which is the file store of a directory when there are none.
  std::vector<std::string> store{};
  std::string store_type = "file";  // file | rbd | s3
  std::vector<std::string> environment{};
  // Middleware beside the login's: "caching", "cachemanagement".
  std::string flavor{};
  std::vector<std::string> defaults{};  // lines of [DEFAULT]
  std::string policy{};                 // rules in YAML that differ from the defaults
  bool lock_path = true;                // false: where the rest of the settings has it
  // Whose database is used instead of one of its own; must outlive this one. Images of the one are then images of the other.
  const class Glance* same_database = nullptr;
  std::optional<uid_t> user{};      // who runs it; its files are given to him
  std::vector<std::string> within{};  // a command that is given the server's command line and executes it
};

struct GlanceImage {
  std::string id, name;
  std::string disk_format = "raw";
  std::string visibility = "shared";
};

class Glance {
 public:
  static std::unique_ptr<Glance> Start(const GlanceOptions& options);

  int port() const { return port_; }
  std::string url() const;  // "http://127.0.0.1:PORT"

  // As a client does it: an entry, then its data. `token` "" where nobody has to log in.
  void Create(const GlanceImage& image, const std::string& token = "");
  void Upload(const GlanceImage& image, const std::string& bytes, const std::string& token = "");
  void UploadFile(const GlanceImage& image, const std::string& path, const std::string& token = "");
  HttpAnswer Download(const std::string& id, const std::string& range = "", const std::string& token = "");
  HttpAnswer Request(const std::string& method, const std::string& path, const std::string& token = "",
                     const std::string& body = "");

  // Images that somebody else put into the store: a file of the file store and rows of the database. `hash` tells whether Glance
  // knows their checksums.
  struct Planted {
    std::string id, name;
    uint64_t size = 0;
    std::string md5, sha512;  // empty: none
  };
  void Plant(const std::vector<Planted>& images, const std::string& owner);
  // Removes what Glance keeps of an image that was deleted, as `glance-manage db purge` does.
  void Purge(const std::string& id);
  std::string FileOf(const std::string& id) const;  // in the file store
  std::string datadir() const { return dir_ / "images"; }

  // One of glance-cache-*, with this Glance's settings.
  CommandResult Tool(std::vector<std::string> argv) const;
  std::string LogText() const;

  void Stop();
  void Restart();
  void Freeze();
  void Thaw();

 private:
  Glance() = default;
  void WriteConf(const GlanceOptions& options);
  void Spawn();
  void Sql(const std::vector<std::string>& statements);

  TempDir dir_;
  int port_ = 0;
  std::string database_;
  std::vector<std::string> environment_, within_;
  std::optional<uid_t> user_;
  std::unique_ptr<Process> process_;
};

}  // namespace glintfs::testing
