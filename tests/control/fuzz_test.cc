// Random bytes and mutated requests. Whatever comes, the server answers with a status it knows or closes, and serves
// the next client. GLINTFS_SEED repeats a run, GLINTFS_FUZZ_ROUNDS makes it longer.
#include <cstdlib>
#include <random>
#include <set>

#include "control/http.h"
#include "tests/control/control_test.h"

namespace glintfs::testing {
namespace {

const char* const kRequests[] = {
    "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
    "PUT /v2/cache/dir%2Fa.img HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "DELETE /v2/cache HTTP/1.1\r\nHost: x\r\nx-image-cache-clear-target: both\r\n\r\n",
    "POST /v2/cache/prune?to=5G&dry_run=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{\"to\": \"10G\"}",
    "POST /v2/cache/prune HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "GET http://host/v1/images/a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
    "HEAD /metrics HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
};

class FuzzTest : public ControlTest {
 protected:
  void SetUp() override {
    const char* const seed = std::getenv("GLINTFS_SEED");
    seed_ = seed != nullptr ? std::strtoul(seed, nullptr, 10) : std::random_device{}();
    random_.seed(seed_);
    if (const char* const rounds = std::getenv("GLINTFS_FUZZ_ROUNDS")) rounds_ = std::atoi(rounds);
    std::printf("GLINTFS_SEED=%lu\n", seed_);
    service_.AddImage(MakeImage("a", 1000, ImageState::kPartial, 500));
    StartServer();
  }

  size_t Below(size_t limit) { return std::uniform_int_distribution<size_t>(0, limit - 1)(random_); }

  std::string RandomBytes(size_t size) {
    std::string bytes(size, '\0');
    for (char& c : bytes) c = static_cast<char>(Below(256));
    return bytes;
  }

  std::string Mutated(std::string text) {
    for (size_t n = 1 + Below(6); n > 0; --n) {
      const size_t at = Below(text.size() + 1);
      switch (Below(6)) {
        case 0: text.insert(at, RandomBytes(1 + Below(8))); break;
        case 1: text.erase(at, Below(10)); break;
        case 2:
          if (at < text.size()) text[at] = static_cast<char>(Below(256));
          break;
        case 3: text.insert(at, text.substr(Below(text.size() + 1), Below(60))); break;
        case 4: text.insert(at, std::string(Below(30'000), "%/ a\r\n:"[Below(7)])); break;
        case 5: text += kRequests[Below(std::size(kRequests))]; break;
      }
    }
    return text;
  }

  // Sends in one or several pieces, says that no more comes, and checks every answer until the end.
  void Try(const std::string& bytes) {
    RawClient client(path());
    size_t at = 0;
    while (at < bytes.size()) {
      const size_t piece = Below(4) ? bytes.size() - at : 1 + Below(bytes.size() - at);
      if (!client.Send(std::string_view(bytes).substr(at, piece))) break;
      at += piece;
    }
    client.CloseSending();
    // Answers to HEAD have no body but a length: what follows cannot be told apart, so only the first answer is looked
    // at.
    const auto reply = client.Receive(true);
    if (reply && reply->status != 100) {
      EXPECT_NE(HttpReason(reply->status), "") << reply->status;
      EXPECT_LT(reply->status, 500) << "GLINTFS_SEED=" << seed_;
    }
    EXPECT_TRUE(client.WaitForEnd()) << "GLINTFS_SEED=" << seed_;
  }

  unsigned long seed_ = 0;
  std::mt19937_64 random_;
  int rounds_ = 400;
};

TEST_F(FuzzTest, RandomBytes) {
  for (int i = 0; i < rounds_ && !HasFailure(); ++i) Try(RandomBytes(1 + Below(Below(10) ? 200 : 100'000)));
  EXPECT_EQ(Ask("GET", "/v1/status").status, 200);
}

TEST_F(FuzzTest, MutatedRequests) {
  for (int i = 0; i < rounds_ && !HasFailure(); ++i) Try(Mutated(kRequests[Below(std::size(kRequests))]));
  EXPECT_EQ(Ask("GET", "/v1/status").status, 200);
}

TEST_F(FuzzTest, TruncatedRequests) {
  for (const std::string request : kRequests) {
    for (size_t size = 1; size < request.size() && !HasFailure(); ++size) Try(request.substr(0, size));
  }
  EXPECT_EQ(Ask("GET", "/v1/status").status, 200);
}

}  // namespace
}  // namespace glintfs::testing
