// Listings are those of `openstack image list`: what is public, of the project, or shared with it and accepted, and not hidden. An
// image beyond that which may be read, a hidden or a community one, is there under its id all the same.
//
// Pages are asked for in the order of ids, each from the last id of the one before. The `next` of an answer only says that there is
// more; it is never followed, as it could lead anywhere. A cursor names the last few ids, since Glance refuses a marker that was
// deleted meanwhile.
#include "backends/glance/glance_backend.h"

#include <fmt/format.h>

#include <algorithm>

#include "backends/glance/glance_reader.h"
#include "backends/http/headers.h"
#include "backends/openstack/token.h"
#include "fs/base/percent.h"

namespace glintfs {
namespace {

constexpr std::string_view kByName = "by-name";
constexpr std::string_view kQuery = "limit=1000&status=active&sort=id:asc";
constexpr size_t kMarkers = 3;
constexpr uint64_t kMaxPages = 10'000;
constexpr size_t kMaxNamed = 100'000;  // images, for by-name/

// "PAGE:ID,ID,ID", the last id first.
struct Cursor {
  uint64_t page = 0;
  std::vector<std::string> markers;

  std::string Text() const { return fmt::format("{}:{}", page, fmt::join(markers, ",")); }
};

Result<Cursor> ParseCursor(std::string_view text) {
  Cursor cursor;
  if (text.empty()) return cursor;
  const size_t colon = text.find(':');
  const auto page = ParseNumber(text.substr(0, colon));
  for (size_t start = colon + 1; page && colon != std::string_view::npos && start <= text.size();) {
    const size_t end = std::min(text.find(',', start), text.size());
    cursor.markers.emplace_back(text.substr(start, end - start));
    start = end + 1;
  }
  if (!page || cursor.markers.empty() || !std::all_of(cursor.markers.begin(), cursor.markers.end(), IsUuid))
    return Error{Errc::kInvalid, "that is no cursor of this listing"};
  cursor.page = *page;
  return cursor;
}

// The page at `cursor`, which moves on to the next one; no markers: it was the last.
Result<std::vector<ImageRecord>> NextPage(GlanceClient& client, Cursor& cursor, const std::stop_token& stop) {
  std::optional<ImagePage> page;
  if (cursor.markers.empty()) {
    GLINTFS_ASSIGN(page, client.List(std::string(kQuery), stop));
  }
  for (size_t i = 0; !page && i < cursor.markers.size(); ++i) {
    GLINTFS_ASSIGN(page, client.TryList(fmt::format("{}&marker={}", kQuery, cursor.markers[i]), stop));
  }
  if (!page) return Error{Errc::kUnavailable, "the images of Glance change too quickly to be listed: try again"};

  std::vector<std::string> last;
  for (auto image = page->images.rbegin(); image != page->images.rend() && last.size() < kMarkers; ++image)
    last.push_back(image->id);
  const bool stuck = !last.empty() && !cursor.markers.empty() && last.front() == cursor.markers.front();
  if (page->more && (last.empty() || stuck || ++cursor.page > kMaxPages))
    return Error{Errc::kInvalid, "the listing of Glance has no end"};
  cursor.markers = page->more ? std::move(last) : std::vector<std::string>();
  return std::move(page->images);
}

Error NotFound(std::string_view name) { return Error{Errc::kNotFound, fmt::format("no image {}", name)}; }

}  // namespace

GlanceBackend::GlanceBackend(std::string source, std::shared_ptr<GlanceClient> client, Options options)
    : Backend(std::move(source)),
      options_(options),
      client_(std::move(client)),
      rangeless_(std::make_shared<RangelessNames>()) {}

Result<NameInfo> GlanceBackend::DoStat(std::string_view name, std::stop_token stop) {
  const NameInfo directory{.is_directory = true, .image = {}, .alias = false};
  if (name.empty()) {  // asks with the credentials
    GLINTFS_TRY(client_->List("limit=1", std::move(stop)));
    return directory;
  }
  if (options_.names && name == kByName) return directory;
  if (options_.names && name.starts_with(fmt::format("{}/", kByName)))
    return StatByName(std::string(name.substr(kByName.size() + 1)), std::move(stop));
  if (!IsUuid(name)) return NotFound(name);
  GLINTFS_ASSIGN(const std::optional<ImageRecord> image, client_->Show(std::string(name), std::move(stop)));
  if (!image) return NotFound(name);
  return InfoFrom(*image, false);
}

Result<NameInfo> GlanceBackend::InfoFrom(const ImageRecord& image, bool alias) const {
  if (!image.active()) return Error{Errc::kNotFound, fmt::format("image {} is not active", image.id)};
  if (!image.size) return Error{Errc::kInvalid, fmt::format("image {}: Glance does not know its size", image.id)};
  ImageInfo info{.id = {source(), image.id, VersionOf(image)}, .size = *image.size, .mtime = {}};
  // The data is as old as the image; updated_at is of its properties.
  info.mtime = ParseIsoTime(image.created_at).value_or(Nanos(0));
  return NameInfo{.is_directory = false, .image = std::move(info), .alias = alias};
}

Result<NameInfo> GlanceBackend::StatByName(const std::string& shown, std::stop_token stop) {
  if (!IsShownName(shown)) return NotFound(shown);
  if (const auto split = SplitShownName(shown)) {
    GLINTFS_ASSIGN(const std::optional<ImageRecord> image, client_->Show(split->id, stop));
    if (image && image->active() && image->name == split->name) return InfoFrom(*image, true);
  }
  // "eq:" makes it a name whatever it begins with. Databases that do not tell upper from lower case find more than was asked for.
  GLINTFS_ASSIGN(ImagePage page,
                 client_->List(fmt::format("limit=1000&status=active&name=eq:{}", PercentEncode(shown)), std::move(stop)));
  std::erase_if(page.images, [&](const ImageRecord& image) { return !image.active() || image.name != shown; });
  if (page.images.empty()) return NotFound(shown);
  if (page.images.size() > 1)
    return Error{Errc::kNotFound, fmt::format("{} images have the name {}: they are {}~ID", page.images.size(), shown, shown)};
  return InfoFrom(page.images.front(), true);
}

Result<Listing> GlanceBackend::DoList(std::string_view directory, std::string_view cursor, std::stop_token stop) {
  if (directory.empty()) return ListIds(cursor, std::move(stop));
  if (options_.names && directory == kByName) return ListNames(std::move(stop));
  GLINTFS_TRY(DoStat(directory, std::move(stop)));
  return Error{Errc::kNotDirectory, fmt::format("{} is not a directory", directory)};
}

Result<Listing> GlanceBackend::ListIds(std::string_view text, std::stop_token stop) {
  GLINTFS_ASSIGN(Cursor cursor, ParseCursor(text));
  GLINTFS_ASSIGN(const std::vector<ImageRecord> images, NextPage(*client_, cursor, stop));
  Listing listing;
  if (text.empty() && options_.names) listing.entries.push_back({.name = std::string(kByName), .is_directory = true});
  for (const ImageRecord& image : images)
    if (image.active()) listing.entries.push_back({.name = image.id, .is_directory = false});
  if (!cursor.markers.empty()) listing.next_cursor = cursor.Text();
  return listing;
}

// All at once: whether a name stands alone is known when all are.
Result<Listing> GlanceBackend::ListNames(std::stop_token stop) {
  std::vector<ImageRecord> all;
  Cursor cursor;
  do {
    GLINTFS_ASSIGN(std::vector<ImageRecord> images, NextPage(*client_, cursor, stop));
    all.insert(all.end(), std::make_move_iterator(images.begin()), std::make_move_iterator(images.end()));
    if (all.size() > kMaxNamed)
      return Error{Errc::kNotSupported, fmt::format("more than {} images are too many for {}/", kMaxNamed, kByName)};
  } while (!cursor.markers.empty());
  Listing listing;
  for (const auto& [name, id] : ShownNames(all)) listing.entries.push_back({.name = name, .is_directory = false});
  return listing;
}

Result<std::unique_ptr<ImageReader>> GlanceBackend::DoOpen(const ImageInfo& image, std::stop_token) {
  return std::unique_ptr<ImageReader>(std::make_unique<GlanceReader>(client_, rangeless_, image));
}

// Mostly part of the version. An image whose hash is of another kind has an MD5 beside it.
Result<std::optional<Checksum>> GlanceBackend::DoFindChecksum(const ImageInfo& image, std::stop_token stop) {
  if (auto checksum = ChecksumIn(image.id.version)) return checksum;
  GLINTFS_ASSIGN(const std::optional<ImageRecord> record, client_->Show(image.id.name, std::move(stop)));
  if (!record || VersionOf(*record) != image.id.version || record->checksum.empty()) return std::optional<Checksum>();
  return std::optional(Checksum{"md5", record->checksum});
}

}  // namespace glintfs
