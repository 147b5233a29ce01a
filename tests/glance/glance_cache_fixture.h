// A stock Glance whose image_cache_dir is a glintfs, and whose own store is a directory that the source knows nothing of.
//
//   Glance ── image_cache_dir ──▶ glintfs ── http ──▶ nginx ──▶ central/ID
//      └───── its own store ────▶ images/ID
#pragma once

#include <grp.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <sys/stat.h>

#include <filesystem>
#include <memory>
#include <string>

#include "tests/mount/harness.h"
#include "tests/support/nginx.h"
#include "tests/support/openstack.h"
#include "tests/support/wait.h"

namespace glintfs::testing {

class GlanceCacheTest : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped()) return;
    const passwd* account = ::getpwnam("glance");
    ASSERT_NE(account, nullptr) << "the package glance-api makes the user";
    user_ = account->pw_uid;
    ::chmod(source_.path().c_str(), 0755);
    nginx_ = Nginx::Start(source_.path());
  }

  static std::string MountOptions(const std::string& more = "") {
    return "layout=glance-cache,uid=glance,gid=glance,attr_ttl=1s,negative_ttl=0s,listing=none,checksums=no,ask_timeout=2s,"
           "fetch_timeout=5s,retries=1" +
           (more.empty() ? "" : "," + more);
  }
  void StartMount(const std::string& options = "") {
    mount_ = std::make_unique<GlintfsMount>(nginx_->url(), MountOptions(options));
    // Glance's user goes through it.
    ::chmod(std::filesystem::path(mount_->mountpoint()).parent_path().c_str(), 0711);
    mount_->Start();
  }

  void StartGlance(const std::string& driver, const std::string& max_size = "1000000000000", Keystone* keystone = nullptr) {
    glance_ = Glance::Start({.keystone = keystone,
                             .flavor = "cachemanagement",
                             .defaults = {"image_cache_dir = " + mount_->mountpoint(), "image_cache_driver = " + driver,
                                          "image_cache_max_size = " + max_size},
                             .lock_path = driver != "sqlite",  // which keeps its locks in the cache's directory
                             .user = user_});
    if (keystone != nullptr) token_ = keystone->Token("admin");
  }

  // An image in Glance, and in the source.
  std::string Image(const std::string& name, size_t size, bool at_source = true) {
    const std::string id = UuidFor(name), bytes = Pattern(size, static_cast<unsigned>(size));
    glance_->Upload({.id = id, .name = name}, bytes, token_);
    if (at_source) Put(id, bytes);
    return id;
  }
  std::string Bytes(const std::string& id) { return ReadFile(source_ / id); }

  // From now on what Glance's own store has is not the image.
  void SpoilOwnStore(const std::string& id) {
    WriteFile(glance_->FileOf(id), std::string(std::filesystem::file_size(glance_->FileOf(id)), '!'));
  }
  bool Serves(const std::string& id, const std::string& bytes) {
    const HttpAnswer answer = glance_->Download(id, "", token_);
    EXPECT_EQ(answer.status, bytes.empty() ? answer.status : 200) << id;
    return answer.body == bytes;
  }
  bool Serves(const std::string& id) { return Serves(id, Bytes(id)); }
  bool HasTrace() {
    const bool has = glance_->LogText().find("Traceback") != std::string::npos;
    if (has) ADD_FAILURE() << glance_->LogText();
    return has;
  }
  bool Listed(const std::string& id) {
    const auto names = Names(mount_->mountpoint());
    return std::find(names.begin(), names.end(), id) != names.end();
  }
  uint64_t ScratchBytes() {
    uint64_t bytes = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(mount_->cache() + "/scratch"))
      if (entry.is_regular_file()) bytes += entry.file_size();
    return bytes;
  }

  uid_t user_ = 0;
  std::string token_;
  std::unique_ptr<Nginx> nginx_;
  std::unique_ptr<GlintfsMount> mount_;  // after nginx_: ends before it
  std::unique_ptr<Glance> glance_;
};

}  // namespace glintfs::testing
