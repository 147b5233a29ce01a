// Parsed event by event: what a listing does not need is never kept, however much of it a server sends.
#include "backends/swift/page.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include <algorithm>

namespace glintfs {
namespace {

constexpr int kMaxDepth = 8;
constexpr size_t kMaxEntries = 100'000;

class PageParser final : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return Scalar(); }
  bool boolean(bool) override { return Scalar(); }
  bool number_integer(int64_t) override { return Scalar(); }
  bool number_unsigned(uint64_t value) override {
    if (AtField() && key_ == "bytes") entry_.bytes = value;
    return Scalar();
  }
  bool number_float(double, const std::string&) override { return Scalar(); }
  bool binary(binary_t&) override { return Scalar(); }
  bool string(std::string& value) override {
    if (AtField()) {
      if (key_ == "name" || key_ == "subdir") {
        entry_.name = std::move(value);
        entry_.is_subdir = key_ == "subdir";
      } else if (key_ == "hash") {
        entry_.hash = std::move(value);
      } else if (key_ == "content_type") {
        entry_.content_type = std::move(value);
      }
    }
    return Scalar();
  }
  bool key(std::string& value) override {
    if (depth_ == 2) key_ = std::move(value);
    return true;
  }
  bool start_array(size_t) override {
    if (depth_ == 0) is_list_ = true;
    return Deeper();
  }
  bool end_array() override { return --depth_ >= 0; }
  bool start_object(size_t) override {
    if (depth_ == 1) entry_ = {};
    return Deeper();
  }
  bool end_object() override {
    if (--depth_ == 1 && !entry_.name.empty()) {
      if (entries_.size() == kMaxEntries) return Fail("more entries than a page has");
      entries_.push_back(std::move(entry_));
    }
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    return Fail(fmt::format("no JSON at byte {}", position));
  }

  Result<std::vector<SwiftEntry>> Take(bool parsed) {
    if (!parsed || !is_list_)
      return Error{Errc::kInvalid, fmt::format("the answer is no listing{}{}", why_.empty() ? "" : ": ", why_)};
    return std::move(entries_);
  }

 private:
  bool AtField() const { return depth_ == 2 && is_list_; }
  // A list of anything but objects, or a lone value, is none of ours.
  bool Scalar() { return depth_ >= 2 || Fail("a lone value"); }
  bool Deeper() { return ++depth_ <= kMaxDepth || Fail("it nests too deep"); }
  bool Fail(std::string why) {
    why_ = std::move(why);
    return false;
  }

  std::vector<SwiftEntry> entries_;
  SwiftEntry entry_;
  std::string key_;
  std::string why_;
  int depth_ = 0;
  bool is_list_ = false;
};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

Result<std::vector<SwiftEntry>> ParseSwiftPage(std::string_view json) {
  PageParser parser;
  const bool parsed = nlohmann::json::sax_parse(json.begin(), json.end(), &parser);
  return parser.Take(parsed);
}

bool IsDirectoryType(std::string_view content_type) {
  content_type = content_type.substr(0, content_type.find(';'));
  return content_type == "application/directory" || content_type == "text/directory";
}

std::optional<std::string_view> GlanceManifestOf(std::string_view name) {
  if (name.size() < kUuidLength + 6 || name[kUuidLength] != '-' || !IsUuid(name.substr(0, kUuidLength))) return std::nullopt;
  const std::string_view number = name.substr(kUuidLength + 1);
  if (!std::all_of(number.begin(), number.end(), IsDigit)) return std::nullopt;
  return name.substr(0, kUuidLength);
}

}  // namespace glintfs
