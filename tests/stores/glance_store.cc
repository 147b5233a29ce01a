// Glance with its file store, and Keystone: images of the project demo. An id stands for a name; images that are put again are
// purged before, since Glance never gives out an id twice.
#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "tests/stores/store.h"
#include "tests/support/openstack.h"

#include "tests/stores/makers.h"

namespace glintfs::testing {
namespace {

constexpr uint64_t kUploaded = 64 << 20;  // larger ones are put into the store behind Glance's back

std::string HexDigest(const EVP_MD* kind, const std::string& bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  ::EVP_Digest(bytes.data(), bytes.size(), digest, &size, kind, nullptr);
  std::string hex;
  for (unsigned i = 0; i < size; ++i) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex += {kDigits[digest[i] >> 4], kDigits[digest[i] & 15]};
  }
  return hex;
}

class GlanceStore final : public Store {
 public:
  GlanceStore() : keystone_(Keystone::Start()), glance_(Glance::Start({.keystone = keystone_.get(), .catalog = keystone_.get()})) {
    keystone_->WriteClouds(dir_ / "clouds.yaml");
    const HttpAnswer answer = Ask({.url = keystone_->url() + "/auth/projects",
                                   .headers = {"X-Auth-Token: " + keystone_->Token("demo")},
                                   .body = {},
                                   .file = {}});
    project_ = nlohmann::json::parse(answer.body).at("projects").at(0).at("id");
  }

  StoreTraits traits() const override { return {.free_names = false, .replace = false}; }
  std::string source() const override { return "glance://127.0.0.1:" + std::to_string(glance_->port()); }
  BackendOptions options() const override { return OptionsFor("test"); }
  std::vector<std::string> mount_options() const override { return MountOptionsFor("test"); }
  std::vector<std::string> secrets() const override { return {Keystone::demo_password()}; }

  std::string Put(const std::string& name, const Content& content) override {
    Remove(name);
    const std::string id = UuidFor(name);
    if (content.size <= kUploaded) {
      glance_->Upload({.id = id, .name = name}, content.Bytes({0, content.size}), keystone_->Token("demo"));
      return id;
    }
    const int fd = ::open(glance_->FileOf(id).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool written = ::ftruncate(fd, static_cast<off_t>(content.size)) == 0;
    for (const Piece& piece : content.pieces)
      written = written && ::pwrite(fd, piece.bytes.data(), piece.bytes.size(), static_cast<off_t>(piece.offset)) ==
                               static_cast<ssize_t>(piece.bytes.size());
    ::close(fd);
    if (!written) throw std::runtime_error("cannot write the file of " + name);
    glance_->Plant({{.id = id, .name = name, .size = content.size, .md5 = {}, .sha512 = {}}}, project_);
    return id;
  }

  // An upload takes a third of a second.
  std::vector<std::string> PutMany(const std::vector<std::string>& names) override {
    const std::string md5 = HexDigest(::EVP_md5(), "x"), sha512 = HexDigest(::EVP_sha512(), "x");
    std::vector<Glance::Planted> images;
    std::vector<std::string> ids;
    for (const std::string& name : names) {
      ids.push_back(UuidFor(name));
      std::ofstream(glance_->FileOf(ids.back())) << "x";
      images.push_back({.id = ids.back(), .name = name, .size = 1, .md5 = md5, .sha512 = sha512});
    }
    glance_->Plant(images, project_);
    return ids;
  }

  void Remove(const std::string& name) override {
    const std::string id = UuidFor(name);
    const HttpAnswer answer = glance_->Request("DELETE", "/v2/images/" + id, keystone_->Token("demo"));
    if (answer.status != 204 && answer.status != 404) throw std::runtime_error("delete " + name + ": " + answer.body);
    glance_->Purge(id);
  }

  void Stop() override {
    glance_->Stop();
    keystone_->Stop();
  }
  void Start() override {
    keystone_->Restart();
    glance_->Restart();
  }
  void Freeze() override {
    glance_->Freeze();
    keystone_->Freeze();
  }
  void Thaw() override {
    keystone_->Thaw();
    glance_->Thaw();
  }

  std::optional<Access> WrongCredentials() override {
    return Access{.options = OptionsFor("wrong"),
                  .mount_options = MountOptionsFor("wrong"),
                  .environment = {},
                  .secret = Keystone::wrong_password()};
  }

  bool ExpireCredentials() override {
    keystone_->ExpireTokens();
    return true;
  }

 private:
  BackendOptions OptionsFor(const std::string& cloud) const {
    BackendOptions options;
    options.openstack.clouds_file = dir_ / "clouds.yaml";
    options.openstack.cloud = cloud;
    options.ask_deadline = std::chrono::seconds(60);  // with one worker process, questions wait behind downloads
    options.retries = 2;
    return options;
  }
  std::vector<std::string> MountOptionsFor(const std::string& cloud) const {
    return {"clouds_file=" + (dir_ / "clouds.yaml"), "cloud=" + cloud};
  }

  TempDir dir_;
  std::unique_ptr<Keystone> keystone_;
  std::unique_ptr<Glance> glance_;
  std::string project_;
};

}  // namespace

std::unique_ptr<Store> MakeGlanceStore() { return std::make_unique<GlanceStore>(); }

INSTANTIATE_TEST_SUITE_P(Glance, ContractTest, ::testing::Values(&MakeGlanceStore));
INSTANTIATE_TEST_SUITE_P(Glance, MountContractTest, ::testing::Values(&MakeGlanceStore));

}  // namespace glintfs::testing
