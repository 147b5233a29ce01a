// HTTPS and HTTP/2: nginx with a certificate of an authority made for the test.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "tests/backends/fetching.h"
#include "tests/support/nginx.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

class HttpTlsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Shell("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test-authority "
          "-keyout ca.key -out ca.pem");
    Shell("openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -keyout server.key "
          "-out server.csr");
    PutFile(dir_ / "ext", "subjectAltName=IP:127.0.0.1,DNS:localhost\n");
    Shell(
        "openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out "
        "server.pem");
    std::filesystem::create_directory(dir_ / "root");
    PutFile(dir_ / "root/a.img", content_);
    NginxOptions options;
    options.certificate = dir_ / "server.pem";
    options.key = dir_ / "server.key";
    nginx_ = Nginx::Start(dir_ / "root", options);
  }
  void Shell(const std::string& command) {
    ASSERT_EQ(std::system(("cd " + dir_.path() + " && " + command + " 2>>log").c_str()), 0) << command;
  }

  const std::string content_ = PatternBytes(4 << 20);
  TempDir dir_;
  std::unique_ptr<Nginx> nginx_;
};

TEST_F(HttpTlsTest, AGivenAuthorityIsTrustedAndHttp2IsUsed) {
  BackendOptions options = QuickOptions();
  options.ca_file = dir_ / "ca.pem";
  auto backend = Make(nginx_->url(), options);
  auto info = backend->Stat("a.img", {});
  ASSERT_OK(info);
  auto reader = backend->Open(info->image, {});
  ASSERT_OK(reader);
  for (int i = 0; i < 4; ++i) {
    const Extent extent{static_cast<uint64_t>(i) << 20, 1 << 20};
    auto text = FetchText(**reader, extent);
    ASSERT_OK(text);
    EXPECT_EQ(*text, content_.substr(extent.offset, extent.length));
  }
  ASSERT_TRUE(WaitFor([&] { return nginx_->Requests("/a.img") == 5; }));
  for (const Nginx::LogEntry& entry : nginx_->AccessLog()) {
    EXPECT_EQ(entry.protocol, "HTTP/2.0");
    EXPECT_EQ(entry.connection, nginx_->AccessLog()[0].connection) << "one connection, kept alive";
  }
}

TEST_F(HttpTlsTest, ParallelFetchesAndEnough) {
  BackendOptions options = QuickOptions();
  options.ca_file = dir_ / "ca.pem";
  auto backend = Make(nginx_->url(), options);
  auto info = backend->Stat("a.img", {});
  ASSERT_OK(info);
  auto reader = backend->Open(info->image, {});
  ASSERT_OK(reader);
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      const Extent extent{i * 100'000, content_.size() - i * 100'000};
      StringSink sink(i % 2 == 0 ? 50'000 : SIZE_MAX);
      EXPECT_EQ(CodeOf((*reader)->Fetch(extent, sink, {})), "ok");
      EXPECT_EQ(sink.text, content_.substr(extent.offset, sink.text.size()));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(HttpTlsTest, AConnectionThatDidNotAnswerIsNotUsedAgain) {
  BackendOptions options = QuickOptions();
  options.ca_file = dir_ / "ca.pem";
  options.ask_deadline = std::chrono::seconds(2);
  auto backend = Make(nginx_->url(), options);
  ASSERT_OK(backend->Stat("a.img", {}));
  nginx_->Freeze();
  EXPECT_EQ(CodeOf(backend->Stat("a.img", {})), "timed out");
  nginx_->Thaw();
  ASSERT_TRUE(WaitFor([&] { return backend->Stat("a.img", {}).has_value(); }));
  const auto is_new = [&](const Nginx::LogEntry& entry) {
    return entry.connection != nginx_->AccessLog().front().connection;
  };
  EXPECT_TRUE(WaitFor(
      [&] {
        const auto log = nginx_->AccessLog();
        return std::any_of(log.begin(), log.end(), is_new);
      },
      std::chrono::seconds(10)));
}

TEST_F(HttpTlsTest, AnUnknownAuthorityIsNotTrusted) {
  auto info = Make(nginx_->url())->Stat("a.img", {});
  EXPECT_EQ(CodeOf(info), "unavailable");
  EXPECT_NE(info.error().message.find("ca_file="), std::string::npos) << info.error().message;
  BackendOptions options = QuickOptions();
  options.ca_file = dir_ / "missing.pem";
  const auto refused = MakeBackend(nginx_->url(), options);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("missing.pem"), std::string::npos) << refused.error().message;
}

}  // namespace
}  // namespace glintfs::testing
