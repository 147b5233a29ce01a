// How a name is resolved:
//
//   HEAD name   200   an image, or an object that stands for a directory
//               404   GET container?prefix=name/&limit=1: something begins so: a directory, else not found
//
// Segments of Glance's large images are hidden where their manifest stands beside them:
//
//   listing     <uuid>-<digits> after a <uuid> of no bytes (a manifest holds none itself). In byte order the manifest comes first,
//               so it was seen on this page or an earlier one (the cursor tells): costs nothing.
//   one name    its object exists and is called so: HEAD <uuid> must be a manifest for it. One request more, for such names only.
//
// The segments of other dynamic large objects are objects like any other, unless they lie in another container, as swift puts them.
#include "backends/swift/swift_backend.h"

#include <fmt/format.h>

#include "backends/swift/answer.h"
#include "backends/swift/segments.h"
#include "backends/swift/swift_reader.h"

namespace glintfs {
namespace {

bool IsMissing(const OriginResponse& response) { return response.status == 404 || response.status == 410; }

std::string_view LastComponent(std::string_view name) { return name.substr(name.rfind('/') + 1); }

// The manifest whose segments may follow, and the last name of a page: "<uuid>\n<name>". A name may hold a line feed, a UUID not.
struct Cursor {
  std::string manifest;
  std::string marker;

  std::string Text() const { return manifest + "\n" + marker; }
};

Result<Cursor> ParseCursor(std::string_view text) {
  if (text.empty()) return Cursor{};
  const size_t line = text.find('\n');
  if (line == std::string_view::npos) return Error{Errc::kInvalid, "not a cursor of this listing"};
  return Cursor{.manifest = std::string(text.substr(0, line)), .marker = std::string(text.substr(line + 1))};
}

std::string SourceText(const SwiftBackend::Options& options) {
  const CloudIdentity cloud = options.login.auth->identity();
  return fmt::format("swift://{}{}{}{}{}/{}/{}", cloud.project, cloud.project.empty() ? "" : "@", cloud.cloud,
                     cloud.region.empty() ? "" : ",", cloud.region, options.container, options.prefix);
}

}  // namespace

SwiftBackend::SwiftBackend(Options options)
    : Backend(SourceText(options)),
      container_(std::move(options.container)),
      prefix_(std::move(options.prefix)),
      max_parallel_(options.max_parallel),
      account_(std::make_shared<SwiftAccount>(std::move(options.http), std::move(options.login), options.page_limit)) {}

Result<NameInfo> SwiftBackend::StatRoot(std::stop_token stop) {
  GLINTFS_ASSIGN(const OriginRequest request, account_->Request(container_, "", stop));
  GLINTFS_ASSIGN(const OriginResponse response, account_->Head(request, stop));
  if (IsMissing(response)) return Error{Errc::kNotFound, fmt::format("{}: there is no such container", request.url.Text())};
  if (response.status != 200 && response.status != 204) return account_->StatusError(request, response);
  if (!prefix_.empty()) {
    GLINTFS_ASSIGN(const bool any, HasNames(prefix_, stop));
    if (!any) return Error{Errc::kNotFound, fmt::format("{}: no object's name begins with '{}'", request.url.Text(), prefix_)};
  }
  return NameInfo{.is_directory = true, .image = {}};
}

Result<bool> SwiftBackend::HasNames(const std::string& prefix, std::stop_token stop) {
  const SwiftAccount::Query query{.prefix = prefix, .marker = {}, .directories = false, .limit = 1};
  GLINTFS_ASSIGN(const auto page, account_->List(container_, query, std::move(stop)));
  return !page.empty();
}

Result<bool> SwiftBackend::IsHiddenSegment(std::string_view name, std::stop_token stop) {
  const std::string_view component = LastComponent(name);
  const auto manifest = GlanceManifestOf(component);
  if (!manifest) return false;
  const std::string base = Key(name.substr(0, name.size() - component.size())) + std::string(*manifest);
  GLINTFS_ASSIGN(const OriginRequest request, account_->Request(container_, base, stop));
  GLINTFS_ASSIGN(const OriginResponse response, account_->Head(request, stop));
  if (IsMissing(response)) return false;
  if (response.status != 200) return account_->StatusError(request, response);
  const auto found = ManifestOf(response.headers);
  return found && found->container == container_ && Key(name).starts_with(found->prefix);
}

Result<ImageInfo> SwiftBackend::InfoFrom(std::string_view name, const OriginRequest& request, const OriginResponse& response,
                                         std::stop_token stop) {
  ImageInfo image{.id = {source(), std::string(name), ""}, .size = 0, .mtime = SwiftMtime(response.headers)};
  if (const auto manifest = ManifestOf(response.headers)) {
    GLINTFS_ASSIGN(SwiftSegments segments, ListSegments(*account_, *manifest, std::move(stop)));
    image.id.version = std::move(segments.version);
    image.size = segments.size;
    return image;
  }
  const auto size = response.headers.ContentLength();
  if (!size || !*size)
    return Error{Errc::kInvalid, fmt::format("{}: the server does not tell the size", HttpClient::Describe(request))};
  const auto version = SwiftVersion(response.headers);
  if (!version) return Error{Errc::kInvalid, fmt::format("{}: neither ETag nor X-Timestamp", HttpClient::Describe(request))};
  image.id.version = *version;
  image.size = **size;
  return image;
}

Result<NameInfo> SwiftBackend::DoStat(std::string_view name, std::stop_token stop) {
  if (name.empty()) return StatRoot(std::move(stop));
  const NameInfo directory{.is_directory = true, .image = {}};
  GLINTFS_ASSIGN(const OriginRequest request, account_->Request(container_, Key(name), stop));
  GLINTFS_ASSIGN(const OriginResponse response, account_->Head(request, stop));
  if (IsMissing(response)) {
    GLINTFS_ASSIGN(const bool is_directory, HasNames(Key(name) + "/", stop));
    if (is_directory) return directory;
    return account_->StatusError(request, response);
  }
  if (response.status != 200) return account_->StatusError(request, response);
  const auto size = response.headers.ContentLength();
  if (size && *size == 0u && IsDirectoryType(response.headers.Find("content-type").value_or(""))) return directory;
  GLINTFS_ASSIGN(const bool hidden, IsHiddenSegment(name, stop));
  if (hidden)
    return Error{Errc::kNotFound, fmt::format("{}: a segment of a large image is not shown", HttpClient::Describe(request))};
  GLINTFS_ASSIGN(ImageInfo image, InfoFrom(name, request, response, stop));
  return NameInfo{.is_directory = false, .image = std::move(image)};
}

Result<Listing> SwiftBackend::DoList(std::string_view directory, std::string_view cursor_text, std::stop_token stop) {
  GLINTFS_ASSIGN(Cursor cursor, ParseCursor(cursor_text));
  const std::string prefix = directory.empty() ? prefix_ : Key(directory) + "/";
  const SwiftAccount::Query query{.prefix = prefix, .marker = cursor.marker, .directories = true, .limit = 0};
  GLINTFS_ASSIGN(const auto page, account_->List(container_, query, stop));
  Listing listing;
  if (page.empty()) {
    if (!cursor_text.empty() || directory.empty()) return listing;
    GLINTFS_ASSIGN(const NameInfo info, DoStat(directory, stop));
    if (!info.is_directory) return Error{Errc::kNotDirectory, fmt::format("{}{} is not a directory", source(), directory)};
    return listing;
  }
  for (const SwiftEntry& entry : page) {
    if (!entry.name.starts_with(prefix)) continue;
    std::string_view name = std::string_view(entry.name).substr(prefix.size());
    if (entry.is_subdir && name.ends_with('/')) name.remove_suffix(1);
    if (name.empty() && !entry.is_subdir) continue;  // the object that stands for this directory
    if (!entry.is_subdir && IsUuid(name)) cursor.manifest = entry.bytes == 0u ? name : "";
    const auto manifest = GlanceManifestOf(name);
    if (manifest && !entry.is_subdir && *manifest == cursor.manifest) continue;
    const bool is_directory = entry.is_subdir || (entry.bytes == 0u && IsDirectoryType(entry.content_type));
    listing.entries.push_back({std::string(name), is_directory});
  }
  cursor.marker = page.back().name;
  listing.next_cursor = cursor.Text();
  return listing;
}

Result<std::unique_ptr<ImageReader>> SwiftBackend::DoOpen(const ImageInfo& image, std::stop_token) {
  return std::unique_ptr<ImageReader>(std::make_unique<SwiftReader>(account_, container_, Key(image.id.name), image));
}

Result<std::optional<Checksum>> SwiftBackend::DoFindChecksum(const ImageInfo& image, std::stop_token stop) {
  GLINTFS_ASSIGN(const OriginRequest request, account_->Request(container_, Key(image.id.name), stop));
  GLINTFS_ASSIGN(const OriginResponse response, account_->Head(request, stop));
  if (response.status != 200) return account_->StatusError(request, response);
  GLINTFS_ASSIGN(const ImageInfo now, InfoFrom(image.id.name, request, response, stop));
  if (now.id.version != image.id.version)
    return Error{Errc::kStale, fmt::format("{}: the object has changed", HttpClient::Describe(request))};
  return SwiftChecksum(response.headers);
}

}  // namespace glintfs
