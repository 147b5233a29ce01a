// The control API over TCP: addresses, tokens, limits.
#include <thread>

#include "tests/control/tcp_fixture.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

TEST(TcpAddressTest, TakesAddressesAndPorts) {
  for (const char* text : {"127.0.0.1:9393", "0.0.0.0:0", "[::1]:9393", "[::]:65535", "192.0.2.7:80"}) {
    const auto address = ParseTcpAddress(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->Text(), text);
  }
  EXPECT_TRUE(ParseTcpAddress("127.8.9.1:1")->loopback());
  EXPECT_TRUE(ParseTcpAddress("[::1]:1")->loopback());
  EXPECT_TRUE(ParseTcpAddress("[::ffff:127.0.0.1]:1")->loopback());
  EXPECT_FALSE(ParseTcpAddress("0.0.0.0:1")->loopback());
  EXPECT_FALSE(ParseTcpAddress("[::]:1")->loopback());
  EXPECT_FALSE(ParseTcpAddress("128.0.0.1:1")->loopback());
}

TEST(TcpAddressTest, RefusesTheRestAndSaysWhatItTakes) {
  for (const char* text : {"", ":", "9393", ":9393", "localhost:9393", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536",
                           "127.0.0.1:-1", "127.0.0.1:+1", "::1:9393", "[::1]", "[::1]:", "[]:1", "[::1:1", "[127.0.0.1]:1",
                           "1.2.3:4", "[fe80::1%none]:1", "127.0.0.1 :1"}) {
    const auto address = ParseTcpAddress(text);
    ASSERT_FALSE(address) << text;
    EXPECT_EQ(address.error().code, Errc::kInvalid);
    EXPECT_NE(address.error().message.find("127.0.0.1:9393"), std::string::npos);
  }
}

TEST(TcpListenerTest, APortIsListenedOnOnce) {
  auto first = TcpListener::Listen(ParseTcpAddress("127.0.0.1:0").value());
  ASSERT_TRUE(first);
  EXPECT_NE(first->address().Text(), "127.0.0.1:0");
  const auto second = TcpListener::Listen(first->address());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kBusy);
  EXPECT_NE(second.error().message.find(first->address().Text()), std::string::npos);
  const auto elsewhere = TcpListener::Listen(ParseTcpAddress("192.0.2.7:0").value());
  ASSERT_FALSE(elsewhere);
  EXPECT_EQ(elsewhere.error().code, Errc::kInvalid);
}

TEST_F(TcpTest, ATokenOpensWhatTheUnixSocketHas) {
  StartTcp(Tcp());
  for (const char* target : {"/", "/versions", "/v1/status", "/v2/cache", "/metrics"}) {
    const int with = AskTcp("GET", target, TokenHeader()).status;
    EXPECT_EQ(with, Ask("GET", target).status) << target;
    EXPECT_LT(with, 400) << target;
    EXPECT_EQ(AskTcp("GET", target, "").status, 401) << target;
  }
  EXPECT_EQ(AskTcp("PUT", "/v2/cache/a", TokenHeader()).status, 202);
  EXPECT_EQ(AskTcp("PUT", "/v2/cache/b", "").status, 401);
  EXPECT_EQ(AskTcp("HEAD", "/v1/status", TokenHeader()).status, 200);
  EXPECT_EQ(service_.calls(), std::vector<std::string>{"queue a"});
}

TEST_F(TcpTest, TheTokenMayComeAsBearer) {
  StartTcp(Tcp());
  EXPECT_EQ(AskTcp("GET", "/metrics", "Authorization: Bearer " + std::string(kToken) + "\r\n").status, 200);
  EXPECT_EQ(AskTcp("GET", "/metrics", "authorization: bearer " + std::string(kToken) + "\r\n").status, 200);
  EXPECT_EQ(AskTcp("GET", "/metrics", "Authorization: Basic " + std::string(kToken) + "\r\n").status, 401);
  EXPECT_EQ(AskTcp("GET", "/metrics", "Authorization: Bearer\r\n").status, 401);
}

TEST_F(TcpTest, WrongTokensAre401) {
  StartTcp(Tcp());
  const std::string token = kToken;
  for (const std::string& wrong : {std::string("x"), token + "x", token.substr(1), token.substr(0, token.size() - 1), std::string(),
                                   "X" + token.substr(1), token + " " + token, std::string("\x80\xff", 2) + token,
                                   std::string(9000, 'a'), "\"" + token + "\""}) {
    const RawReply reply = AskTcp("GET", "/v1/status", TokenHeader(wrong));
    EXPECT_EQ(reply.status, 401) << wrong.substr(0, 60);
    ASSERT_TRUE(reply.headers.contains("www-authenticate"));
    EXPECT_EQ(reply.headers.at("www-authenticate"), "Bearer realm=\"glintfs\"");
    EXPECT_EQ(reply.headers.at("connection"), "close");
    EXPECT_EQ(Json(reply)["error"]["code"], 401);
    EXPECT_EQ(reply.body.find(token), std::string::npos);
  }
  EXPECT_EQ(AskTcp("GET", "/v1/status", TokenHeader(std::string(20000, 'a'))).status, 431);
}

TEST_F(TcpTest, SeveralTokensAre400EvenWhenEqual) {
  StartTcp(Tcp());
  EXPECT_EQ(AskTcp("GET", "/v1/status", TokenHeader() + TokenHeader()).status, 400);
  EXPECT_EQ(AskTcp("GET", "/v1/status", TokenHeader("wrong") + TokenHeader()).status, 400);
  EXPECT_EQ(AskTcp("GET", "/v1/status", TokenHeader() + "Authorization: Bearer " + kToken + "\r\n").status, 400);
}

TEST_F(TcpTest, HeadersCannotBeInjected) {
  StartTcp(Tcp());
  // Folded lines, bare line breaks, NUL: never the token, never a second header.
  for (const std::string& bytes : {"X-Auth-Token: wrong\r\n " + std::string(kToken) + "\r\n", "X-Auth-Token: wrong\nX-Auth-Token: " + std::string(kToken) + "\r\n",
                                   std::string("X-Auth-Token: \0", 15) + kToken + "\r\n", "X-Other: a\rX-Auth-Token: " + std::string(kToken) + "\r\n",
                                   "X-Auth-Token : " + std::string(kToken) + "\r\n"}) {
    const int status = AskTcp("GET", "/v1/status", bytes).status;
    EXPECT_TRUE(status == 400 || status == 401) << status << " " << bytes;
  }
  // What a request says of itself does not come back as a header or a link of ours.
  const RawReply reply = AskTcp("GET", "/nothing%0d%0aX-Evil:%201", TokenHeader());
  EXPECT_EQ(reply.status, 404);
  EXPECT_FALSE(reply.headers.contains("x-evil"));
}

TEST_F(TcpTest, EveryRequestOfAConnectionNeedsTheToken) {
  StartTcp(Tcp());
  RawClient client = Connect();
  client.Send(RequestText("GET", "/v1/status", TokenHeader()) + RequestText("PUT", "/v2/cache/a", TokenHeader("wrong")) +
              RequestText("PUT", "/v2/cache/b", TokenHeader()));
  EXPECT_EQ(client.Receive().value_or(RawReply{}).status, 200);
  EXPECT_EQ(client.Receive().value_or(RawReply{}).status, 401);
  EXPECT_TRUE(client.WaitForEnd());
  EXPECT_TRUE(service_.calls().empty());
}

TEST_F(TcpTest, SighupTakesAnotherTokenAndKeepsTheOldOneWhenThereIsNone) {
  StartTcp(Tcp());
  RawClient open = Connect();
  open.Send(RequestText("GET", "/v1/status", TokenHeader()));
  ASSERT_EQ(open.Receive().value_or(RawReply{}).status, 200);
  WriteToken("another-token-of-some-length\n");
  server_->Reload();
  EXPECT_EQ(AskTcp("GET", "/v1/status", TokenHeader()).status, 401);
  EXPECT_EQ(AskTcp("GET", "/v1/status", TokenHeader("another-token-of-some-length")).status, 200);
  open.Send(RequestText("GET", "/v1/status", TokenHeader()));
  EXPECT_EQ(open.Receive().value_or(RawReply{}).status, 401) << "on a connection that was open";
  for (const char* text : {"", "\n", "short", "with blanks in the middle"}) {
    WriteToken(text);
    server_->Reload();
    EXPECT_EQ(AskTcp("GET", "/v1/status", TokenHeader("another-token-of-some-length")).status, 200) << text;
  }
}

TEST_F(TcpTest, WithoutAUsableTokenItDoesNotStart) {
  TcpControlOptions tcp = Tcp();
  for (const char* text : {"", "\n", "too-short", "not printable \x01 at all", "has blanks in its middle"}) {
    WriteToken(text);
    const auto checked = CheckTcpControl(tcp);
    ASSERT_FALSE(checked) << text;
    EXPECT_EQ(checked.error().code, Errc::kInvalid);
    EXPECT_NE(checked.error().message.find("control_token_file=" + tcp.token_file), std::string::npos);
    EXPECT_FALSE(ControlServer::Start({dir_ / "control.sock", std::nullopt, {}, tcp}, service_));
  }
  tcp.token_file = dir_ / "missing";
  EXPECT_FALSE(CheckTcpControl(tcp));
  tcp.token_file = "";
  EXPECT_FALSE(CheckTcpControl(tcp)) << "nobody would have to show who he is";
}

TEST_F(TcpTest, Ipv6) {
  StartTcp(Tcp("[::1]"));
  EXPECT_EQ(server_->tcp_address().substr(0, 6), "[::1]:");
  EXPECT_EQ(AskTcp("GET", "/v1/status", TokenHeader()).status, 200);
  EXPECT_EQ(AskTcp("GET", "/v1/status", "").status, 401);
}

TEST_F(TcpTest, WithoutAUnixSocket) {
  auto started = ControlServer::Start({"", std::nullopt, {}, Tcp()}, service_);
  ASSERT_TRUE(started) << started.error().message;
  server_ = std::move(started).value();
  EXPECT_EQ(AskTcp("GET", "/v1/status", TokenHeader()).status, 200);
}

TEST_F(TcpTest, APortThatIsTakenIsSaid) {
  StartTcp(Tcp());
  TcpControlOptions other = Tcp();
  other.address = ParseTcpAddress(server_->tcp_address()).value();
  const auto second = ControlServer::Start({"", std::nullopt, {}, other}, service_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kBusy);
}

TEST_F(TcpTest, ConnectionsHaveALimitThatLeavesTheUnixSocketAlone) {
  HttpLimits limits;
  limits.spare_time = limits.idle_time;  // none gives way
  StartTcp(Tcp(), limits);
  std::vector<RawClient> open;
  for (size_t i = 0; i < HttpLimits().connections; ++i) {
    open.push_back(Connect());
    open.back().Send(RequestText("GET", "/v1/status", TokenHeader()));
    ASSERT_EQ(open.back().Receive().value_or(RawReply{}).status, 200) << i;
  }
  const RawReply refused = AskTcp("GET", "/v1/status", TokenHeader());
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(Ask("GET", "/v1/status").status, 200);
  open.pop_back();
  EXPECT_TRUE(WaitFor([&] { return AskTcp("GET", "/v1/status", TokenHeader()).status == 200; }));
}

TEST_F(TcpTest, ASlowRequestIs408) {
  HttpLimits limits;
  limits.request_time = std::chrono::milliseconds(200);
  StartTcp(Tcp(), limits);
  RawClient client = Connect();
  client.Send("GET /v1/status HTTP/1.1\r\n");
  EXPECT_EQ(client.Receive().value_or(RawReply{}).status, 408);
  EXPECT_TRUE(client.WaitForEnd());
}

TEST_F(TcpTest, StopEndsOpenConnections) {
  StartTcp(Tcp());
  RawClient client = Connect();
  client.Send(RequestText("GET", "/v1/status", TokenHeader()));
  ASSERT_EQ(client.Receive().value_or(RawReply{}).status, 200);
  server_->Stop();
  EXPECT_TRUE(client.WaitForEnd());
  EXPECT_THROW(Connect(), std::runtime_error);
}

}  // namespace
}  // namespace glintfs::testing
