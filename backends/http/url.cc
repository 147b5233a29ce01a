// libcurl's own URL parser does the parsing, so that what is checked here is what is requested there.
#include "backends/http/url.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "fs/base/percent.h"

namespace glintfs {
namespace {

using CurlUrl = std::unique_ptr<CURLU, void (*)(CURLU*)>;

CurlUrl NewCurlUrl() { return CurlUrl(::curl_url(), ::curl_url_cleanup); }

std::string Part(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (::curl_url_get(url, part, &text, flags) != CURLUE_OK) return "";
  std::string copy(text);
  ::curl_free(text);
  return copy;
}

bool HasControlOrSpace(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f; });
}

Result<HttpUrl> Extract(CURLU* url) {
  HttpUrl parsed;
  parsed.scheme = Part(url, CURLUPART_SCHEME);
  parsed.host = Part(url, CURLUPART_HOST);
  parsed.port = Part(url, CURLUPART_PORT, CURLU_NO_DEFAULT_PORT);
  parsed.path = Part(url, CURLUPART_PATH);
  parsed.query = Part(url, CURLUPART_QUERY);
  if (parsed.scheme != "http" && parsed.scheme != "https")
    return Error{Errc::kInvalid, fmt::format("'{}' is not a URL of http or https", parsed.scheme)};
  std::transform(parsed.host.begin(), parsed.host.end(), parsed.host.begin(), [](unsigned char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : static_cast<char>(c);
  });
  if (parsed.path.empty()) parsed.path.push_back('/');
  return parsed;
}

}  // namespace

std::string HttpUrl::Origin() const {
  return port.empty() ? fmt::format("{}://{}", scheme, host) : fmt::format("{}://{}:{}", scheme, host, port);
}

std::string HttpUrl::Text() const { return query.empty() ? Origin() + path : Origin() + path + "?" + query; }

HttpUrl HttpUrl::Below(std::string_view name) const {
  HttpUrl url = *this;
  for (size_t start = 0; start < name.size();) {
    const size_t end = std::min(name.find('/', start), name.size());
    url.path += PercentEncode(name.substr(start, end - start));
    if (end < name.size()) url.path += '/';
    start = end + 1;
  }
  return url;
}

Result<HttpUrl> ParseHttpUrl(std::string_view text) {
  const CurlUrl url = NewCurlUrl();
  const std::string copy(text);
  if (HasControlOrSpace(text) || ::curl_url_set(url.get(), CURLUPART_URL, copy.c_str(), 0) != CURLUE_OK)
    return Error{Errc::kInvalid,
                 "the URL does not parse: write it like https://host:port/path/, special characters as %XX"};
  if (!Part(url.get(), CURLUPART_USER).empty() || !Part(url.get(), CURLUPART_PASSWORD).empty())
    return Error{Errc::kInvalid,
                 "a user or password inside a URL shows in ps: leave it out and use user_file= or token_file= (http), "
                 "credentials_file= (s3) or cloud= (glance, swift)"};
  return Extract(url.get());
}

Result<HttpUrl> ParseSourceUrl(std::string_view text) {
  GLINTFS_ASSIGN(HttpUrl url, ParseHttpUrl(text));
  if (text.find('?') != std::string_view::npos || text.find('#') != std::string_view::npos)
    return Error{Errc::kInvalid,
                 fmt::format("{}: a source is a directory, its URL has no '?' and no '#'", url.Origin())};
  if (!url.path.ends_with('/')) url.path += '/';
  return url;
}

Result<HttpUrl> ResolveUrl(const HttpUrl& base, std::string_view reference) {
  const CurlUrl url = NewCurlUrl();
  const std::string copy(reference);
  if (::curl_url_set(url.get(), CURLUPART_URL, base.Text().c_str(), 0) != CURLUE_OK ||
      ::curl_url_set(url.get(), CURLUPART_URL, copy.c_str(), CURLU_URLENCODE) != CURLUE_OK)
    return Error{Errc::kInvalid, fmt::format("{}: redirected to something that is not a URL", base.Text())};
  return Extract(url.get());
}

}  // namespace glintfs
