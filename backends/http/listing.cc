// HTML is scanned, not parsed: autoindex pages are flat lists of links, and a real parser would refuse some of them.
// What is taken is decided by where a link leads, not by how it is laid out: to a direct child of the directory,
// without a query. That leaves out Apache's sort links (?C=N;O=D), the parent directory and links to elsewhere, in
// every layout.
#include "backends/http/listing.h"
#include "fs/base/percent.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

namespace glintfs {
namespace {

Error NotAListing() { return Error{Errc::kNotSupported, "the server does not list this directory"}; }

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
         });
}

size_t FindIgnoringCase(std::string_view text, std::string_view word, size_t from = 0) {
  for (size_t i = from; i + word.size() <= text.size(); ++i)
    if (EqualsIgnoringCase(text.substr(i, word.size()), word)) return i;
  return std::string_view::npos;
}

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f'; }

// <title>Index of /x</title> or <h1>Index of /x</h1>, among the first bytes of the page.
bool LooksLikeIndex(std::string_view html) {
  const std::string_view head = html.substr(0, 64 << 10);
  for (const std::string_view tag : {"<title>", "<h1>"}) {
    for (size_t at = FindIgnoringCase(head, tag); at != std::string_view::npos;
         at = FindIgnoringCase(head, tag, at + 1)) {
      std::string_view text = head.substr(at + tag.size());
      while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
      for (const std::string_view words : {"index of", "directory listing"})
        if (EqualsIgnoringCase(text.substr(0, words.size()), words)) return true;
    }
  }
  return false;
}

// The value of attribute `name` in a tag's text, raw.
std::optional<std::string_view> Attribute(std::string_view tag, std::string_view name) {
  for (size_t i = 0; i < tag.size();) {
    while (i < tag.size() && (IsSpace(tag[i]) || tag[i] == '/')) ++i;
    const size_t start = i;
    while (i < tag.size() && !IsSpace(tag[i]) && tag[i] != '=') ++i;
    const std::string_view key = tag.substr(start, i - start);
    while (i < tag.size() && IsSpace(tag[i])) ++i;
    if (i >= tag.size() || tag[i] != '=') {
      if (i == start) ++i;
      continue;
    }
    ++i;
    while (i < tag.size() && IsSpace(tag[i])) ++i;
    const char quote = i < tag.size() && (tag[i] == '"' || tag[i] == '\'') ? tag[i] : '\0';
    const size_t from = quote != '\0' ? i + 1 : i;
    size_t to = from;
    while (to < tag.size() && (quote != '\0' ? tag[to] != quote : !IsSpace(tag[to]))) ++to;
    if (EqualsIgnoringCase(key, name)) return tag.substr(from, to - from);
    i = to + (quote != '\0' ? 1 : 0);
  }
  return std::nullopt;
}

// Where the tag that starts at `from` ends: the first '>' outside quotes.
size_t TagEnd(std::string_view html, size_t from) {
  char quote = '\0';
  for (size_t i = from; i < html.size(); ++i) {
    if (quote != '\0') {
      if (html[i] == quote) quote = '\0';
    } else if (html[i] == '"' || html[i] == '\'') {
      quote = html[i];
    } else if (html[i] == '>') {
      return i;
    }
  }
  return std::string_view::npos;
}

// The part of an absolute path below the directory; both are compared decoded, since servers and users encode
// differently.
std::optional<std::string_view> BelowDirectory(std::string_view path, const std::string& directory) {
  const auto depth = std::count(directory.begin(), directory.end(), '/');
  size_t end = 0;
  for (auto slash = depth; slash > 0; --slash) {
    end = path.find('/', end);
    if (end == std::string_view::npos) return std::nullopt;
    ++end;
  }
  const auto ours = PercentDecode(directory), theirs = PercentDecode(path.substr(0, end));
  if (!ours || !theirs || *ours != *theirs) return std::nullopt;
  return path.substr(end);
}

// The child of `directory` that a link leads to, if it leads to one.
std::optional<ListEntry> ChildOf(const HttpUrl& directory, std::string_view link) {
  link = link.substr(0, link.find('#'));
  if (link.empty() || link.find('?') != std::string_view::npos) return std::nullopt;
  const std::string origin = directory.Origin();
  if (link.starts_with(origin + "/")) {
    link.remove_prefix(origin.size());
  } else if (link.find("://") != std::string_view::npos || link.starts_with("//")) {
    return std::nullopt;
  }
  if (link.front() == '/') {
    const auto below = BelowDirectory(link, directory.path);
    if (!below) return std::nullopt;
    link = *below;
  } else if (link.starts_with("./")) {
    link.remove_prefix(2);
  } else if (link.substr(0, link.find('/')).find(':') != std::string_view::npos) {
    return std::nullopt;  // mailto:, javascript:
  }
  ListEntry entry;
  if (link.ends_with('/')) {
    entry.is_directory = true;
    link.remove_suffix(1);
  }
  const auto name = link.find('/') == std::string_view::npos ? PercentDecode(link) : std::nullopt;
  if (!name || name->empty() || *name == "." || *name == "..") return std::nullopt;
  entry.name = *name;
  return entry;
}

}  // namespace

std::string DecodeEntities(std::string_view text) {
  struct Named {
    std::string_view name;
    char value;
  };
  constexpr Named kNamed[] = {{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}};
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    const size_t end = text[i] == '&' ? text.substr(0, i + 12).find(';', i) : std::string_view::npos;
    if (end == std::string_view::npos) {
      decoded += text[i];
      continue;
    }
    const std::string_view entity = text.substr(i + 1, end - i - 1);
    std::optional<char> value;
    for (const Named& named : kNamed)
      if (entity == named.name) value = named.value;
    if (entity.starts_with('#')) {
      const bool hex = entity.size() > 1 && (entity[1] == 'x' || entity[1] == 'X');
      const std::string digits(entity.substr(hex ? 2 : 1));
      char* rest = nullptr;
      const unsigned long code = std::strtoul(digits.c_str(), &rest, hex ? 16 : 10);
      if (!digits.empty() && *rest == '\0' && code > 0 && code < 0x80) value = static_cast<char>(code);
    }
    decoded += value ? *value : '&';
    if (value) i = end;
  }
  return decoded;
}

std::vector<std::string> FindLinks(std::string_view html) {
  std::vector<std::string> links;
  for (size_t at = html.find('<'); at != std::string_view::npos; at = html.find('<', at + 1)) {
    if (html.substr(at, 4) == "<!--") {
      at = html.find("-->", at);
      if (at == std::string_view::npos) break;
      continue;
    }
    if (at + 2 >= html.size() || (html[at + 1] != 'a' && html[at + 1] != 'A') || !IsSpace(html[at + 2])) continue;
    const size_t end = TagEnd(html, at);
    if (end == std::string_view::npos) break;
    if (const auto href = Attribute(html.substr(at + 2, end - at - 2), "href")) links.push_back(DecodeEntities(*href));
    at = end;
  }
  return links;
}

Result<std::vector<ListEntry>> ParseHtmlListing(const HttpUrl& directory, std::string_view body) {
  if (!LooksLikeIndex(body)) return NotAListing();
  std::vector<ListEntry> entries;
  std::set<std::string> seen;  // FancyIndexing links the icon and the name
  for (const std::string& link : FindLinks(body)) {
    auto entry = ChildOf(directory, link);
    if (entry && seen.insert(entry->name).second) entries.push_back(std::move(*entry));
  }
  return entries;
}

Result<std::vector<ListEntry>> ParseJsonListing(std::string_view body) {
  const auto json = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!json.is_array()) return NotAListing();
  std::vector<ListEntry> entries;
  for (const auto& item : json) {
    if (!item.is_object() || !item.contains("name") || !item["name"].is_string()) return NotAListing();
    ListEntry entry{.name = item["name"].get<std::string>(), .is_directory = false};
    const auto type = item.find("type");
    if (type == item.end() || !type->is_string()) return NotAListing();
    if (*type != "file" && *type != "directory") continue;  // "other": devices, sockets
    entry.is_directory = *type == "directory";
    entries.push_back(std::move(entry));
  }
  return entries;
}

Result<std::vector<ListEntry>> ParseListing(const HttpUrl& directory, std::string_view content_type,
                                            std::string_view body) {
  if (content_type.starts_with("application/json")) return ParseJsonListing(body);
  if (content_type.starts_with("text/html") || content_type.starts_with("application/xhtml"))
    return ParseHtmlListing(directory, body);
  return NotAListing();
}

}  // namespace glintfs
