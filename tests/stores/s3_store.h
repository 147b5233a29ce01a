// The store of the S3 contract tests, for the tests of s3_test.cc too.
#pragma once

#include <memory>
#include <string>

#include "tests/stores/store.h"
#include "tests/support/radosgw.h"
#include "tests/support/s3_client.h"
#include "tests/support/temp_dir.h"

namespace glintfs::testing {

// radosgw on a Ceph of its own, with a user and the bucket "images".
class S3Store final : public Store {
 public:
  S3Store();

  StoreTraits traits() const override;
  std::string source() const override { return "s3://images"; }
  BackendOptions options() const override { return OptionsWith(credentials_file_); }
  std::vector<std::string> mount_options() const override;
  std::vector<std::string> environment() const override;
  std::vector<std::string> secrets() const override { return {user_.secret_key}; }

  std::string Put(const std::string& name, const Content& content) override;
  std::vector<std::string> PutMany(const std::vector<std::string>& names) override;
  void Remove(const std::string& name) override;

  void Stop() override { gateway_->Stop(); }
  void Start() override { gateway_->Restart(); }
  void Freeze() override { gateway_->Freeze(); }
  void Thaw() override { gateway_->Thaw(); }

  std::optional<Access> WrongCredentials() override;
  bool ExpireCredentials() override;

  RadosGateway& gateway() { return *gateway_; }
  // With the keys that the credentials file holds now.
  S3Client Client() const { return S3Client(gateway_->endpoint(), user_.access_key, user_.secret_key); }
  const S3User& user() const { return user_; }
  // A file of credentials with these keys, and its path.
  std::string WriteKeys(const std::string& file, const std::string& access_key, const std::string& secret_key) const;
  BackendOptions OptionsWith(const std::string& credentials_file) const;

 private:
  TempDir dir_;
  std::unique_ptr<Ceph> ceph_;
  std::unique_ptr<RadosGateway> gateway_;
  S3User user_;
  std::string credentials_file_;
};

std::unique_ptr<Store> MakeS3Store();

}  // namespace glintfs::testing
