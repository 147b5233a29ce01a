// The contract of backends for a local directory, and for the same directory behind nginx: what these two already kept.
#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/stores/store.h"
#include "tests/support/nginx.h"
#include "tests/support/temp_dir.h"

namespace glintfs::testing {
namespace {

class DirStore : public Store {
 public:
  DirStore() { std::filesystem::create_directory(root()); }

  StoreTraits traits() const override {
    StoreTraits traits;
    traits.directories = true;
    traits.holes = true;
    traits.breakable = false;
    return traits;
  }
  std::string source() const override { return "dir://" + root(); }
  BackendOptions options() const override {
    BackendOptions options;
    options.retries = 2;
    options.ask_deadline = options.fetch_deadline = std::chrono::seconds(2);
    options.first_byte_timeout = std::chrono::seconds(2);
    return options;
  }
  std::vector<std::string> mount_options() const override { return {}; }

  std::string Put(const std::string& name, const Content& content) override {
    const std::string path = root() + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    for (const Piece& piece : content.pieces) {
      out.seekp(static_cast<std::streamoff>(piece.offset));
      out << piece.bytes;
    }
    out.close();
    std::filesystem::resize_file(path, content.size);
    // Versions of web servers are made of whole seconds.
    const timespec times[2] = {{++seconds_, 0}, {seconds_, 0}};
    if (!out || ::utimensat(AT_FDCWD, path.c_str(), times, 0) != 0) throw std::runtime_error("cannot write " + path);
    return name;
  }
  std::vector<std::string> PutMany(const std::vector<std::string>& names) override {
    for (const std::string& name : names) Put(name, Content::Of("x"));
    return names;
  }
  void Remove(const std::string& name) override { std::filesystem::remove(root() + "/" + name); }

  void Stop() override {}
  void Start() override {}
  void Freeze() override {}
  void Thaw() override {}
  std::optional<Access> WrongCredentials() override { return std::nullopt; }

 protected:

  std::string root() const { return dir_ / "images"; }
  std::string Write(const std::string& name, const std::string& content) {
    std::ofstream(dir_ / name) << content;
    ::chmod((dir_ / name).c_str(), 0600);
    return dir_ / name;
  }

 private:
  TempDir dir_;
  time_t seconds_ = 1'700'000'000;
};

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
