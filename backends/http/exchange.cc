// The loop that drives one transfer:
//
//   curl_multi_perform ──▶ header and body callbacks ──▶ handler (may block: that is the back-pressure)
//   stop, timeouts     ──▶ leave; removing the easy handle closes what is half done
//   curl_multi_poll    ──▶ sleeps until the socket, the next timeout, or curl_multi_wakeup from the stop_callback
//
// libcurl's own low-speed check counts the time a handler spends, so SpeedGuard does it here. Redirects are followed by
// HttpClient, which knows whom the credentials are for.
#include "backends/http/exchange.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace glintfs {
namespace {

// What libcurl hands over at once. Small enough to stay in the CPU's cache on the way to a chunk, and a read that waits for the
// first bytes does not wait until a whole chunk is out of the socket (docs/performance.md).
constexpr long kBufferSize = 64 << 10;
constexpr uint64_t kMaxDiscard = 64 << 10;  // cheaper to read than to connect anew
constexpr Nanos kLongestSleep = std::chrono::seconds(1);

Nanos Now() { return Clock::System().Now(); }
long Milliseconds(Nanos time) {
  return std::max<long>(1, static_cast<long>(std::chrono::ceil<std::chrono::milliseconds>(time).count()));
}

bool IsRedirect(long status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

Errc CodeFor(CURLcode code) {
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT: return Errc::kTimedOut;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_BAD_CONTENT_ENCODING: return Errc::kInvalid;
    default: return Errc::kUnavailable;  // a refused certificate too: the source could not be asked
  }
}

}  // namespace

Exchange::Exchange(Connection& connection, const HttpSettings& settings, const OriginRequest& request,
                   const HttpCredentials* credentials, RefusedCheck is_refused, HttpHandler& handler)
    : connection_(connection),
      settings_(settings),
      request_(request),
      is_refused_(std::move(is_refused)),
      handler_(handler),
      speed_(settings.low_speed_limit, settings.low_speed_time, Now()) {
  response_.url = request.url;
  ::curl_easy_reset(connection_.easy);  // keeps connections, DNS and TLS sessions, forgets the last request's options
  for (const std::string& header : request_.headers) header_list_ = ::curl_slist_append(header_list_, header.c_str());
  SetOptions();
  if (credentials != nullptr) SetCredentials(*credentials);
  ::curl_easy_setopt(connection_.easy, CURLOPT_HTTPHEADER, header_list_);
}

Exchange::~Exchange() {
  ::curl_easy_reset(connection_.easy);  // it must not point to what ends here
  ::curl_slist_free_all(header_list_);
}

void Exchange::SetOptions() {
  CURL* const easy = connection_.easy;
  const std::string url = request_.url.Text();
  ::curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  ::curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  ::curl_easy_setopt(easy, CURLOPT_NOBODY, request_.head ? 1L : 0L);
  ::curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  ::curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
  ::curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);  // a proxy's answer is not the answer
  ::curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  ::curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);  // a cancelled request does not wait for the resolver
  ::curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
  ::curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  ::curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 30L);
  ::curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 15L);
  // For NearWindow: CURLINFO_ACTIVESOCKET tells nothing while a transfer runs.
  ::curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, &Exchange::OnSocketOpen);
  ::curl_easy_setopt(easy, CURLOPT_SOCKOPTDATA, &connection_);
  ::curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, &Exchange::OnSocketClose);
  ::curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, &connection_);
  ::curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, kBufferSize);
  ::curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, Milliseconds(settings_.connect_timeout));
  ::curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error_text_);
  ::curl_easy_setopt(easy, CURLOPT_USERAGENT, "glintfs");
  if (!settings_.ca_file.empty()) ::curl_easy_setopt(easy, CURLOPT_CAINFO, settings_.ca_file.c_str());
  if (request_.post) {
    ::curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.post->size()));
    ::curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request_.post->c_str());
  }
  ::curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &Exchange::OnHeaderLine);
  ::curl_easy_setopt(easy, CURLOPT_HEADERDATA, this);
  ::curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Exchange::OnData);
  ::curl_easy_setopt(easy, CURLOPT_WRITEDATA, this);
  ::curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, &Exchange::OnRequestSent);
  ::curl_easy_setopt(easy, CURLOPT_PREREQDATA, this);
}

void Exchange::SetCredentials(const HttpCredentials& credentials) {
  CURL* const easy = connection_.easy;
  for (const std::string& header : credentials.headers)
    header_list_ = ::curl_slist_append(header_list_, header.c_str());
  if (!credentials.token.empty()) {
    ::curl_easy_setopt(easy, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
    ::curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, credentials.token.c_str());
  } else if (!credentials.user.empty()) {
    if (credentials.signature.empty()) {
      ::curl_easy_setopt(easy, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
    } else {
      ::curl_easy_setopt(easy, CURLOPT_AWS_SIGV4, credentials.signature.c_str());
    }
    ::curl_easy_setopt(easy, CURLOPT_USERNAME, credentials.user.c_str());
    ::curl_easy_setopt(easy, CURLOPT_PASSWORD, credentials.password.c_str());
  }
}

Result<OriginResponse> Exchange::Run(std::stop_token stop) {
  ::curl_multi_add_handle(connection_.multi, connection_.easy);
  Result<void> driven = Drive(stop);
  // A connection that did not answer may be dead; HTTP/2 would go on using it.
  if (!driven && !failure_) ::curl_easy_setopt(connection_.easy, CURLOPT_FORBID_REUSE, 1L);
  if (driven) {
    long version = 0;
    ::curl_easy_getinfo(connection_.easy, CURLINFO_HTTP_VERSION, &version);
    response_.http2 = version == CURL_HTTP_VERSION_2_0;
  }
  ::curl_multi_remove_handle(connection_.multi, connection_.easy);
  if (!driven) return std::move(driven).error();
  return std::move(response_);
}

Result<void> Exchange::Drive(const std::stop_token& stop) {
  const std::stop_callback wake(stop, [multi = connection_.multi] { ::curl_multi_wakeup(multi); });
  for (;;) {
    int running = 0;
    if (::curl_multi_perform(connection_.multi, &running) != CURLM_OK)
      return Error{Errc::kUnavailable, "libcurl failed"};
    if (stop.stop_requested()) return Error{Errc::kCancelled, "given up"};
    if (running == 0) {
      int left = 0;
      const CURLMsg* message = ::curl_multi_info_read(connection_.multi, &left);
      return Outcome(message != nullptr ? message->data.result : CURLE_RECV_ERROR);
    }
    const Nanos now = Now();
    if (auto late = CheckTime(now)) {
      enough_ = redirect_ || discard_;  // what is only discarded need not be waited for
      return failure_ || enough_ ? Outcome(CURLE_OK) : std::move(*late);
    }
    ::curl_multi_poll(connection_.multi, nullptr, 0, static_cast<int>(Milliseconds(NextCheck(now) - now)), nullptr);
  }
}

Result<void> Exchange::Outcome(CURLcode code) {
  if (failure_) return *failure_;
  if (enough_) return {};
  if (code == CURLE_OK && headers_done_) return {};
  if (code == CURLE_OK) return Error{Errc::kInvalid, "the answer has no headers"};
  std::string text = error_text_[0] != '\0' ? error_text_ : ::curl_easy_strerror(code);
  if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
    text += " (set ca_file= to the authority that signed the server's certificate)";
  return Error{CodeFor(code), std::move(text)};
}

std::optional<Error> Exchange::CheckTime(Nanos now) {
  if (headers_done_) {
    if (!speed_.TooSlow(now)) return std::nullopt;
    return Error{Errc::kTimedOut, "the transfer hardly moves"};
  }
  if (sent_at_ && now - *sent_at_ >= settings_.first_byte_timeout) return Error{Errc::kTimedOut, "no answer"};
  return std::nullopt;
}

Nanos Exchange::NextCheck(Nanos now) const {
  Nanos next = now + kLongestSleep;
  if (headers_done_ && settings_.low_speed_time.count() > 0) next = std::min(next, speed_.next_check());
  if (!headers_done_ && sent_at_) next = std::min(next, *sent_at_ + settings_.first_byte_timeout);
  return std::max(next, now);
}

int Exchange::OnSocketOpen(void* connection, curl_socket_t socket, curlsocktype) {
  auto& opened = *static_cast<Connection*>(connection);
  opened.fresh_socket = socket;
  opened.window.OnOpen(socket);
  return CURL_SOCKOPT_OK;
}

int Exchange::OnSocketClose(void* connection, curl_socket_t socket) {
  curl_socket_t& known = static_cast<Connection*>(connection)->fresh_socket;
  if (known == socket) known = CURL_SOCKET_BAD;
  return ::close(socket);
}

int Exchange::OnRequestSent(void* self, char*, char*, int, int) {
  static_cast<Exchange*>(self)->sent_at_ = Now();
  return CURL_PREREQFUNC_OK;
}

// No exception passes through libcurl's frames.
template <typename Data>
bool Exchange::Guarded(bool (Exchange::*step)(Data), Data data) {
  try {
    return (this->*step)(data);
  } catch (const std::exception& e) {
    failure_ = Error{Errc::kIo, e.what()};
    discard_ = false;
    return false;
  }
}

// A header block starts with a status line and ends with an empty one; 1xx blocks precede the real one, trailers follow
// it.
size_t Exchange::OnHeaderLine(char* data, size_t size, size_t count, void* self) {
  const std::string_view line(data, size * count);
  return static_cast<Exchange*>(self)->Guarded(&Exchange::HeaderLine, line) ? line.size() : 0;
}

bool Exchange::HeaderLine(std::string_view line) {
  if (headers_done_) return true;
  if (line.starts_with("HTTP/")) {
    response_.headers.Clear();
    const size_t space = line.find(' ');
    const auto status = space == std::string_view::npos ? std::nullopt : ParseNumber(line.substr(space + 1, 3));
    response_.status = static_cast<long>(status.value_or(0));
  } else if (line == "\r\n" || line == "\n") {
    if (response_.status >= 200) HeadersDone();
  } else if (!response_.headers.AddLine(line)) {
    failure_ = Error{Errc::kInvalid, "the answer's headers are too long"};
  }
  return !enough_ && (!failure_ || discard_);
}

void Exchange::HeadersDone() {
  headers_done_ = true;
  speed_.Restart(Now());
  if (const curl_socket_t fresh = std::exchange(connection_.fresh_socket, CURL_SOCKET_BAD); fresh != CURL_SOCKET_BAD)
    connection_.window.OnFirstAnswer(fresh, request_.head);
  if (is_refused_(response_.status)) {
    refused_ = true;
    discard_ = true;
    return;
  }
  const auto location = response_.headers.Find("location");
  if (request_.follow_redirects && IsRedirect(response_.status) && location) {
    auto target = ResolveUrl(request_.url, *location);
    if (!target) {
      failure_ = std::move(target).error();
      return;
    }
    const bool adds_slash = target->path == request_.url.path + "/" && target->query.empty();
    response_.is_directory = adds_slash && request_.stop_at_directory;
    if (!response_.is_directory) {
      redirect_ = std::move(*target);
      return;
    }
  }
  auto wanted = handler_.OnHeaders(response_);
  discard_ = !wanted || !*wanted;
  if (!wanted) failure_ = std::move(wanted).error();
  if (discard_ && !request_.head) {
    const auto length = response_.headers.ContentLength();
    enough_ = length && length->value_or(0) > kMaxDiscard;
  }
}

size_t Exchange::OnData(char* data, size_t size, size_t count, void* self) {
  const auto bytes = std::as_bytes(std::span(data, size * count));
  return static_cast<Exchange*>(self)->Guarded(&Exchange::Body, bytes) ? bytes.size() : CURL_WRITEFUNC_ERROR;
}

bool Exchange::Body(std::span<const std::byte> data) {
  speed_.AddBytes(data.size());
  if (redirect_ || discard_) {
    discarded_ += data.size();
    if (discarded_ > kMaxDiscard) enough_ = true;
    return !enough_;
  }
  const Nanos start = Now();
  auto more = handler_.OnBody(data);
  speed_.AddBusy(Now() - start);
  if (!more) failure_ = std::move(more).error();
  if (more && !*more) enough_ = true;
  return !failure_ && !enough_;
}

}  // namespace glintfs
