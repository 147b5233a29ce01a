#include "backends/glance/image_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "backends/openstack/bounded_json.h"

namespace glintfs {
namespace {

using nlohmann::json;

constexpr size_t kMaxHash = 256;

bool IsHex(std::string_view text) { return text.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos; }

std::string LowerHex(std::string text) {
  if (text.size() > kMaxHash || !IsHex(text)) return "";
  for (char& c : text)
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c + 32);
  return text;
}

// A word that becomes part of a version.
std::string Word(std::string text) {
  const bool sound = text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  return sound ? std::move(text) : "";
}

ImageRecord RecordFrom(const json& object) {
  ImageRecord image;
  image.id = JsonText(object, "id");
  image.name = JsonText(object, "name");
  image.status = JsonText(object, "status");
  if (const auto size = object.find("size"); size != object.end() && size->is_number_unsigned()) image.size = size->get<uint64_t>();
  image.checksum = LowerHex(JsonText(object, "checksum"));
  image.hash_algo = Word(JsonText(object, "os_hash_algo"));
  image.hash_value = LowerHex(JsonText(object, "os_hash_value"));
  image.created_at = Word(JsonText(object, "created_at"));
  image.updated_at = Word(JsonText(object, "updated_at"));
  return image;
}

bool IsImageKey(const std::string& key) {
  static const std::set<std::string> keys = {"id",           "name",          "status",     "size",      "checksum",
                                             "os_hash_algo", "os_hash_value", "created_at", "updated_at"};
  return keys.contains(key);
}

}  // namespace

Result<ImageRecord> ParseImage(std::string_view body) {
  GLINTFS_ASSIGN(const json object,
                 ParseBoundedJson(body, [](int depth, const std::string& key) { return depth == 1 && IsImageKey(key); }));
  ImageRecord image = RecordFrom(object);
  if (!IsUuid(image.id) || image.status.empty()) return Error{Errc::kInvalid, "the answer is no image of Glance"};
  return image;
}

// Images have dozens of properties that users choose freely, and locations: they are dropped while parsing.
Result<ImagePage> ParseImagePage(std::string_view body) {
  const auto wanted = [](int depth, const std::string& key) {
    return (depth == 1 && (key == "images" || key == "next")) || (depth == 3 && IsImageKey(key));
  };
  GLINTFS_ASSIGN(const json object, ParseBoundedJson(body, wanted));
  const auto images = object.find("images");
  if (images == object.end() || !images->is_array()) return Error{Errc::kInvalid, "the answer is no list of images of Glance"};
  ImagePage page;
  page.more = !JsonText(object, "next").empty();
  for (const json& member : *images) {
    if (!member.is_object()) continue;
    ImageRecord image = RecordFrom(member);
    if (IsUuid(image.id)) page.images.push_back(std::move(image));
  }
  return page;
}

std::string VersionOf(const ImageRecord& image) {
  if (!image.hash_algo.empty() && !image.hash_value.empty()) return fmt::format("{}:{}", image.hash_algo, image.hash_value);
  if (!image.checksum.empty()) return "md5:" + image.checksum;
  return fmt::format("at:{}-{}", image.updated_at, image.size.value_or(0));
}

std::optional<Checksum> ChecksumIn(std::string_view version) {
  const size_t colon = version.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const std::string_view algorithm = version.substr(0, colon), hex = version.substr(colon + 1);
  if (algorithm != "sha512" && algorithm != "sha256" && algorithm != "sha1" && algorithm != "md5") return std::nullopt;
  return Checksum{std::string(algorithm), std::string(hex)};
}

bool IsShownName(std::string_view name) { return name.find('/') == std::string_view::npos && IsValidName(name); }

std::map<std::string, std::string> ShownNames(const std::vector<ImageRecord>& images) {
  std::map<std::string, std::set<std::string>> ids;
  for (const ImageRecord& image : images)
    if (image.active() && IsShownName(image.name)) ids[image.name].insert(image.id);
  std::map<std::string, std::string> shown;
  // Those with an id first: a name that only looks like one does not take its place.
  for (const auto& [name, same] : ids)
    for (const std::string& id : same)
      if (same.size() > 1 && IsShownName(name + "~" + id)) shown.emplace(name + "~" + id, id);
  for (const auto& [name, same] : ids)
    if (same.size() == 1) shown.emplace(name, *same.begin());
  return shown;
}

std::optional<NameAndId> SplitShownName(std::string_view shown) {
  if (shown.size() < kUuidLength + 2 || shown[shown.size() - kUuidLength - 1] != '~') return std::nullopt;
  const std::string_view id = shown.substr(shown.size() - kUuidLength);
  if (!IsUuid(id)) return std::nullopt;
  return NameAndId{std::string(shown.substr(0, shown.size() - kUuidLength - 1)), std::string(id)};
}

}  // namespace glintfs
