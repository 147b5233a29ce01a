// S3 as radosgw speaks it.
#ifdef GLINTFS_CEPH
#include "tests/stores/s3_store.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tests/support/wait.h"

namespace glintfs::testing {

S3Store::S3Store()
    : ceph_(Ceph::Start()), gateway_(RadosGateway::Start(*ceph_)), user_(gateway_->MakeUser("images")),
      credentials_file_(WriteKeys("credentials", user_.access_key, user_.secret_key)) {
  Client().MakeBucket("images");
}

std::string S3Store::WriteKeys(const std::string& file, const std::string& access_key, const std::string& secret_key) const {
  const std::string path = dir_ / file, fresh = path + ".new";
  std::ofstream out(fresh);
  ::chmod(fresh.c_str(), 0600);
  out << "[default]\naws_access_key_id = " << access_key << "\naws_secret_access_key = " << secret_key << "\n";
  out.close();
  std::filesystem::rename(fresh, path);
  return path;
}

StoreTraits S3Store::traits() const {
  StoreTraits traits;
  traits.directories = true;
  traits.sparse_put = false;  // S3 has no holes: all the zeros would have to lie in the store
  return traits;
}

BackendOptions S3Store::OptionsWith(const std::string& credentials_file) const {
  BackendOptions options;
  options.retries = 2;
  options.region = "us-east-1";
  options.s3.endpoint = gateway_->endpoint();
  options.s3.credentials_file = credentials_file;
  return options;
}

std::vector<std::string> S3Store::mount_options() const {
  return {"endpoint=" + gateway_->endpoint(), "credentials_file=" + credentials_file_, "region=us-east-1"};
}

// What the tests were started with must not count.
std::vector<std::string> S3Store::environment() const { return {"AWS_CONFIG_FILE=" + (dir_ / "none"), "AWS_PROFILE="}; }

std::string S3Store::Put(const std::string& name, const Content& content) {
  Client().Put("images", name, content.Bytes({0, content.size}));
  return name;
}

std::vector<std::string> S3Store::PutMany(const std::vector<std::string>& names) {
  Client().PutMany("images", names);
  return names;
}

void S3Store::Remove(const std::string& name) { Client().Remove("images", name); }

std::optional<Store::Access> S3Store::WrongCredentials() {
  std::string secret = user_.secret_key;
  std::rotate(secret.begin(), secret.begin() + 7, secret.end());
  const std::string file = WriteKeys("wrong", user_.access_key, secret);
  return Access{.options = OptionsWith(file),
                .mount_options = {"endpoint=" + gateway_->endpoint(), "credentials_file=" + file, "region=us-east-1"},
                .environment = environment(),
                .secret = secret};
}

bool S3Store::ExpireCredentials() {
  const S3Client old = Client();
  const S3User refused = user_;
  user_ = gateway_->AddKey(user_.uid);
  if (!WaitFor([&] { return Client().Ask("GET", "images", "", {{"max-keys", "1"}}).status == 200; }))
    throw std::runtime_error("radosgw does not accept the new key");
  WriteKeys("credentials", user_.access_key, user_.secret_key);
  gateway_->RemoveKey(refused);
  if (!WaitFor([&] { return old.Ask("GET", "images", "", {{"max-keys", "1"}}).status == 403; }))
    throw std::runtime_error("radosgw goes on accepting a removed key");
  return true;
}

std::unique_ptr<Store> MakeS3Store() { return std::make_unique<S3Store>(); }

INSTANTIATE_TEST_SUITE_P(S3, ContractTest, ::testing::Values(&MakeS3Store));
INSTANTIATE_TEST_SUITE_P(S3, MountContractTest, ::testing::Values(&MakeS3Store));

}  // namespace glintfs::testing
#endif
