// CephIo: a store's own connection to its cluster, as client.admin, for what the programs of Ceph take too long for.
#pragma once

#include <fmt/format.h>
#include <rados/librados.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>

#include "tests/stores/store.h"
#include "tests/support/ceph.h"

namespace glintfs::testing {

// Throws when a call of Ceph fails.
inline int Must(int result, const std::string& what) {
  if (result < 0) throw std::runtime_error(fmt::format("{}: {}", what, std::strerror(-result)));
  return result;
}

// Thread-safe, as librados is.
class CephIo {
 public:
  CephIo(const Ceph& ceph, const std::string& pool, const std::string& name_space = "") {
    Must(::rados_create(&cluster_, "admin"), "rados_create");
    Must(::rados_conf_read_file(cluster_, ceph.conf().c_str()), "ceph.conf");
    for (const char* option : {"client_mount_timeout", "rados_mon_op_timeout", "rados_osd_op_timeout"})
      ::rados_conf_set(cluster_, option, "60");
    ::rados_conf_set(cluster_, "rbd_cache", "false");
    Must(::rados_connect(cluster_), "connecting to ceph");
    Must(::rados_ioctx_create(cluster_, pool.c_str(), &io_), "pool " + pool);
    ::rados_ioctx_set_namespace(io_, name_space.c_str());
  }
  ~CephIo() {
    if (io_ != nullptr) ::rados_ioctx_destroy(io_);
    ::rados_shutdown(cluster_);
  }
  CephIo(const CephIo&) = delete;
  CephIo& operator=(const CephIo&) = delete;

  rados_ioctx_t get() const { return io_; }

 private:
  rados_t cluster_ = nullptr;
  rados_ioctx_t io_ = nullptr;
};

// What the stores of rbd and rados have in common: the cluster, a pool, a user who may only read it, and one with a wrong key.
class CephStore : public Store {
 public:
  CephStore(const std::string& application, const std::string& capability) : ceph_(Ceph::Start()) {
    ceph_->MakePool("images", application);
    ceph_->AddUser("reader", {"mon", application == "rbd" ? "profile rbd" : "allow r", "osd", capability + " pool=images"});
    // A key that is good, but somebody else's.
    ceph_->AddUser("other", {"mon", "allow r"});
    std::string wrong = ReadText(ceph_->keyring("other"));
    wrong.replace(wrong.find("client.other"), 12, "client.reader");
    wrong_key_ = wrong.substr(wrong.find("key = ") + 6);
    wrong_key_.resize(wrong_key_.find('\n'));
    wrong_keyring_ = ceph_->directory() + "/wrong.keyring";
    WriteSecret(wrong_keyring_, wrong);
  }

  BackendOptions options() const override {
    BackendOptions options;
    options.ceph.conf = ceph_->conf();
    options.ceph.id = "reader";
    options.retries = 2;
    return options;
  }
  std::vector<std::string> mount_options() const override { return {"ceph_conf=" + ceph_->conf(), "ceph_id=reader"}; }

  std::vector<std::string> secrets() const override {
    const std::string text = ReadText(ceph_->keyring("reader"));
    const std::string key = text.substr(text.find("key = ") + 6);
    return {key.substr(0, key.find('\n'))};
  }

  void Stop() override {
    io_.reset();
    ceph_->Stop();
  }
  void Start() override { ceph_->Restart(); }
  void Freeze() override { ceph_->Freeze(); }
  void Thaw() override { ceph_->Thaw(); }

  std::optional<Access> WrongCredentials() override {
    Access access{.options = options(), .mount_options = mount_options(), .environment = {}, .secret = wrong_key_};
    access.options.ceph.keyring = wrong_keyring_;
    access.mount_options.push_back("ceph_keyring=" + wrong_keyring_);
    return access;
  }

  Ceph& ceph() { return *ceph_; }
  rados_ioctx_t io() {
    if (!io_) io_ = std::make_unique<CephIo>(*ceph_, "images");
    return io_->get();
  }

 private:
  static std::string ReadText(const std::string& path) {
    std::ifstream in(path);
    return std::string(std::istreambuf_iterator<char>(in), {});
  }
  static void WriteSecret(const std::string& path, const std::string& text) {
    std::ofstream out(path);
    std::filesystem::permissions(path, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    out << text;
    if (!out.flush()) throw std::runtime_error("cannot write " + path);
  }

  std::unique_ptr<Ceph> ceph_;
  std::unique_ptr<CephIo> io_;
  std::string wrong_keyring_, wrong_key_;
};

}  // namespace glintfs::testing
