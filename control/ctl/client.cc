#include "control/ctl/client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

namespace glintfs::ctl {
namespace {

// Longer than the daemon waits for its source; a prune of a large cache takes its time too.
constexpr long kTimeoutSeconds = 300;
constexpr long kConnectTimeoutSeconds = 10;

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
  Curl() : handle(curl_easy_init()) {}
  ~Curl() { curl_easy_cleanup(handle); }
  CURL* handle;
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
  return RemoteDaemon{std::move(url), std::move(token), std::move(ca_file)};
}

Client::~Client() = default;

Result<Reply> Client::Send(const std::string& verb, const std::string& target,
                           const std::vector<std::string>& headers, const std::string& body) {
  CURL* const curl = curl_->handle;
  if (curl == nullptr) return Error{Errc::kIo, "libcurl cannot start"};
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
  curl_easy_setopt(curl, CURLOPT_TIMEOUT, kTimeoutSeconds);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, kConnectTimeoutSeconds);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, Append);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reply.body);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, message);
  if (verb != "GET") {  // an empty body goes with Content-Length: 0
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.c_str());
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, verb.c_str());
  }
  const CURLcode rc = curl_easy_perform(curl);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, nullptr);  // the buffers end with this call
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, nullptr);

  if (rc == CURLE_OPERATION_TIMEDOUT) return Error{Errc::kTimedOut, "no answer from the daemon at " + name()};
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
