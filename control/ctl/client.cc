#include "control/ctl/client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "control/ctl/terminal.h"

namespace glintfs::ctl {
namespace {

using SteadyClock = std::chrono::steady_clock;

// Longer than the daemon waits for its source; a prune of a large cache takes its time too.
constexpr auto kLongPatience = std::chrono::seconds(300);
// Between two looks at the deadline, at signals and at what else may end a request.
constexpr int kLookMilliseconds = 100;

// What the daemon answers from memory.
bool IsQuick(std::string_view verb, std::string_view target) {
  if (verb != "GET") return false;
  const std::string_view path = target.substr(0, target.find('?'));
  for (const std::string_view known : {"/v1/status", "/v1/images", "/v1/queue", "/v1/activity", "/v1/events", "/v1/settings", "/v1/pins"})
    if (path == known) return true;
  return path.starts_with("/v1/images/");
}

size_t Append(char* data, size_t size, size_t count, void* body) {
  static_cast<std::string*>(body)->append(data, size * count);
  return size * count;
}

struct HeaderList {
  ~HeaderList() { curl_slist_free_all(list); }
  void Add(const std::string& line) { list = curl_slist_append(list, line.c_str()); }
  curl_slist* list = nullptr;
};

}  // namespace

struct Client::Curl {
  Curl() : handle(curl_easy_init()), multi(curl_multi_init()) {}
  ~Curl() {
    curl_easy_cleanup(handle);
    curl_multi_cleanup(multi);
  }
  CURL* handle;
  CURLM* multi;  // has the connection
};

std::string Reply::ErrorMessage() const {
  const auto json = nlohmann::json::parse(body, nullptr, false);
  if (json.is_object() && json.contains("error") && json["error"].is_object()) {
    const std::string message = json["error"].value("message", "");
    if (!message.empty()) return message;
  }
  return fmt::format("the daemon answered with HTTP status {}", status);
}

Client::Client(std::string socket_path) : socket_path_(std::move(socket_path)), curl_(std::make_unique<Curl>()) {}

Client::Client(RemoteDaemon daemon) : daemon_(std::move(daemon)), curl_(std::make_unique<Curl>()) {}

Result<RemoteDaemon> FindRemoteDaemon(std::string url, const std::string& token_file, std::string ca_file) {
  while (url.ends_with('/')) url.pop_back();
  if (!(url.starts_with("http://") || url.starts_with("https://")) || url.find('@') != std::string::npos)
    return Error{Errc::kInvalid, fmt::format("--url {}: not the URL of a daemon, like http://127.0.0.1:9393", url)};
  if (token_file.empty())
    return Error{Errc::kInvalid, "--url needs --token-file FILE (or GLINTFS_TOKEN_FILE): a file with the token that is sent"};
  std::string token;
  std::ifstream in(token_file);
  if (!in || !std::getline(in, token))
    return Error{Errc::kInvalid, fmt::format("--token-file {}: cannot be read or is empty", token_file)};
  while (!token.empty() && (token.back() == '\r' || token.back() == ' ')) token.pop_back();
  if (token.empty() || std::any_of(token.begin(), token.end(), [](char c) { return c <= 0x20 || c >= 0x7f; }))
    return Error{Errc::kInvalid, fmt::format("--token-file {}: its first line is no token", token_file)};
  if (!ca_file.empty() && !std::ifstream(ca_file))
    return Error{Errc::kInvalid, fmt::format("--ca-file {}: cannot be read", ca_file)};
  return RemoteDaemon{std::move(url), std::move(token), std::move(ca_file)};
}

Client::~Client() = default;

Result<Reply> Client::Send(const std::string& verb, const std::string& target,
                           const std::vector<std::string>& headers, const std::string& body) {
  const bool quick = IsQuick(verb, target);
  // A daemon that hangs shows in seconds, also to a request that may take minutes.
  if (!quick && !answered_) GLINTFS_TRY(SendWithin(patience_, "GET", "/v1/status", {}, ""));
  auto reply = SendWithin(quick ? patience_ : std::max<std::chrono::nanoseconds>(patience_, kLongPatience), verb, target, headers, body);
  answered_ = static_cast<bool>(reply);
  return reply;
}

Error Client::NoAnswer() const {
  if (DeadlinePassed()) return Error{Errc::kTimedOut, fmt::format("no answer from the daemon at {} within --timeout", name())};
  return Error{Errc::kTimedOut, fmt::format("the daemon at {} does not answer", name())};
}

Result<int> Client::Perform(std::chrono::nanoseconds patience) {
  const auto end = std::min(SteadyClock::now() + patience, deadline_.value_or(SteadyClock::time_point::max()));
  CURL* const curl = curl_->handle;
  CURLM* const multi = curl_->multi;
  if (const CURLMcode added = curl_multi_add_handle(multi, curl); added != CURLM_OK)
    return Error{Errc::kIo, curl_multi_strerror(added)};
  Result<int> result = static_cast<int>(CURLE_OK);
  for (;;) {
    int running = 0, left = 0;
    curl_multi_perform(multi, &running);
    if (running == 0) {
      if (const CURLMsg* const done = curl_multi_info_read(multi, &left)) result = static_cast<int>(done->data.result);
      break;
    }
    const auto rest = std::chrono::ceil<std::chrono::milliseconds>(end - SteadyClock::now()).count();
    if (Interrupted() || (abort_ && abort_())) {
      result = Error{Errc::kCancelled, "interrupted before the daemon answered"};
      break;
    }
    if (rest <= 0) {
      result = NoAnswer();
      break;
    }
    curl_multi_poll(multi, nullptr, 0, static_cast<int>(std::min<int64_t>(rest, kLookMilliseconds)), nullptr);
  }
  curl_multi_remove_handle(multi, curl);  // closes the connection of a request that was not answered
  return result;
}

Result<Reply> Client::SendWithin(std::chrono::nanoseconds patience, const std::string& verb, const std::string& target,
                                 const std::vector<std::string>& headers, const std::string& body) {
  CURL* const curl = curl_->handle;
  if (curl == nullptr || curl_->multi == nullptr) return Error{Errc::kIo, "libcurl cannot start"};
  Reply reply;
  char message[CURL_ERROR_SIZE] = "";
  HeaderList list;
  list.Add("Expect:");
  list.Add("Content-Type:");
  if (!daemon_.token.empty()) list.Add("X-Auth-Token: " + daemon_.token);
  for (const std::string& header : headers) list.Add(header);
  const std::string url = (socket_path_.empty() ? daemon_.url : "http://localhost") + target;

  curl_easy_reset(curl);  // keeps the connection
  if (!socket_path_.empty()) curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket_path_.c_str());
  if (!daemon_.ca_file.empty()) curl_easy_setopt(curl, CURLOPT_CAINFO, daemon_.ca_file.c_str());
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list.list);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "glintctl");
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, Append);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reply.body);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, message);
  if (verb != "GET") {  // an empty body goes with Content-Length: 0
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.c_str());
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, verb.c_str());
  }
  const auto performed = Perform(patience);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, nullptr);  // the buffers end with this call
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, nullptr);
  if (!performed) return performed.error();
  const auto rc = static_cast<CURLcode>(*performed);

  if (rc == CURLE_OPERATION_TIMEDOUT) return NoAnswer();
  if (rc == CURLE_PEER_FAILED_VERIFICATION || rc == CURLE_SSL_CACERT_BADFILE) {
    return Error{Errc::kUnavailable,
                 fmt::format("the certificate of {} cannot be checked: {}. Name the authority that signed it with --ca-file FILE", name(),
                             message[0] != '\0' ? message : curl_easy_strerror(rc))};
  }
  if (rc == CURLE_COULDNT_CONNECT) {
    long err = 0;
    curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &err);
    const bool denied = err == EACCES || err == EPERM;
    const std::string why = err != 0 ? std::strerror(static_cast<int>(err)) : message;
    return Error{denied ? Errc::kAccessDenied : Errc::kUnavailable,
                 fmt::format("cannot connect to the daemon at {}: {}", name(), why)};
  }
  if (rc != CURLE_OK) {
    return Error{Errc::kUnavailable, fmt::format("the daemon at {} does not answer: {}", name(),
                                                 message[0] != '\0' ? message : curl_easy_strerror(rc))};
  }
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  reply.status = static_cast<int>(status);
  return reply;
}

}  // namespace glintfs::ctl
