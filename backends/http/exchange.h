// Exchange: one request and its answer on one connection, without redirects. Used by HttpClient only.
#pragma once

#include <curl/curl.h>

#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include "backends/http/client.h"
#include "backends/http/speed_guard.h"

namespace glintfs {

class Exchange {
 public:
  // Whether an answer with this status is to be thrown away, because the request will be sent again with other credentials.
  using RefusedCheck = std::function<bool(long status)>;

  // `credentials` may be null. All references must outlive the exchange.
  Exchange(Connection& connection, const HttpSettings& settings, const OriginRequest& request,
           const HttpCredentials* credentials, RefusedCheck is_refused, HttpHandler& handler);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  Result<OriginResponse> Run(std::stop_token stop);

  // Set when the answer is a redirect to be followed; the handler was not called then.
  const std::optional<HttpUrl>& redirect() const { return redirect_; }
  // The check said so; the handler was not called then.
  bool refused() const { return refused_; }

 private:
  static size_t OnHeaderLine(char* data, size_t size, size_t count, void* self);
  static size_t OnData(char* data, size_t size, size_t count, void* self);
  static int OnRequestSent(void* self, char*, char*, int, int);
  static int OnSocketOpen(void* connection, curl_socket_t socket, curlsocktype);
  static int OnSocketClose(void* connection, curl_socket_t socket);

  void SetOptions();
  void SetCredentials(const HttpCredentials& credentials);
  Result<void> Drive(const std::stop_token& stop);
  Result<void> Outcome(CURLcode code);
  template <typename Data>
  bool Guarded(bool (Exchange::*step)(Data), Data data);
  bool HeaderLine(std::string_view line);  // these two: false ends the transfer
  bool Body(std::span<const std::byte> data);
  void HeadersDone();
  std::optional<Error> CheckTime(Nanos now);
  Nanos NextCheck(Nanos now) const;

  Connection& connection_;
  const HttpSettings& settings_;
  const OriginRequest& request_;
  const RefusedCheck is_refused_;
  HttpHandler& handler_;

  curl_slist* header_list_ = nullptr;
  char error_text_[CURL_ERROR_SIZE] = "";
  OriginResponse response_;
  std::optional<HttpUrl> redirect_;
  std::optional<Error> failure_;       // of the handler, or of an answer that makes no sense
  bool refused_ = false;
  bool headers_done_ = false;
  bool enough_ = false;                // nobody wants more: the transfer is cut off
  bool discard_ = false;               // nobody wants the body, but it is short: read, to keep the connection
  uint64_t discarded_ = 0;
  std::optional<Nanos> sent_at_;       // the connection is up and the request goes out
  SpeedGuard speed_;
};

}  // namespace glintfs
