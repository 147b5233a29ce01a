// pugixml neither follows nor expands entities of a document's own, and does not recurse while it parses; but each element costs it
// some 70 bytes for as few as 3 of text. So the elements are counted before.
#include "backends/s3/xml.h"

#include <fmt/format.h>

#include <algorithm>
#include <pugixml.hpp>

#include "fs/base/percent.h"

namespace glintfs {
namespace {

constexpr std::ptrdiff_t kMaxParts = 400'000;  // a page of 1,000 keys has about 20,000
constexpr size_t kMaxEntries = 20'000;
constexpr size_t kMaxToken = 16 << 10;
constexpr size_t kMaxMessage = 300;

// Keys may hold a CR, so line ends stay what they are.
constexpr unsigned kParse = pugi::parse_cdata | pugi::parse_escapes | pugi::parse_ws_pcdata_single;

Error Nonsense(std::string_view what) { return Error{Errc::kInvalid, fmt::format("the listing makes no sense: {}", what)}; }

bool Load(std::string_view xml, pugi::xml_document& document) {
  const auto parts = std::count_if(xml.begin(), xml.end(), [](char c) { return c == '<' || c == '='; });
  if (parts > kMaxParts || xml.find("<!DOCTYPE") != std::string_view::npos) return false;
  return static_cast<bool>(document.load_buffer(xml.data(), xml.size(), kParse, pugi::encoding_utf8));
}

// The page's keys, decoded: '+' is a space to those who encode it so, and never stands for itself.
class PageReader {
 public:
  PageReader(const pugi::xml_node& root, std::string_view prefix)
      : prefix_(prefix), encoded_(std::string_view(root.child_value("EncodingType")) == "url") {}

  Result<void> Add(std::string_view text, bool is_directory, S3Listing& listing) const {
    const auto decoded = encoded_ ? PercentDecode(text, true) : std::optional<std::string>(text);
    if (!decoded) return Nonsense("a key is not encoded as it says");
    std::string_view name = *decoded;
    if (!name.starts_with(prefix_)) return {};
    listing.found = true;
    name.remove_prefix(prefix_.size());
    if (name.empty()) return {};
    if (is_directory && name.size() > 1 && name.ends_with('/')) name.remove_suffix(1);
    if (listing.page.entries.size() >= kMaxEntries) return Nonsense("too many keys in one answer");
    listing.page.entries.push_back({std::string(name), is_directory});
    return {};
  }

 private:
  const std::string_view prefix_;
  const bool encoded_;
};

}  // namespace

Result<S3Listing> ParseS3Listing(std::string_view xml, std::string_view prefix) {
  pugi::xml_document document;
  if (!Load(xml, document)) return Nonsense("not XML, or too much of it");
  const pugi::xml_node root = document.child("ListBucketResult");
  if (!root) return Nonsense("not a ListBucketResult");
  const PageReader reader(root, prefix);
  S3Listing listing;
  for (const pugi::xml_node& object : root.children("Contents")) GLINTFS_TRY(reader.Add(object.child_value("Key"), false, listing));
  for (const pugi::xml_node& directory : root.children("CommonPrefixes"))
    GLINTFS_TRY(reader.Add(directory.child_value("Prefix"), true, listing));
  if (std::string_view(root.child_value("IsTruncated")) != "true") return listing;
  listing.page.next_cursor = root.child_value("NextContinuationToken");
  if (listing.page.next_cursor.empty()) return Nonsense("it goes on, but does not say where (the server must know ListObjectsV2)");
  if (listing.page.next_cursor.size() > kMaxToken) return Nonsense("the continuation token is too long");
  return listing;
}

S3Failure ParseS3Failure(std::string_view xml) {
  pugi::xml_document document;
  (void)Load(xml, document);  // the beginning will do: a long body was cut
  const pugi::xml_node error = document.child("Error");
  return {.code = Presentable(std::string_view(error.child_value("Code")).substr(0, 64)),
          .message = Presentable(error.child_value("Message")),
          .region = Presentable(std::string_view(error.child_value("Region")).substr(0, 64))};
}

std::string Presentable(std::string_view text) {
  constexpr size_t kLongWord = 20;  // as long as an access key
  std::string out;
  for (size_t start = 0; start < text.size() && out.size() < kMaxMessage;) {
    const auto is_blank = [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f; };
    const size_t end = static_cast<size_t>(std::find_if(text.begin() + static_cast<std::ptrdiff_t>(start), text.end(), is_blank) -
                                           text.begin());
    const std::string_view word = text.substr(start, end - start);
    start = end + 1;
    if (word.empty()) continue;
    if (!out.empty()) out += ' ';
    const bool has_digit = std::any_of(word.begin(), word.end(), [](char c) { return c >= '0' && c <= '9'; });
    // Names of resources ("arn:aws:s3:::bucket") have colons, which no key, token or signature has.
    const bool secret = word.size() >= kLongWord && has_digit && word.find(':') == std::string_view::npos;
    out += secret ? "…" : std::string(word.substr(0, kMaxMessage));
  }
  if (out.size() > kMaxMessage) out.resize(kMaxMessage);
  return out;
}

}  // namespace glintfs
