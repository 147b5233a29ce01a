// Everything is one process each (workers=0) and is killed with the test. Settings that are not in the servers' own files (names of
// policies, limits) are those of /etc/swift/swift.conf, which the Debian package brings: Swift looks nowhere else.
#include "tests/support/swift.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "tests/support/openstack.h"
#include "tests/support/port.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

constexpr const char* kKinds[] = {"account", "container", "object"};

constexpr char kRings[] = R"(
import sys
from swift.common.ring import RingBuilder
for argument in sys.argv[2:]:
    kind, port = argument.split(':')
    builder = RingBuilder(1, 1, 1)
    builder.add_dev({'region': 1, 'zone': 1, 'ip': '127.0.0.1', 'port': int(port), 'device': 'd1', 'weight': 1})
    builder.rebalance()
    builder.get_ring().save('%s/%s.ring.gz' % (sys.argv[1], kind))
)";

constexpr char kCommon[] = R"([DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = root
swift_dir = {dir}
log_address = {dir}/no-log
)";

constexpr char kStorage[] = R"(devices = {dir}/node
recon_cache_path = {dir}
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
)";

constexpr char kKeystone[] = R"([filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
www_authenticate_uri = {url}
auth_url = {url}
auth_type = password
project_domain_id = default
user_domain_id = default
project_name = admin
username = admin
password = {password}
delay_auth_decision = true
token_cache_time = -1
[filter:keystoneauth]
use = egg:swift#keystoneauth
operator_roles = admin, member
)";

constexpr char kProxy[] = R"([pipeline:main]
pipeline = catch_errors cache bulk {auth} slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
# The others are asked before they are up, too, and that must not count against them.
error_suppression_limit = 1000000000
error_suppression_interval = 0
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached}
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {key} .admin
user_test_guest = {guest_key}
[filter:bulk]
use = egg:swift#bulk
yield_frequency = 600
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
)";

void WriteText(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  if (!out.flush()) throw std::runtime_error("cannot write " + path);
}

std::string ReadText(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

size_t Append(char* data, size_t size, size_t count, void* text) {
  static_cast<std::string*>(text)->append(data, size * count);
  return size * count;
}

size_t KeepHeader(char* data, size_t size, size_t count, void* headers) {
  const std::string line(data, size * count);
  const size_t colon = line.find(':');
  if (colon == std::string::npos) return line.size();
  std::string name = line.substr(0, colon), value = line.substr(line.find_first_not_of(' ', colon + 1));
  for (char& c : name) c = static_cast<char>(::tolower(c));
  while (!value.empty() && (value.back() == '\r' || value.back() == '\n')) value.pop_back();
  (*static_cast<std::map<std::string, std::string>*>(headers))[name] = value;
  return line.size();
}

SwiftReply Perform(const std::string& method, const std::string& url, const std::string& body,
                   const std::vector<std::string>& headers) {
  const std::unique_ptr<CURL, void (*)(CURL*)> easy(::curl_easy_init(), ::curl_easy_cleanup);
  curl_slist* lines = ::curl_slist_append(nullptr, "Expect:");
  for (const std::string& header : headers) lines = ::curl_slist_append(lines, header.c_str());
  if (!body.empty() || method == "PUT" || method == "POST") {
    ::curl_easy_setopt(easy.get(), CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
    ::curl_easy_setopt(easy.get(), CURLOPT_POSTFIELDS, body.data());
    lines = ::curl_slist_append(lines, "Content-Type: application/octet-stream");
  }
  SwiftReply reply;
  ::curl_easy_setopt(easy.get(), CURLOPT_CUSTOMREQUEST, method.c_str());
  if (method == "HEAD") ::curl_easy_setopt(easy.get(), CURLOPT_NOBODY, 1L);
  ::curl_easy_setopt(easy.get(), CURLOPT_URL, url.c_str());
  ::curl_easy_setopt(easy.get(), CURLOPT_HTTPHEADER, lines);
  ::curl_easy_setopt(easy.get(), CURLOPT_NOSIGNAL, 1L);
  ::curl_easy_setopt(easy.get(), CURLOPT_TIMEOUT, 120L);
  ::curl_easy_setopt(easy.get(), CURLOPT_WRITEFUNCTION, &Append);
  ::curl_easy_setopt(easy.get(), CURLOPT_WRITEDATA, &reply.body);
  ::curl_easy_setopt(easy.get(), CURLOPT_HEADERFUNCTION, &KeepHeader);
  ::curl_easy_setopt(easy.get(), CURLOPT_HEADERDATA, &reply.headers);
  const CURLcode code = ::curl_easy_perform(easy.get());
  ::curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &reply.status);
  ::curl_slist_free_all(lines);
  if (code != CURLE_OK) throw std::runtime_error(fmt::format("{} {}: {}", method, url, ::curl_easy_strerror(code)));
  return reply;
}

// One command of memcached's text protocol; its first line of answer.
std::string Memcached(int port, const std::string& command) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  char answer[64] = "";
  ssize_t length = 0;
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
      ::send(fd, command.data(), command.size(), MSG_NOSIGNAL) > 0)
    length = ::recv(fd, answer, sizeof(answer), 0);
  ::close(fd);
  return std::string(answer, static_cast<size_t>(std::max<ssize_t>(length, 0)));
}

// The id of demo's project, as Keystone itself says.
std::string ProjectOf(Keystone& keystone) {
  const std::string token = keystone.Token("demo");
  const HttpAnswer answer = Ask({.method = "GET",
                                 .url = keystone.url() + "/auth/tokens",
                                 .headers = {"X-Auth-Token: " + token, "X-Subject-Token: " + token},
                                 .body = {},
                                 .file = {}});
  return nlohmann::json::parse(answer.body).at("token").at("project").at("id");
}

}  // namespace

struct Swift::Parts {
  TempDir dir;
  int proxy_port = ReservePort();
  int memcached_port = ReservePort();
  std::vector<std::unique_ptr<Process>> servers;
  std::unique_ptr<Process> proxy;
  std::string token;
  Keystone* keystone = nullptr;
  std::string account = "AUTH_test";

  ProcessOptions Logged(const std::string& name) const {
    ProcessOptions options;
    options.stdout_path = options.stderr_path = dir / (name + ".log");
    options.directory = dir.path();
    options.death_signal = SIGKILL;  // a frozen one heeds no other
    return options;
  }
};

Swift::Swift() : parts_(std::make_unique<Parts>()) {}
Swift::~Swift() = default;

std::unique_ptr<Swift> Swift::Start() { return Start(nullptr); }
std::unique_ptr<Swift> Swift::Start(Keystone& keystone) { return Start(&keystone); }

std::unique_ptr<Swift> Swift::Start(Keystone* keystone) {
  std::unique_ptr<Swift> swift(new Swift);
  Parts& parts = *swift->parts_;
  parts.keystone = keystone;
  const std::string dir = parts.dir.path();
  std::filesystem::create_directories(dir + "/node/d1");
  std::vector<std::string> rings = {"/usr/bin/python3", "-c", kRings, dir};
  for (const char* kind : kKinds) {
    const int port = ReservePort();
    rings.push_back(fmt::format("{}:{}", kind, port));
    WriteText(fmt::format("{}/{}.conf", dir, kind),
              fmt::format(fmt::runtime(std::string(kCommon) + kStorage), fmt::arg("port", port), fmt::arg("dir", dir),
                          fmt::arg("kind", kind)));
  }
  const CommandResult made = RunCommand(rings);
  if (!made.ok()) throw std::runtime_error("no rings for Swift (is swift-proxy installed?): " + made.err);
  std::string proxy =
      fmt::format(fmt::runtime(std::string(kCommon) + kProxy), fmt::arg("port", parts.proxy_port), fmt::arg("dir", dir),
                  fmt::arg("memcached", parts.memcached_port), fmt::arg("key", kKey), fmt::arg("guest_key", kGuestKey),
                  fmt::arg("auth", keystone != nullptr ? "authtoken keystoneauth" : "tempauth"));
  if (keystone != nullptr) {
    proxy += fmt::format(kKeystone, fmt::arg("url", keystone->url()), fmt::arg("password", Keystone::admin_password()));
    keystone->AddService("object-store", fmt::format("http://127.0.0.1:{}/v1/AUTH_%(project_id)s", parts.proxy_port));
    parts.account = "AUTH_" + ProjectOf(*keystone);
  }
  WriteText(dir + "/proxy.conf", proxy);
  parts.servers.push_back(std::make_unique<Process>(
      std::vector<std::string>{"memcached", "-u", "root", "-l", "127.0.0.1", "-p", std::to_string(parts.memcached_port), "-U", "0",
                               "-m", "16", "-t", "1"},
      parts.Logged("memcached")));
  for (const char* kind : kKinds)
    parts.servers.push_back(std::make_unique<Process>(
        std::vector<std::string>{fmt::format("swift-{}-server", kind), fmt::format("{}/{}.conf", dir, kind)}, parts.Logged(kind)));
  swift->StartProxy();
  return swift;
}

void Swift::StartProxy() {
  const std::vector<std::string> argv = {"swift-proxy-server", parts_->dir / "proxy.conf"};
  parts_->proxy = std::make_unique<Process>(argv, parts_->Logged("proxy"));
  WaitUntilItAnswers();
}

// The account's answer takes the account server, too; that of a container, the container server.
void Swift::WaitUntilItAnswers() {
  const auto answers = [&] {
    try {
      return Request("PUT", "/up").status / 100 == 2 && Request("PUT", "/up/up").status / 100 == 2;
    } catch (const std::runtime_error&) {
      return false;
    }
  };
  const auto ended = [&] {
    bool any = !parts_->proxy->Running();
    for (const auto& server : parts_->servers) any = any || !server->Running();
    return any;
  };
  bool up = false;
  const bool decided = WaitFor([&] { return (up = answers()) || ended(); }, std::chrono::seconds(60));
  if (!decided || !up) throw std::runtime_error("Swift does not come up: " + Errors());
}

std::string Swift::auth_url() const { return fmt::format("http://127.0.0.1:{}/auth/v1.0", parts_->proxy_port); }
std::string Swift::storage_url() const { return fmt::format("http://127.0.0.1:{}/v1/{}", parts_->proxy_port, parts_->account); }

void Swift::MakeContainer(const std::string& name) { Call("PUT", "/" + name); }

std::string Swift::Token() {
  if (parts_->keystone != nullptr && parts_->token.empty()) parts_->token = parts_->keystone->Token("demo");
  if (parts_->token.empty()) {
    const SwiftReply reply =
        Perform("GET", auth_url(), "", {std::string("X-Auth-User: ") + kUser, std::string("X-Auth-Key: ") + kKey});
    if (reply.status != 200) throw std::runtime_error(fmt::format("login: {} {}", reply.status, reply.body));
    parts_->token = reply.headers.at("x-auth-token");
  }
  return parts_->token;
}

SwiftReply Swift::Request(const std::string& method, const std::string& path, const std::string& body,
                          const std::vector<std::string>& headers) {
  for (bool again = true;; again = false) {
    std::vector<std::string> all = headers;
    all.push_back("X-Auth-Token: " + Token());
    SwiftReply reply = Perform(method, storage_url() + path, body, all);
    if (reply.status != 401 || !again) return reply;
    parts_->token.clear();
  }
}

SwiftReply Swift::Call(const std::string& method, const std::string& path, const std::string& body,
                       const std::vector<std::string>& headers) {
  SwiftReply reply = Request(method, path, body, headers);
  if (reply.status / 100 != 2) throw std::runtime_error(fmt::format("{} {}: {} {}", method, path, reply.status, reply.body));
  return reply;
}

void Swift::Stop() { parts_->proxy.reset(); }
void Swift::Restart() {
  Stop();
  StartProxy();
}
void Swift::Freeze() { parts_->proxy->Signal(SIGSTOP); }
void Swift::Thaw() { parts_->proxy->Signal(SIGCONT); }

void Swift::ForgetTokens() {
  const std::string answer = Memcached(parts_->memcached_port, "flush_all\r\n");
  if (!answer.starts_with("OK")) throw std::runtime_error("memcached: " + answer);
}

std::string Swift::Errors() const {
  std::string text;
  for (const char* name : {"memcached", "account", "container", "object", "proxy"})
    text += ReadText(parts_->dir / (std::string(name) + ".log"));
  return text.size() > 4000 ? text.substr(text.size() - 4000) : text;
}

}  // namespace glintfs::testing
