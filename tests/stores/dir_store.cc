// The contract of backends for a local directory, and for the same directory behind nginx.
#include "tests/stores/dir_store.h"

#include "tests/support/nginx.h"

namespace glintfs::testing {
namespace {

constexpr char kPassword[] = "right-5f1d";

class HttpStore final : public DirStore {
 public:
  HttpStore() {
    NginxOptions options;
    options.location = "auth_basic images; auth_basic_user_file " + Write("users", std::string("glint:{PLAIN}") + kPassword + "\n") + ";";
    nginx_ = Nginx::Start(root(), options);
    user_file_ = Write("good", std::string("glint:") + kPassword);
    wrong_file_ = Write("wrong", "glint:wrong-77ab");
  }
  StoreTraits traits() const override {
    StoreTraits traits;
    traits.directories = true;
    traits.lists_dot_names = false;
    return traits;
  }
  std::string source() const override { return nginx_->url(); }
  BackendOptions options() const override {
    BackendOptions options = DirStore::options();
    options.user_file = user_file_;
    return options;
  }
  std::vector<std::string> mount_options() const override { return {"user_file=" + user_file_}; }
  std::vector<std::string> secrets() const override { return {kPassword}; }

  void Stop() override { nginx_->Stop(); }
  void Start() override { nginx_->Restart(); }
  void Freeze() override { nginx_->Freeze(); }
  void Thaw() override { nginx_->Thaw(); }
  std::optional<Access> WrongCredentials() override {
    Access access;
    access.options = options();
    access.options.user_file = wrong_file_;
    access.mount_options = {"user_file=" + wrong_file_};
    access.secret = "wrong-77ab";
    return access;
  }

 private:
  std::unique_ptr<Nginx> nginx_;
  std::string user_file_, wrong_file_;
};

std::unique_ptr<Store> MakeDirStore() { return std::make_unique<DirStore>(); }
std::unique_ptr<Store> MakeHttpStore() { return std::make_unique<HttpStore>(); }

INSTANTIATE_TEST_SUITE_P(Dir, ContractTest, ::testing::Values(&MakeDirStore));
INSTANTIATE_TEST_SUITE_P(Http, ContractTest, ::testing::Values(&MakeHttpStore));
INSTANTIATE_TEST_SUITE_P(Dir, MountContractTest, ::testing::Values(&MakeDirStore));
INSTANTIATE_TEST_SUITE_P(Http, MountContractTest, ::testing::Values(&MakeHttpStore));

}  // namespace
}  // namespace glintfs::testing
