// TcpTest: a control server over a FakeService on a Unix socket and on TCP, where a token is needed.
#pragma once

#include <sys/stat.h>

#include <fstream>

#include "control/tcp_listener.h"
#include "tests/control/control_test.h"

namespace glintfs::testing {

inline constexpr char kToken[] = "0123456789abcdef-sesame";

class TcpTest : public ControlTest {
 protected:
  void WriteToken(const std::string& text) {
    std::ofstream(dir_ / "token", std::ios::trunc) << text;
    ::chmod((dir_ / "token").c_str(), 0600);
  }
  // Options that listen on any free port of `host` for those with kToken.
  TcpControlOptions Tcp(const std::string& host = "127.0.0.1") {
    WriteToken(std::string(kToken) + "\n");
    TcpControlOptions tcp;
    tcp.address = ParseTcpAddress(host + ":0").value();
    tcp.token_file = dir_ / "token";
    return tcp;
  }
  void StartTcp(const TcpControlOptions& tcp, const HttpLimits& limits = {}) {
    auto started = ControlServer::Start({dir_ / "control.sock", std::nullopt, limits, tcp}, service_);
    ASSERT_TRUE(started) << started.error().message;
    server_ = std::move(started).value();
  }
  RawClient Connect() { return RawClient::OverTcp(server_->tcp_address()); }
  static std::string TokenHeader(const std::string& token = kToken) { return "X-Auth-Token: " + token + "\r\n"; }
  RawReply AskTcp(const std::string& verb, const std::string& target, const std::string& headers, const std::string& body = "") {
    RawClient client = Connect();
    client.Send(RequestText(verb, target, headers, body));
    return client.Receive(verb == "HEAD").value_or(RawReply{});
  }
};

}  // namespace glintfs::testing
