// The contract on a real Swift, logged in through TempAuth as clouds.yaml says.
//
// What is sparse is a static large object that names one segment of zeros as often as it takes. Many images are unpacked by the
// server from one upload.
#include "tests/stores/swift_store.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <thread>

#include "fs/base/percent.h"
#include "tests/stores/store.h"
#include "tests/support/temp_dir.h"

#include "tests/stores/makers.h"

namespace glintfs::testing {
namespace {

constexpr uint64_t kZeros = 16 << 20;
constexpr uint64_t kLargestPlain = 64 << 20;
constexpr char kWrongKey[] = "wrong-key-93ab";

std::string Path(const std::string& name) {
  std::string path = "/images/" + PercentEncode(name);
  for (size_t at = 0; (at = path.find("%2F", at)) != std::string::npos;) path.replace(at, 3, "/");
  return path;
}

// A member of a tar file with the content "x".
std::string TarMember(const std::string& name) {
  std::string block(1024, '\0');
  block.replace(0, name.size(), name);
  block.replace(100, 7, "0000644");
  block.replace(108, 7, "0000000");
  block.replace(116, 7, "0000000");
  block.replace(124, 11, "00000000001");
  block.replace(136, 11, "00000000000");
  block.replace(148, 8, "        ");
  block[156] = '0';
  block.replace(257, 5, "ustar");
  block.replace(263, 2, "00");
  unsigned sum = 0;
  for (size_t i = 0; i < 512; ++i) sum += static_cast<unsigned char>(block[i]);
  block.replace(148, 7, fmt::format("{:06o}", sum) + '\0');
  block[512] = 'x';
  return block;
}

class SwiftStore final : public Store {
 public:
  SwiftStore() : swift_(Swift::Start()) {
    swift_->MakeContainer("images");
    swift_->MakeContainer("segments");
    WriteCloud("good", Swift::kKey);
    WriteCloud("bad", kWrongKey);
  }

  StoreTraits traits() const override {
    StoreTraits traits;
    traits.directories = true;
    return traits;
  }
  std::string source() const override { return "swift://images"; }
  BackendOptions options() const override { return OptionsWith("good"); }
  std::vector<std::string> mount_options() const override { return {"cloud=test", "clouds_file=" + (dir_ / "good.yaml")}; }
  std::vector<std::string> secrets() const override { return {Swift::kKey}; }

  std::string Put(const std::string& name, const Content& content) override {
    if (content.size <= kLargestPlain) {
      swift_->Call("PUT", Path(name), content.Bytes({0, content.size}));
    } else {
      PutSparse(name, content);
    }
    return name;
  }

  std::vector<std::string> PutMany(const std::vector<std::string>& names) override {
    constexpr size_t kUploads = 4;
    std::vector<std::string> tars(kUploads);
    for (size_t i = 0; i < names.size(); ++i) tars[i % kUploads] += TarMember(names[i]);
    (void)swift_->Call("HEAD", "/images");  // a token for all uploads
    std::vector<std::string> answers(kUploads);
    std::vector<std::thread> threads;
    for (size_t i = 0; i < kUploads; ++i) {
      threads.emplace_back([&, i] {
        try {
          answers[i] = swift_->Call("PUT", "/images?extract-archive=tar", tars[i] + std::string(1024, '\0'),
                                    {"Accept: application/json"}).body;
        } catch (const std::exception& e) {
          answers[i] = e.what();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const std::string& answer : answers)
      if (answer.find("201 Created") == std::string::npos) throw std::runtime_error("upload of many: " + answer);
    return names;
  }

  void Remove(const std::string& name) override { swift_->Call("DELETE", Path(name)); }

  void Stop() override { swift_->Stop(); }
  void Start() override { swift_->Restart(); }
  void Freeze() override { swift_->Freeze(); }
  void Thaw() override { swift_->Thaw(); }

  std::optional<Access> WrongCredentials() override {
    Access access;
    access.options = OptionsWith("bad");
    access.mount_options = {"cloud=test", "clouds_file=" + (dir_ / "bad.yaml")};
    access.secret = kWrongKey;
    return access;
  }
  Swift& server() { return *swift_; }

  bool ExpireCredentials() override {
    swift_->ForgetTokens();
    return true;
  }

 private:
  BackendOptions OptionsWith(const std::string& cloud) const {
    BackendOptions options;
    options.retries = 2;
    options.openstack.cloud = "test";
    options.openstack.clouds_file = dir_ / (cloud + ".yaml");
    return options;
  }

  void WriteCloud(const std::string& name, const std::string& key) {
    const std::string path = dir_ / (name + ".yaml");
    std::ofstream(path) << fmt::format(
        "clouds:\n  test:\n    auth_type: v1password\n    auth:\n      auth_url: {}\n      username: {}\n      password: {}\n",
        swift_->auth_url(), Swift::kUser, key);
    std::filesystem::permissions(path, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  }

  void PutSparse(const std::string& name, const Content& content) {
    swift_->Call("PUT", "/segments/zeros", std::string(kZeros, '\0'));
    nlohmann::json segments = nlohmann::json::array();
    const auto zeros = [&](uint64_t length) {
      for (; length > 0; length -= std::min(length, kZeros)) {
        nlohmann::json segment = {{"path", "/segments/zeros"}};
        if (length < kZeros) segment["range"] = fmt::format("0-{}", length - 1);
        segments.push_back(segment);
      }
    };
    uint64_t end = 0;
    for (const Piece& piece : content.pieces) {
      zeros(piece.offset - end);
      const std::string path = fmt::format("/segments/{}-{}", PercentEncode(name), piece.offset);
      swift_->Call("PUT", path, piece.bytes);
      segments.push_back({{"path", path}});
      end = piece.offset + piece.bytes.size();
    }
    zeros(content.size - end);
    swift_->Call("PUT", Path(name) + "?multipart-manifest=put", segments.dump());
  }

  TempDir dir_;
  std::unique_ptr<Swift> swift_;
};

}  // namespace

std::unique_ptr<Store> MakeSwiftStore() { return std::make_unique<SwiftStore>(); }

INSTANTIATE_TEST_SUITE_P(Swift, ContractTest, ::testing::Values(&MakeSwiftStore));
INSTANTIATE_TEST_SUITE_P(Swift, MountContractTest, ::testing::Values(&MakeSwiftStore));

Swift& SharedSwift() { return static_cast<SwiftStore&>(SharedStore(&MakeSwiftStore)).server(); }
BackendOptions SwiftOptions() { return SharedStore(&MakeSwiftStore).options(); }

}  // namespace glintfs::testing
