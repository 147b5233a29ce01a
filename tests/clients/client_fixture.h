// ClientTest: a control server over a FakeService, asked by the programs that people have.
#pragma once

#include <unistd.h>

#include "tests/control/tcp_fixture.h"
#include "tests/support/process.h"

namespace glintfs::testing {

class ClientTest : public TcpTest {
 protected:
  void SetUp() override {
    service_.AddImage(MakeImage("a.img", 1000, ImageState::kComplete, 1000));
    service_.AddImage(MakeImage("dir/b c.img", 2000, ImageState::kVerified, 2000));
    service_.AddImage(MakeImage("partial.img", 2000, ImageState::kPartial, 1000));
  }

  // A program with a home directory of its own: the clients keep schemas there.
  CommandResult Run(std::vector<std::string> argv, std::vector<std::string> environment = {}) {
    // Variables that would have the clients trust other authorities than they are told.
    argv.insert(argv.begin(), {"env", "-u", "REQUESTS_CA_BUNDLE", "-u", "CURL_CA_BUNDLE", "-u", "SSL_CERT_FILE"});
    environment.insert(environment.end(), {"HOME=" + dir_.path(), "PYTHONWARNINGS=ignore"});
    return RunCommand(argv, {.environment = std::move(environment)});
  }
  std::string url() const { return (tls_ ? "https://" : "http://") + server_->tcp_address(); }
  // "glance cache-list": everything that it prints.
  CommandResult Glance(std::vector<std::string> arguments, const std::string& token = kToken, const std::vector<std::string>& more = {}) {
    std::vector<std::string> argv = {"glance", "--os-image-url", url(), "--os-auth-token", token};
    argv.insert(argv.end(), more.begin(), more.end());
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return Run(argv);
  }

  bool tls_ = false;
};

}  // namespace glintfs::testing
