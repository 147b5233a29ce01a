// Every row of the table of situations, provoked with the real glintctl and with raw requests; and every route with wrong verbs,
// bodies and names.
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <thread>

#include "control/ctl/exit_code.h"
#include "fs/base/unique_fd.h"
#include "tests/control/ctl_test.h"

namespace glintfs::testing {
namespace {

using ctl::Situation;

// Answers every connection with the same bytes, as a daemon over TCP would.
class CannedServer {
 public:
  CannedServer(const std::string& path, std::string answer) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)), answer_(std::move(answer)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    if (::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(fd_.get(), 8) != 0)
      throw std::runtime_error("cannot listen at " + path);
    thread_ = std::thread([this] {
      for (;;) {
        const UniqueFd peer(::accept(fd_.get(), nullptr, nullptr));
        if (!peer.valid()) return;
        char request[4096];
        if (::read(peer.get(), request, sizeof request) > 0) (void)!::write(peer.get(), answer_.data(), answer_.size());
      }
    });
  }
  ~CannedServer() {
    ::shutdown(fd_.get(), SHUT_RDWR);
    thread_.join();
  }

 private:
  const UniqueFd fd_;
  const std::string answer_;
  std::thread thread_;
};

class BadInputTest : public GlintctlTest, public ::testing::WithParamInterface<Situation> {
 protected:
  struct Seen {
    int status = 0;      // of a raw request; 0: none was made
    ProcessResult ctl;   // code -1: glintctl was not run
    std::string advice;  // must be among what glintctl says
    std::string skip = "";  // why it cannot be provoked here
  };
  using Provoke = Seen (BadInputTest::*)();

  Seen Failing(Errc code, const std::string& verb, const std::string& target, const std::string& name,
               std::vector<std::string> command, const std::string& advice) {
    service_.FailNext(name, code);
    return {Ask(verb, target).status, Ctl(command), advice};
  }
  Seen Raw(const std::string& verb, const std::string& target, const std::string& body = "") {
    return {Ask(verb, target, "", body).status, {}, ""};
  }

  Seen UnknownImage() { return {Ask("GET", "/v1/images/b.imq").status, Ctl({"show", "b.imq"}), "Did you mean b.img?"}; }
  Seen AmbiguousName() {
    service_.SetSource({{"", {{"one", true}, {"two", true}}}, {"one", {{"one/deb.img", false}}}, {"two", {{"two/deb.img", false}}}});
    return Failing(Errc::kNotFound, "PUT", "/v1/queue/deb.img", "deb.img", {"cache", "deb.img"},
                   "The name is ambiguous, give one as a whole: one/deb.img, two/deb.img");
  }
  Seen UnknownPath() { return Raw("GET", "/v1/nothing"); }
  Seen BadName() { return {Ask("PUT", "/v1/pins/..").status, Ctl({"pin", ""}), "'': not a valid image name. Names are as below the mount"}; }
  Seen Directory() {
    service_.SetSource({{"", {{"some", true}}}, {"some", {}}});
    return {Ask("PUT", "/v1/queue/some").status, Ctl({"cache", "some"}), "glintctl cache --match 'some/**'"};
  }
  Seen BadJson() { return Raw("PATCH", "/v1/settings", "{\"max_size\""); }
  Seen UnknownParameter() { return Raw("GET", "/v1/events?befor=1"); }
  Seen BadSetting() {
    service_.SetSettings({{"max_size", "10G", "10G", "a size", "", true}});
    return {Ask("PATCH", "/v1/settings", "", R"({"max_siz": 1})").status, Ctl({"set", "max_siz=1"}), "Did you mean max_size?"};
  }
  Seen WrongToken() {
    const std::string body = R"({"error": {"code": 401, "title": "Unauthorized", "message": "wrong token"}})";
    CannedServer server(dir_ / "tcp.sock", "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    return {401, Execute({GLINTCTL, "-s", dir_ / "tcp.sock", "status"}), "--token-file"};
  }
  Seen PermissionDenied() {
    if (::geteuid() != 0 || ::access("/usr/bin/setpriv", X_OK) != 0) return {0, {}, "", "needs root and setpriv (util-linux)"};
    TempDir open;  // another user may not reach the build directory
    for (const std::string& place : {dir_.path(), open.path()}) ::chmod(place.c_str(), 0755);
    ::chmod(path().c_str(), 0666);
    std::filesystem::copy_file(GLINTCTL, open / "glintctl");
    return {403, Execute({"/usr/bin/setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", open / "glintctl", "-s", path(), "status"}),
            "Be root (sudo), or in the group"};
  }
  Seen WrongVerb() { return Raw("POST", "/v1/status"); }
  Seen InUse() {
    ServiceStatus status;
    status.mountpoint = "/mnt/images";
    service_.SetStatus(status);
    ImageStatus image = MakeImage("b.img", 2000, ImageState::kVerified, 2000);
    image.open_count = 2;
    service_.AddImage(image);
    return Failing(Errc::kBusy, "DELETE", "/v2/cache/b.img", "b.img", {"evict", "b.img"}, "lsof '/mnt/images/b.img'");
  }
  Seen LocalFailure() { return Failing(Errc::kIo, "DELETE", "/v2/cache/b.img", "b.img", {"evict", "b.img"}, "glintctl doctor"); }
  Seen NotSupported() { return Failing(Errc::kNotSupported, "GET", "/v1/source", "", {"cache", "--all"}, "Give whole names"); }
  Seen SourceRefuses() { return Failing(Errc::kAccessDenied, "PUT", "/v1/queue/x.img", "x.img", {"cache", "x.img"}, "glintctl doctor"); }
  Seen StoreDown() { return Failing(Errc::kUnavailable, "PUT", "/v1/queue/x.img", "x.img", {"cache", "x.img"}, "glintctl status"); }
  Seen Stopping() { return Failing(Errc::kCancelled, "PUT", "/v1/queue/x.img", "x.img", {"cache", "x.img"}, "try again"); }
  Seen CacheFull() { return Failing(Errc::kNoSpace, "PUT", "/v1/queue/x.img", "x.img", {"cache", "x.img"}, "glintctl prune"); }
  Seen Busy() {
    server_.reset();
    HttpLimits limits;
    limits.connections = 1;
    limits.spare_time = limits.idle_time;
    StartServer(limits);
    RawClient first(path());
    EXPECT_TRUE(first.Send(RequestText("GET", "/v1/queue")));
    EXPECT_TRUE(first.Receive());
    return {Ask("GET", "/v1/queue").status, Ctl({"queue"}), "too many connections, try again soon. Who holds them: ss -xp"};
  }
  Seen WrongUsage() { return {0, Ctl({"stauts"}), "Unknown command stauts. Did you mean status?"}; }
  Seen SeveralDaemons() {
    auto second = ControlServer::Start({dir_ / "second.sock", std::nullopt, {}}, service_);
    return {0, Execute({GLINTCTL, "status"}, OnlyIn(dir_.path())), dir_ / "second.sock"};
  }
  Seen NoDaemon() {
    const TempDir empty;
    return {0, Execute({GLINTCTL, "status"}, OnlyIn(empty.path())), "Start one with glintfs SOURCE MOUNTPOINT"};
  }
  Seen DaemonGone() {
    Subprocess ctl(Command({"cache", "--wait", "w.img"}), {});
    EXPECT_TRUE(WaitFor([&] { return Contains(ctl.ErrorSoFar(), "w.img: "); }));
    server_.reset();
    return {0, ctl.Wait(), "start the daemon again"};
  }
  Seen NotCached() {
    Subprocess ctl(Command({"cache", "--wait", "w.img"}), {});
    EXPECT_TRUE(WaitFor([&] { return !service_.Queue().empty(); }));
    service_.RemoveQueued("w.img");
    return {200, ctl.Wait(), "it left the queue without being cached. More: glintctl events"};
  }
  Seen WrongChecksum() {
    ImageStatus image = MakeImage("w.img", 4 << 20, ImageState::kInvalid, 4 << 20);
    image.error = "its sha256 is dcba, the source says abcd";
    service_.AddImage(image);
    return {200, Ctl({"cache", "--wait", "w.img"}), "the source says abcd. Compare the image in the store"};
  }
  Seen SourceNotListed() {
    ServiceStatus away;
    away.source_reachable = false;
    service_.SetStatus(away);
    service_.SetSource({{"", {{"b.img", false}}}}, false);
    return {Ask("GET", "/v1/source").status, Ctl({"cache", "--all"}), "glintctl status tells since when it is away"};
  }
  Seen LostResult() {
    if (::access("/dev/full", W_OK) != 0) return {0, {}, "", "needs /dev/full"};
    return {0, Execute({"/bin/sh", "-c", std::string(GLINTCTL) + " -s " + path() + " list >/dev/full"}), "could not be written: No space left on device"};
  }
  Seen BadImage() {
    Subprocess ctl(Command({"verify", "b.img"}), {});
    EXPECT_TRUE(WaitFor([&] { return !service_.calls().empty(); }));
    ImageStatus image = MakeImage("b.img", 2000, ImageState::kVerified, 2000);
    image.scrub.state = ScrubStatus::State::kFailed;
    image.scrub.error = "gone at the source";
    service_.AddImage(image);
    return {200, ctl.Wait(), "gone at the source. glintctl doctor"};
  }
  Seen FailedCheck() {
    service_.SetFindings({{"source", Finding::Level::kFail, "away", "Look at the store"}});
    ProcessResult result = Ctl({"doctor"});
    result.err = "glintctl: " + result.out;  // what it finds is its result
    return {200, result, "-> Look at the store"};
  }
  Seen TimedOut() { return {0, Ctl({"cache", "--wait", "--timeout", "500ms", "w.img"}), "How far it is: glintctl queue"}; }
  Seen InterruptedSituation() {
    Subprocess ctl(Command({"cache", "--wait", "w.img"}), {});
    EXPECT_TRUE(WaitFor([&] { return Contains(ctl.ErrorSoFar(), "w.img: "); }));
    ctl.Signal(SIGINT);
    return {0, ctl.Wait(), "How far it is: glintctl queue"};
  }

 public:
  static const std::map<std::string_view, Provoke>& Provokers() {
    using T = BadInputTest;
    static const std::map<std::string_view, Provoke> all = {
        {"unknown image", &T::UnknownImage}, {"ambiguous name", &T::AmbiguousName}, {"unknown path", &T::UnknownPath},
        {"bad name", &T::BadName}, {"directory", &T::Directory}, {"bad JSON", &T::BadJson},
        {"unknown parameter", &T::UnknownParameter}, {"bad setting", &T::BadSetting}, {"wrong token", &T::WrongToken},
        {"permission denied", &T::PermissionDenied}, {"wrong verb", &T::WrongVerb}, {"in use", &T::InUse},
        {"local failure", &T::LocalFailure}, {"not supported", &T::NotSupported}, {"source refuses", &T::SourceRefuses},
        {"store down", &T::StoreDown}, {"daemon stopping", &T::Stopping}, {"daemon busy", &T::Busy}, {"cache full", &T::CacheFull},
        {"wrong usage", &T::WrongUsage}, {"several daemons", &T::SeveralDaemons}, {"no daemon", &T::NoDaemon},
        {"daemon gone", &T::DaemonGone}, {"not cached", &T::NotCached}, {"bad image", &T::BadImage}, {"wrong checksum", &T::WrongChecksum},
        {"source not listed", &T::SourceNotListed}, {"lost result", &T::LostResult},
        {"failed check", &T::FailedCheck}, {"timed out", &T::TimedOut}, {"interrupted", &T::InterruptedSituation}};
    return all;
  }
};

TEST_P(BadInputTest, EndsAsTheTableSays) {
  const Situation& situation = GetParam();
  const auto it = Provokers().find(situation.name);
  ASSERT_NE(it, Provokers().end()) << "nothing provokes: " << situation.name;
  const Seen seen = (this->*it->second)();
  if (!seen.skip.empty()) GTEST_SKIP() << seen.skip;
  EXPECT_EQ(seen.status, situation.status);
  EXPECT_EQ(seen.ctl.code, situation.code) << seen.ctl.out << seen.ctl.err;
  if (situation.code < 0) return;
  EXPECT_NE(seen.ctl.err.find("glintctl: "), std::string::npos) << seen.ctl.err;
  EXPECT_NE(seen.ctl.err.find(seen.advice), std::string::npos) << seen.ctl.err;
}

INSTANTIATE_TEST_SUITE_P(EverySituation, BadInputTest, ::testing::ValuesIn(ctl::Situations().begin(), ctl::Situations().end()),
                         [](const auto& row) {
                           std::string name(row.param.name);
                           std::replace(name.begin(), name.end(), ' ', '_');
                           return name;
                         });

TEST(SituationsTest, AreAllProvokedAndCoverEveryCode) {
  std::set<std::string_view> names;
  std::set<int> codes;
  for (const Situation& situation : ctl::Situations()) {
    EXPECT_TRUE(names.insert(situation.name).second) << situation.name << " is there twice";
    codes.insert(situation.code);
  }
  for (const auto& [name, provoke] : BadInputTest::Provokers()) EXPECT_TRUE(names.contains(name)) << name << " is not in the table";
  codes.insert(ctl::kExitOk);
  for (const ctl::ExitCodeText& exit : ctl::ExitCodes()) EXPECT_TRUE(codes.contains(exit.code)) << exit.code;
}

// ---- Every route

class EveryRouteTest : public ControlTest {
 protected:
  void SetUp() override { StartServer(); }
  std::vector<Route> Routes() {
    FakeService unused;
    return MakeControlRouter(unused).routes();
  }
  static bool HasName(const Route& route) { return route.pattern.find('{') != std::string::npos; }
  static std::string Target(const Route& route, const std::string& name) {
    return HasName(route) ? route.pattern.substr(0, route.pattern.find('{')) + name : route.pattern;
  }
  // "GET, HEAD, PUT" for the path, as the table of routes has them.
  static std::set<std::string> Verbs(const std::vector<Route>& routes, const std::string& target) {
    std::set<std::string> verbs;
    for (const Route& route : routes) {
      const std::string prefix = route.pattern.substr(0, route.pattern.find('{'));
      const bool matches = HasName(route) ? target.size() > prefix.size() && target.starts_with(prefix) : target == prefix;
      if (matches) verbs.insert(route.verb);
    }
    return verbs;
  }
};

TEST_F(EveryRouteTest, RefusesVerbsItDoesNotTake) {
  const auto routes = Routes();
  int tried = 0;
  for (const Route& route : routes) {
    const std::string target = Target(route, "x.img");
    const auto verbs = Verbs(routes, target);
    for (const std::string verb : {"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "get", "BREW"}) {
      if (verbs.contains(verb == "HEAD" ? "GET" : verb) || verb == "HEAD") continue;
      const RawReply reply = Ask(verb, target);
      EXPECT_EQ(reply.status, 405) << verb << " " << target;
      for (const std::string& allowed : verbs) EXPECT_NE(reply.headers.at("allow").find(allowed), std::string::npos) << verb << " " << target;
      EXPECT_EQ(Json(reply)["error"]["code"], 405) << verb << " " << target;
      ++tried;
    }
  }
  EXPECT_GT(tried, 100);
  EXPECT_TRUE(service_.calls().empty());
}

TEST_F(EveryRouteTest, RefusesBadJsonWhereItTakesABody) {
  const std::set<std::string> with_body = {"POST /v2/cache/prune", "PATCH /v1/settings"};
  std::set<std::string> refused;
  for (const Route& route : Routes()) {
    if (route.verb == "GET") continue;
    const std::string target = Target(route, "x.img");
    for (const std::string body : {"{", "[1]", "\"x\"", "nul", "\xff\xfe", "{\"a\": {}}"}) {
      const RawReply reply = Ask(route.verb, target, "", body);
      if (with_body.contains(route.verb + " " + route.pattern)) {
        EXPECT_EQ(reply.status, 400) << route.verb << " " << target << " " << body;
        EXPECT_TRUE(Json(reply)["error"]["message"].is_string()) << reply.body;
        refused.insert(route.verb + " " + route.pattern);
      } else if (route.pattern.starts_with("/v1/")) {
        EXPECT_EQ(reply.status, 400) << route.verb << " " << target << " takes no body";
      } else {
        EXPECT_NE(reply.status, 400) << route.verb << " " << target << " takes no body";
        EXPECT_LT(reply.status, 500) << route.verb << " " << target;
      }
    }
  }
  EXPECT_EQ(refused, with_body);
}

TEST_F(EveryRouteTest, RefusesParametersItDoesNotTake) {
  int tried = 0;
  for (const Route& route : Routes()) {
    if (!route.pattern.starts_with("/v1/")) continue;
    EXPECT_EQ(Ask(route.verb, Target(route, "x.img") + "?bogus=1").status, 400) << route.verb << " " << route.pattern;
    ++tried;
  }
  EXPECT_GT(tried, 10);
  EXPECT_TRUE(service_.calls().empty());
}

TEST_F(EveryRouteTest, RefusesBadNames) {
  const std::vector<std::string> bad = {"", "..",     ".",    "%2e%2e",  "a/../b", "a//b",          "a/",      "%2Fa",
                                        "a%00b",  "a%0Ab", "a%7Fb",  "a/./b",  "a%2F..%2Fb", std::string(1025, 'a'), "%zz"};
  int routes = 0;
  std::vector<Route> all = Routes();
  for (const Route& route : all) {
    if (!HasName(route)) continue;
    ++routes;
    // Glance's clients try any text as an id first, and go on to the names only after a 404.
    const bool as_glance = route.pattern.starts_with("/v2/images/") || route.pattern.starts_with("/v2/schemas/");
    for (const std::string& name : bad) {
      const RawReply reply = Ask(route.verb, Target(route, name));
      EXPECT_EQ(reply.status, as_glance && name != "%zz" ? 404 : 400) << route.verb << " " << Target(route, name);
      EXPECT_TRUE(Json(reply)["error"]["message"].is_string()) << reply.body;
    }
  }
  EXPECT_GE(routes, 8);
  for (const std::string& name : bad) {
    if (name.empty()) continue;  // the root
    EXPECT_EQ(Ask("GET", "/v1/source?directory=" + name).status, 400) << name;
  }
  EXPECT_TRUE(service_.calls().empty()) << service_.calls().front();
}

}  // namespace
}  // namespace glintfs::testing
