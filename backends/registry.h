// Scheme → backend. A new backend is one folder and one line in registry.cc.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backends/backend.h"

namespace glintfs {

// rbd and rados. Empty texts: what Ceph's own tools would take.
struct CephOptions {
  std::string conf;     // path of ceph.conf
  std::string keyring;  // path
  std::string id;       // "glance" is client.glance
  std::string cluster;  // name
  bool rbd_head = false;  // read the head of images that have no snapshot, with its changing version
};

// s3. Empty texts: what the AWS tools would take from the environment and their files.
struct S3Options {
  std::string endpoint;          // "http://host:port"; empty: AWS
  std::string addressing = "auto";  // auto | path | virtual: the bucket in the path or in the host name
  std::string profile;           // section of the credentials file
  std::string credentials_file;  // path
  bool anonymous = false;        // sign nothing
};

// glance and swift. Empty texts: from $OS_CLOUD and clouds.yaml, else from the OS_* variables.
struct OpenStackOptions {
  std::string cloud;        // entry of clouds.yaml
  std::string clouds_file;  // path of clouds.yaml
  std::string interface;    // public (default) | internal | admin
  bool names = false;       // glance: by-name/ beside the ids
};

// Settings for backends. Durations are wall-clock limits; all have the defaults of fs/options.cc.
struct BackendOptions {
  Nanos connect_timeout = std::chrono::seconds(10);
  Nanos first_byte_timeout = std::chrono::seconds(20);
  // A transfer that moves less than low_speed_limit bytes/s for low_speed_time is cut off and tried again. Time the
  // sink spends (a rate limit, a full disk) does not count.
  uint64_t low_speed_limit = 1024;
  Nanos low_speed_time = std::chrono::seconds(20);
  // One fetch, with all its retries, gives up when this long has passed without a single new byte.
  Nanos fetch_deadline = std::chrono::seconds(60);
  // One Stat, List or FindChecksum, with all its retries.
  Nanos ask_deadline = std::chrono::seconds(15);
  int retries = 4;  // attempts after the first

  std::string ca_file;        // PEM; empty: the system's
  std::string user_file;      // file with "user:password" (http basic auth)
  std::string token_file;     // file with a bearer token
  std::string listing = "auto";  // http: auto | none
  bool checksums = true;      // look for sidecar files
  std::string region;         // s3, glance, swift
  CephOptions ceph;
  S3Options s3;
  OpenStackOptions openstack;
  int max_parallel = 16;
};

// The backend for `source` ("http://host/images/", "dir:///srv/images"), wrapped in Retrying and, where it makes sense,
// sidecar checksums. Contacts nothing. kInvalid with a message that names the known schemes for an unknown one, and for
// a source that does not parse; credentials inside the URL are refused (they would show in ps).
Result<std::unique_ptr<Backend>> MakeBackend(std::string_view source, const BackendOptions& options);

// "dir", "http", "https", for messages and the manual.
std::vector<std::string> KnownSchemes();

}  // namespace glintfs
