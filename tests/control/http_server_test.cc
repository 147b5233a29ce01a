// The server against clients that are wrong, slow, many or malicious: they get 4xx, and nobody else notices.
#include <thread>

#include "tests/control/control_test.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

using std::chrono::milliseconds;

class HttpServerTest : public ControlTest {
 protected:
  // What a client sees that sends `bytes` and nothing more.
  RawReply Raw(std::string_view bytes) {
    RawClient client(path());
    client.Send(bytes);
    return client.Receive().value_or(RawReply{});
  }
};

TEST_F(HttpServerTest, GarbageIs400AndTheConnectionEnds) {
  StartServer();
  for (const char* bytes :
       {"hello\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/3.7\r\n\r\n", "GET /v1/status HTTP/1.1\r\nno colon\r\n\r\n",
        "\x16\x03\x01\x02\x01\x01\xfc\r\n\r\n", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}) {
    RawClient client(path());
    client.Send(bytes);
    const auto reply = client.Receive();
    ASSERT_TRUE(reply) << bytes;
    EXPECT_EQ(reply->status, 400) << bytes;
    EXPECT_EQ(Json(*reply)["error"]["code"], 400);
    EXPECT_EQ(reply->headers.at("connection"), "close");
    EXPECT_TRUE(client.WaitForEnd());
  }
  EXPECT_EQ(Ask("GET", "/v1/status").status, 200);
}

TEST_F(HttpServerTest, ARequestNeedsAHostAndAPath) {
  StartServer();
  EXPECT_EQ(Raw("GET /v1/status HTTP/1.1\r\n\r\n").status, 400);
  EXPECT_EQ(Raw("GET * HTTP/1.1\r\nHost: x\r\n\r\n").status, 400);
  EXPECT_EQ(Raw("GET /v1/status?a=%x HTTP/1.1\r\nHost: x\r\n\r\n").status, 400);
}

TEST_F(HttpServerTest, Http10GetsOneAnswer) {
  StartServer();
  RawClient client(path());
  client.Send("GET /v1/status HTTP/1.0\r\n\r\n");
  EXPECT_EQ(client.Receive()->status, 200);
  EXPECT_TRUE(client.WaitForEnd());
}

TEST_F(HttpServerTest, ALongHeaderIs431) {
  StartServer();
  EXPECT_EQ(Ask("GET", "/v1/status", "X-Long: " + std::string(15 * 1024, 'x') + "\r\n").status, 200);
  EXPECT_EQ(Ask("GET", "/v1/status", "X-Long: " + std::string(17 * 1024, 'x') + "\r\n").status, 431);
  EXPECT_EQ(Ask("GET", "/" + std::string(17 * 1024, 'x')).status, 431);
  EXPECT_EQ(Raw("GET / HTTP/1.1\r\nX-Endless: " + std::string(300 * 1024, 'x')).status, 431);
}

TEST_F(HttpServerTest, ALongBodyIs413) {
  StartServer();
  EXPECT_EQ(Ask("PUT", "/v2/cache/a.img", "", std::string(64 * 1024, 'x')).status, 202);
  EXPECT_EQ(Ask("PUT", "/v2/cache/b.img", "", std::string(64 * 1024 + 1, 'x')).status, 413);
  EXPECT_EQ(Raw("PUT /v2/cache/b.img HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n").status, 413);
  std::string chunks = "PUT /v2/cache/b.img HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 17; ++i) chunks += "1000\r\n" + std::string(4096, 'x') + "\r\n";
  EXPECT_EQ(Raw(chunks).status, 413);
  EXPECT_EQ(service_.calls(), std::vector<std::string>{"queue a.img"});
}

TEST_F(HttpServerTest, ChunkedBodiesAndExpectAreUnderstood) {
  StartServer();
  EXPECT_EQ(Raw("POST /v2/cache/prune HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                "9\r\n{\"to\": 10\r\n2\r\n0}\r\n0\r\n\r\n")
                .status,
            200);
  RawClient client(path());
  client.Send("POST /v2/cache/prune HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n");
  EXPECT_EQ(client.Receive()->status, 100);
  client.Send("{\"to\": 200}");
  EXPECT_EQ(client.Receive()->status, 200);
  EXPECT_EQ(service_.calls(), (std::vector<std::string>{"prune 100", "prune 200"}));
}

TEST_F(HttpServerTest, ASlowRequestIs408AndDelaysNobody) {
  HttpLimits limits;
  limits.request_time = milliseconds(300);
  StartServer(limits);
  RawClient slow_header(path()), slow_body(path());
  slow_header.Send("GET /v1/status HTTP/1.1\r\nHost: ");
  slow_body.Send("PUT /v2/cache/a.img HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123");
  EXPECT_EQ(Ask("GET", "/v1/status").status, 200);
  for (RawClient* client : {&slow_header, &slow_body}) {
    const auto reply = client->Receive();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->status, 408);
    EXPECT_TRUE(client->WaitForEnd());
  }
  EXPECT_TRUE(service_.calls().empty());
}

// Each byte alone is quick, the request is not.
TEST_F(HttpServerTest, ATrickleIs408) {
  HttpLimits limits;
  limits.request_time = milliseconds(200);
  StartServer(limits);
  RawClient client(path());
  std::atomic<bool> end = false;
  std::thread trickle([&] {
    while (!end && client.Send("x")) std::this_thread::sleep_for(milliseconds(5));
  });
  const auto reply = client.Receive();
  end = true;
  trickle.join();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 408);
}

TEST_F(HttpServerTest, AnIdleConnectionIsClosed) {
  HttpLimits limits;
  limits.idle_time = milliseconds(100);
  StartServer(limits);
  RawClient fresh(path()), used(path());
  used.Send(RequestText("GET", "/v1/status"));
  EXPECT_EQ(used.Receive()->status, 200);
  EXPECT_TRUE(fresh.WaitForEnd());
  EXPECT_TRUE(used.WaitForEnd());
}

TEST_F(HttpServerTest, KeepAliveAndClose) {
  StartServer();
  RawClient client(path());
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(client.Send(RequestText("GET", "/v1/queue")));
    const auto reply = client.Receive();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->body, R"({"queue":[]})");
  }
  client.Send(RequestText("GET", "/v1/queue", "Connection: close\r\n"));
  EXPECT_EQ(client.Receive()->headers.at("connection"), "close");
  EXPECT_TRUE(client.WaitForEnd());
}

TEST_F(HttpServerTest, PipelinedRequestsAreAnsweredInOrder) {
  StartServer();
  RawClient client(path());
  std::string requests;
  for (int i = 0; i < 200; ++i) {
    requests += RequestText("PUT", "/v2/cache/" + std::to_string(i), "", std::string(static_cast<size_t>(i), 'b'));
    requests += RequestText("GET", "/v1/images/" + std::to_string(i));
  }
  ASSERT_TRUE(client.Send(requests));
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(client.Receive().value_or(RawReply{}).status, 202);
    const auto get = client.Receive();
    ASSERT_TRUE(get);
    EXPECT_EQ(Json(*get)["error"]["message"], "nothing is cached of " + std::to_string(i));
  }
  std::vector<std::string> wanted;
  for (int i = 0; i < 200; ++i) wanted.push_back("queue " + std::to_string(i));
  EXPECT_EQ(service_.calls(), wanted);
}

TEST_F(HttpServerTest, ABadRequestInAPipelineEndsItAfterTheGoodOnes) {
  StartServer();
  RawClient client(path());
  client.Send(RequestText("GET", "/v1/queue") + "garbage\r\n\r\n" + RequestText("PUT", "/v2/cache/never"));
  EXPECT_EQ(client.Receive()->status, 200);
  EXPECT_EQ(client.Receive()->status, 400);
  EXPECT_TRUE(client.WaitForEnd());
  EXPECT_TRUE(service_.calls().empty());
}

TEST_F(HttpServerTest, AHalfClosedClientStillGetsItsAnswer) {
  StartServer();
  RawClient client(path());
  client.Send(RequestText("GET", "/v1/queue"));
  client.CloseSending();
  EXPECT_EQ(client.Receive()->status, 200);
  EXPECT_TRUE(client.WaitForEnd());
}

TEST_F(HttpServerTest, AClientThatGoesAwayHurtsNobody) {
  StartServer();
  service_.CloseGate();
  for (int i = 0; i < 20; ++i) {
    RawClient client(path());
    client.Send(i % 2 ? RequestText("PUT", "/v2/cache/a") : "PUT /v2/ca");
  }
  service_.OpenGate();
  EXPECT_EQ(Ask("GET", "/v1/status").status, 200);
  EXPECT_TRUE(WaitFor([&] { return service_.calls().size() == 10; }));
}

TEST_F(HttpServerTest, StatusAnswersWhileEveryWriteWaitsForTheSource) {
  StartServer();
  service_.CloseGate();
  std::vector<std::unique_ptr<RawClient>> stuck;
  for (int i = 0; i < 20; ++i) {
    stuck.push_back(std::make_unique<RawClient>(path()));
    stuck.back()->Send(RequestText("PUT", "/v2/cache/" + std::to_string(i)));
  }
  ASSERT_TRUE(WaitFor([&] { return service_.waiting_at_gate() == HttpLimits().write_workers; }));
  for (int i = 0; i < 10; ++i) EXPECT_EQ(Ask("GET", "/v1/status").status, 200);
  service_.OpenGate();
  for (auto& client : stuck) EXPECT_EQ(client->Receive().value_or(RawReply{}).status, 202);
}

TEST_F(HttpServerTest, AClientThatDoesNotReadDelaysNobody) {
  StartServer();
  for (int i = 0; i < 5000; ++i)
    service_.AddImage(MakeImage("image-" + std::to_string(i), 1000, ImageState::kComplete, 1000));
  RawClient deaf(path());
  deaf.Send(RequestText("GET", "/v1/images"));  // some 2 MB, more than a socket buffer holds
  EXPECT_EQ(Ask("GET", "/v1/status").status, 200);
  const auto late = deaf.Receive();
  ASSERT_TRUE(late);
  EXPECT_EQ(Json(*late)["images"].size(), 5000u);
}

TEST_F(HttpServerTest, AClientThatNeverReadsIsDropped) {
  HttpLimits limits;
  limits.write_time = milliseconds(200);
  limits.connections = 1;
  StartServer(limits);
  for (int i = 0; i < 5000; ++i)
    service_.AddImage(MakeImage("image-" + std::to_string(i), 1000, ImageState::kComplete, 1000));
  RawClient deaf(path());
  deaf.Send(RequestText("GET", "/v1/images"));
  EXPECT_TRUE(WaitFor([&] { return Ask("GET", "/v1/status").status == 200; }));  // its place becomes free
}

TEST_F(HttpServerTest, OneHundredConnectionsSomeGet503) {
  HttpLimits limits;
  limits.spare_time = limits.idle_time;  // none gives way
  StartServer(limits);
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 64; ++i) {
    clients.push_back(std::make_unique<RawClient>(path()));
    clients.back()->Send(RequestText("GET", "/v1/queue"));
    ASSERT_EQ(clients.back()->Receive().value_or(RawReply{}).status, 200) << i;
  }
  for (int i = 64; i < 100; ++i) {
    RawClient client(path());
    client.Send(RequestText("GET", "/v1/queue"));
    const auto reply = client.Receive();
    ASSERT_TRUE(reply) << i;
    EXPECT_EQ(reply->status, 503);
    EXPECT_EQ(reply->headers.count("retry-after"), 1u);
    EXPECT_TRUE(client.WaitForEnd());
  }
  for (auto& client : clients) {  // the first 64 are still served
    client->Send(RequestText("GET", "/v1/queue"));
    EXPECT_EQ(client->Receive().value_or(RawReply{}).status, 200);
  }
  clients.clear();
  EXPECT_TRUE(WaitFor([&] { return Ask("GET", "/v1/queue").status == 200; }));
}

TEST_F(HttpServerTest, AConnectionWithoutARequestGivesWayTheLongestFirst) {
  HttpLimits limits;
  limits.connections = 3;
  limits.spare_time = milliseconds(1);
  StartServer(limits);
  service_.CloseGate();
  RawClient served(path()), silent(path());
  ASSERT_TRUE(served.Send(RequestText("PUT", "/v2/cache/a.img")));
  ASSERT_TRUE(WaitFor([&] { return service_.waiting_at_gate() == 1; }));
  ASSERT_TRUE(silent.Send("GET /v1/st"));  // half a request is none
  RawClient used(path());
  ASSERT_TRUE(used.Send(RequestText("GET", "/v1/status")));
  ASSERT_EQ(used.Receive().value_or(RawReply{}).status, 200);
  EXPECT_TRUE(WaitFor([&] { return Ask("GET", "/v1/status").status == 200; }));
  EXPECT_TRUE(silent.WaitForEnd());
  ASSERT_TRUE(used.Send(RequestText("GET", "/v1/status")));
  EXPECT_EQ(used.Receive().value_or(RawReply{}).status, 200) << "it had waited less long";
  service_.OpenGate();
  EXPECT_EQ(served.Receive().value_or(RawReply{}).status, 202);
}

TEST_F(HttpServerTest, ManyClientsAtOnce) {
  StartServer();
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int t = 0; t < 16; ++t) {
    threads.emplace_back([&, t] {
      RawClient client(path());
      for (int i = 0; i < 50; ++i) {
        client.Send(
            RequestText(i % 3 ? "GET" : "PUT", i % 3 ? "/v1/status" : "/v2/cache/i" + std::to_string(t * 100 + i)));
        const auto reply = client.Receive();
        if (reply && reply->status == (i % 3 ? 200 : 202)) ++good;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 16 * 50);
}

TEST_F(HttpServerTest, StopEndsWithClientsConnected) {
  StartServer();
  RawClient idle(path()), half(path()), used(path());
  half.Send("GET /v1/st");
  used.Send(RequestText("GET", "/v1/status"));
  EXPECT_EQ(used.Receive()->status, 200);
  server_->Stop();
  EXPECT_TRUE(idle.WaitForEnd());
  EXPECT_TRUE(half.WaitForEnd());
  EXPECT_TRUE(used.WaitForEnd());
  EXPECT_THROW(RawClient late(path()), std::runtime_error);
  server_->Stop();  // twice does no harm
}

TEST_F(HttpServerTest, StopWaitsForTheServiceCallThatHasBegun) {
  StartServer();
  service_.CloseGate();
  std::vector<std::unique_ptr<RawClient>> stuck;
  for (int i = 0; i < 6; ++i) {
    stuck.push_back(std::make_unique<RawClient>(path()));
    stuck.back()->Send(RequestText("PUT", "/v2/cache/" + std::to_string(i)));
  }
  ASSERT_TRUE(WaitFor([&] { return service_.waiting_at_gate() == 4; }));
  std::atomic<bool> stopped = false;
  std::thread stop([&] {
    server_->Stop();
    stopped = true;
  });
  EXPECT_TRUE(stuck[0]->WaitForEnd());  // clients are let go at once
  EXPECT_FALSE(stopped);
  service_.OpenGate();
  stop.join();
  EXPECT_EQ(service_.calls().size(), 4u);  // those that had not begun never do
}

}  // namespace
}  // namespace glintfs::testing
