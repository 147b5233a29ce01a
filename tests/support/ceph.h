// Ceph: a real monitor and OSD on loopback, with cephx on, as child processes of the test.
//
//   auto ceph = Ceph::Start();
//   ceph->MakePool("images", "rbd");
//   ceph->AddUser("glance", {"mon", "profile rbd", "osd", "profile rbd-read-only pool=images"});
//   ceph->Run({"rbd", "ls", "images"});               // as client.admin
//
// Up in about three seconds. The OSD keeps its objects in memory and writes them to a file when it is stopped, so 2 GiB of them is
// plenty. ceph.conf has the key of client.ID at DIRECTORY/client.ID.keyring, where AddUser puts it: programs of a test need no more
// than the path of ceph.conf and an id. Not thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace glintfs::testing {

class Ceph {
 public:
  // Throws std::runtime_error with Ceph's own words when it does not come up.
  static std::unique_ptr<Ceph> Start();
  ~Ceph();  // stops it

  std::string conf() const;                          // path of ceph.conf
  std::string directory() const;                     // for files of daemons that belong to it (radosgw)
  std::string keyring(const std::string& id) const;  // path of the key file of client.ID: "admin", or one of AddUser

  void MakePool(const std::string& name, const std::string& application);  // "rbd", "rgw", "glintfs"; one placement group
  // Makes client.ID with these capabilities (as `ceph auth get-or-create` takes them) and its keyring file.
  void AddUser(const std::string& id, const std::vector<std::string>& capabilities);

  // Runs a command with -c added; it is client.admin unless it says otherwise. Throws unless it succeeds.
  CommandResult Run(std::vector<std::string> argv);
  // A command to the monitor, in JSON, without the second that the `ceph` program takes; its output.
  std::string Command(const std::string& json);

  void Stop();      // monitor and OSD end; both keep what they hold
  void Restart();   // both again; returns once they serve
  void Freeze();    // SIGSTOP to the OSD and the monitor
  void Thaw();

 private:
  Ceph();
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace glintfs::testing
