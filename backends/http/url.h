// http(s) URLs: parsed, joined with names, resolved against each other. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "fs/base/result.h"

namespace glintfs {

struct HttpUrl {
  std::string scheme;  // "http" or "https"
  std::string host;    // lower case; IPv6 in brackets
  std::string port;    // decimal; empty: the scheme's own
  std::string path;    // percent-encoded, starts with '/'
  std::string query;   // without '?', often empty

  std::string Text() const;    // the whole, as it is requested
  std::string Origin() const;  // "https://host:8443": whom credentials are for

  // The URL of `name` (components joined by '/') below this one, which must end with '/'.
  HttpUrl Below(std::string_view name) const;
};

// kInvalid for anything but http and https, for user:password@ (the message does not repeat it), and for what does not
// parse.
Result<HttpUrl> ParseHttpUrl(std::string_view text);

// The URL of a source: no query, no fragment; the path ends with '/'.
Result<HttpUrl> ParseSourceUrl(std::string_view text);

// What `reference` (a Location header) means in an answer to `base`. User names in it are dropped, as is the fragment.
Result<HttpUrl> ResolveUrl(const HttpUrl& base, std::string_view reference);

}  // namespace glintfs
