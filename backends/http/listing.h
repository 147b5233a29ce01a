// Directory listings of web servers: nginx (JSON and HTML), Apache, lighttpd and the like. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "backends/backend.h"
#include "backends/http/url.h"

namespace glintfs {

// The entries in `body`, a listing of `directory` (its URL after redirects). kNotSupported when the body is no listing:
// a start page, an application's answer.
Result<std::vector<ListEntry>> ParseListing(const HttpUrl& directory, std::string_view content_type,
                                            std::string_view body);

// nginx: [{"name": "a.img", "type": "file", …}]
Result<std::vector<ListEntry>> ParseJsonListing(std::string_view body);
// A page whose title or heading is "Index of …"; its links to direct children of `directory` are the entries.
Result<std::vector<ListEntry>> ParseHtmlListing(const HttpUrl& directory, std::string_view body);

// The values of all href attributes of <a> tags, entities decoded, in order. Tolerates anything.
std::vector<std::string> FindLinks(std::string_view html);
// "a&amp;b&#39;" → "a&b'". Unknown entities stay as they are.
std::string DecodeEntities(std::string_view text);

}  // namespace glintfs
