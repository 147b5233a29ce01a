// The control API over TLS.
#include <openssl/ssl.h>

#include "tests/control/subprocess.h"
#include "tests/control/tcp_fixture.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

class TlsTest : public TcpTest {
 protected:
  void SetUp() override { Certificate("server"); }

  // A certificate that is its own authority: NAME.pem and NAME.key.
  void Certificate(const std::string& name) {
    const ProcessResult made = Execute({"/usr/bin/openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                                        "-days", "2", "-subj", "/CN=" + name, "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
                                        "-keyout", dir_ / (name + ".key"), "-out", dir_ / (name + ".pem")});
    ASSERT_EQ(made.code, 0) << made.err;
  }
  TcpControlOptions Tls() {
    TcpControlOptions tcp = Tcp();
    tcp.tls_cert = dir_ / "server.pem";
    tcp.tls_key = dir_ / "server.key";
    return tcp;
  }
  std::optional<RawReply> AskTls(const std::string& ca = "server.pem") {
    RawClient client = Connect();
    if (!client.StartTls(dir_ / ca)) return std::nullopt;
    client.Send(RequestText("GET", "/v1/status", TokenHeader()));
    return client.Receive();
  }
};

TEST_F(TlsTest, ServesRequestsOneAfterTheOther) {
  StartTcp(Tls());
  RawClient client = Connect();
  ASSERT_TRUE(client.StartTls(dir_ / "server.pem"));
  for (int i = 0; i < 3; ++i) {
    client.Send(RequestText("PUT", "/v2/cache/" + std::to_string(i), TokenHeader(), "body"));
    EXPECT_EQ(client.Receive().value_or(RawReply{}).status, 202);
  }
  // In one record: the second is in no socket buffer any more when the first is answered.
  client.Send(RequestText("GET", "/v1/queue", TokenHeader()) + RequestText("GET", "/v2/cache", TokenHeader()));
  EXPECT_EQ(client.Receive().value_or(RawReply{}).status, 200);
  EXPECT_EQ(client.Receive().value_or(RawReply{}).status, 200);
  client.Send(RequestText("GET", "/v1/queue"));
  EXPECT_EQ(client.Receive().value_or(RawReply{}).status, 401);
  EXPECT_TRUE(client.WaitForEnd());
}

TEST_F(TlsTest, LargeAnswersAndBodiesPass) {
  for (int i = 0; i < 5000; ++i) service_.AddImage(MakeImage("image-" + std::to_string(i), 1000, ImageState::kComplete, 1000));
  StartTcp(Tls());
  RawClient client = Connect();
  ASSERT_TRUE(client.StartTls(dir_ / "server.pem"));
  client.Send(RequestText("GET", "/v1/images", TokenHeader()));
  const auto reply = client.Receive();
  ASSERT_TRUE(reply);
  EXPECT_EQ(Json(*reply)["images"].size(), 5000u);
  client.Send(RequestText("PUT", "/v2/cache/a", TokenHeader(), std::string(64 * 1024, 'x')));
  EXPECT_EQ(client.Receive().value_or(RawReply{}).status, 202);
  client.Send(RequestText("PUT", "/v2/cache/a", TokenHeader(), std::string(64 * 1024 + 1, 'x')));
  EXPECT_EQ(client.Receive().value_or(RawReply{}).status, 413);
}

TEST_F(TlsTest, LinksSayHttpsAndTheHostThatWasAsked) {
  StartTcp(Tls());
  RawClient client = Connect();
  ASSERT_TRUE(client.StartTls(dir_ / "server.pem"));
  client.Send("GET / HTTP/1.1\r\nHost: images.example:443\r\n" + TokenHeader() + "\r\n");
  const auto reply = client.Receive();
  ASSERT_TRUE(reply);
  EXPECT_EQ(Json(*reply)["versions"][0]["links"][0]["href"], "https://images.example:443/v2/");
}

TEST_F(TlsTest, OnlyModernVersions) {
  StartTcp(Tls());
  for (const auto& [version, works] : {std::pair(TLS1_1_VERSION, false), {TLS1_2_VERSION, true}, {TLS1_3_VERSION, true}}) {
    RawClient client = Connect();
    EXPECT_EQ(client.StartTls(dir_ / "server.pem", version), works) << version;
  }
}

TEST_F(TlsTest, PlainHttpIsToldToUseTls) {
  StartTcp(Tls());
  RawClient client = Connect();
  client.Send(RequestText("GET", "/v1/status", TokenHeader()));
  const auto reply = client.Receive();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 400);
  EXPECT_NE(Json(*reply)["error"]["message"].get<std::string>().find("https://"), std::string::npos);
  EXPECT_TRUE(client.WaitForEnd());
  EXPECT_EQ(AskTls().value_or(RawReply{}).status, 200);
}

TEST_F(TlsTest, TlsToAPlainPortIs400) {
  StartTcp(Tcp());
  RawClient client = Connect();
  EXPECT_FALSE(client.StartTls(dir_ / "server.pem"));
  EXPECT_EQ(AskTcp("GET", "/v1/status", TokenHeader()).status, 200);
}

TEST_F(TlsTest, BrokenHandshakesEndAndHurtNobody) {
  StartTcp(Tls());
  for (const std::string& bytes :
       {std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11) + std::string(600, 'x'), std::string("\x16\x03\x01\xff\xff", 5) + std::string(70000, 'y'),
        std::string("\x16"), std::string("\x16\x03\x01\x00\x05", 5), std::string("\x16\x03\x03\x00\x02\x02\x28", 7)}) {
    RawClient client = Connect();
    client.Send(bytes);
    client.CloseSending();
    EXPECT_TRUE(client.WaitForEnd());
    EXPECT_EQ(AskTls().value_or(RawReply{}).status, 200);
  }
  { RawClient gone = Connect(); }
  EXPECT_EQ(AskTls().value_or(RawReply{}).status, 200);
}

TEST_F(TlsTest, ASlowHandshakeEndsAndDelaysNobody) {
  HttpLimits limits;
  limits.handshake_time = std::chrono::milliseconds(200);
  StartTcp(Tls(), limits);
  RawClient silent = Connect(), half = Connect();
  half.Send(std::string("\x16\x03\x01\x02\x00\x01\x00", 7));
  EXPECT_EQ(AskTls().value_or(RawReply{}).status, 200);
  EXPECT_TRUE(silent.WaitForEnd());
  EXPECT_TRUE(half.WaitForEnd());
}

TEST_F(TlsTest, ASlowRequestIs408) {
  HttpLimits limits;
  limits.request_time = std::chrono::milliseconds(200);
  StartTcp(Tls(), limits);
  RawClient client = Connect();
  ASSERT_TRUE(client.StartTls(dir_ / "server.pem"));
  client.Send("GET /v1/status HTTP/1.1\r\n");
  EXPECT_EQ(client.Receive().value_or(RawReply{}).status, 408);
  EXPECT_TRUE(client.WaitForEnd());
}

TEST_F(TlsTest, ConnectionsBeyondTheLimitAreClosed) {
  HttpLimits limits;
  limits.connections = 3;
  limits.spare_time = limits.idle_time;  // none gives way
  StartTcp(Tls(), limits);
  std::vector<RawClient> open;
  for (size_t i = 0; i < limits.connections; ++i) {
    open.push_back(Connect());  // not even a handshake
  }
  RawClient beyond = Connect();
  EXPECT_TRUE(beyond.WaitForEnd());
  open.clear();
  EXPECT_TRUE(WaitFor([&] { return AskTls().value_or(RawReply{}).status == 200; }));
}

TEST_F(TlsTest, SighupTakesAnotherCertificateAndKeepsTheOldOneWhenItIsBad) {
  StartTcp(Tls());
  Certificate("other");
  EXPECT_FALSE(AskTls("other.pem"));
  std::filesystem::copy_file(dir_ / "other.key", dir_ / "server.key", std::filesystem::copy_options::overwrite_existing);
  server_->Reload();  // a key of another certificate
  EXPECT_EQ(AskTls().value_or(RawReply{}).status, 200);
  std::filesystem::copy_file(dir_ / "server.pem", dir_ / "old.pem");
  std::filesystem::copy_file(dir_ / "other.pem", dir_ / "server.pem", std::filesystem::copy_options::overwrite_existing);
  server_->Reload();
  EXPECT_EQ(AskTls("other.pem").value_or(RawReply{}).status, 200);
  EXPECT_FALSE(AskTls("old.pem"));
}

TEST_F(TlsTest, UnusableFilesAreNamed) {
  Certificate("other");
  std::ofstream(dir_ / "garbage") << "no PEM\n";
  const ProcessResult locked = Execute({"/usr/bin/openssl", "ec", "-in", dir_ / "server.key", "-aes256", "-passout", "pass:sesame", "-out", dir_ / "locked.key"});
  ASSERT_EQ(locked.code, 0) << locked.err;
  const struct {
    const char *cert, *key, *names;
  } cases[] = {{"missing", "server.key", "control_tls_cert="},
               {"garbage", "server.key", "control_tls_cert="},
               {"server.pem", "missing", "control_tls_key="},
               {"server.pem", "garbage", "control_tls_key="},
               {"server.pem", "other.key", "control_tls_key="},
               {"server.pem", "locked.key", "control_tls_key="}};
  for (const auto& c : cases) {
    TcpControlOptions tcp = Tcp();
    tcp.tls_cert = dir_ / c.cert;
    tcp.tls_key = dir_ / c.key;
    const auto checked = CheckTcpControl(tcp);
    ASSERT_FALSE(checked) << c.cert << " " << c.key;
    EXPECT_EQ(checked.error().code, Errc::kInvalid);
    EXPECT_EQ(checked.error().message.find(c.names), 0u) << checked.error().message;
    EXPECT_EQ(checked.error().message.find('\n'), std::string::npos);
  }
}

}  // namespace
}  // namespace glintfs::testing
