// The front door: what every implementation would otherwise have to check, checked once.
//
// Arguments are checked because names come from the kernel and from a control socket; results are checked because they
// come from a server, which may lie. A listing keeps its good entries when it holds bad ones: one odd file at the
// source must not hide the others.
#include "backends/backend.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "fs/base/log.h"
#include "fs/base/mutex.h"

namespace glintfs {
namespace {

constexpr size_t kMaxComponent = 255;
constexpr size_t kMaxName = 1024;

// A name for a log line or an error: control characters made visible, cut to a sane length.
std::string Printable(std::string_view name) {
  std::string text;
  for (const char c : name.substr(0, 300)) {
    const auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || u == 0x7f) {
      text += fmt::format("\\x{:02x}", u);
    } else {
      text += c;
    }
  }
  return text;
}

Error InvalidName(std::string_view name) {
  return Error{Errc::kInvalid, fmt::format("'{}' cannot be a name in a mount", Printable(name))};
}

Error Cancelled(std::string_view what) { return Error{Errc::kCancelled, fmt::format("{}: given up", what)}; }

// Once stop is requested, how an implementation failed no longer matters to the caller.
Error Failure(Error error, std::string_view what, const std::stop_token& stop) {
  if (stop.stop_requested() && (error.code == Errc::kUnavailable || error.code == Errc::kTimedOut))
    return Cancelled(what);
  return error;
}

// Passes on at most `limit` bytes and remembers why the flow ended.
class CappedSink final : public DataSink {
 public:
  CappedSink(DataSink& inner, uint64_t limit) : inner_(inner), limit_(limit) {}

  bool Write(std::span<const std::byte> data) override {
    if (enough_ || data.empty()) return !enough_;
    const uint64_t room = limit_ - passed_;
    if (data.size() > room) too_long_ = true;
    const auto part = data.first(static_cast<size_t>(std::min<uint64_t>(data.size(), room)));
    passed_ += part.size();
    if (!part.empty() && !inner_.Write(part)) enough_ = true;
    return !enough_ && !too_long_;
  }

  bool enough() const { return enough_; }
  bool too_long() const { return too_long_; }
  uint64_t passed() const { return passed_; }

 private:
  DataSink& inner_;
  const uint64_t limit_;
  uint64_t passed_ = 0;
  bool enough_ = false;
  bool too_long_ = false;
};

Result<void> CheckImage(const ImageInfo& image, std::string_view source, std::string_view name) {
  if (image.id.source != source || image.id.name != name)
    return Error{Errc::kInvalid, fmt::format("{}: the source answered for another name", Printable(name))};
  if (image.id.version.empty()) return Error{Errc::kInvalid, fmt::format("{}: no version", Printable(name))};
  if (image.size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    return Error{Errc::kInvalid, fmt::format("{}: a size of {} bytes is too large", Printable(name), image.size)};
  return {};
}

bool IsSoundChecksum(const Checksum& sum) {
  static const std::map<std::string_view, size_t> kDigits = {{"md5", 32},   {"sha1", 40},  {"sha256", 64},   {"sha512", 128},
                                                             {"crc32", 8}, {"crc32c", 8}, {"crc64nvme", 16}};
  const auto digits = kDigits.find(sum.algorithm);
  return digits != kDigits.end() && sum.hex.size() == digits->second &&
         sum.hex.find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace

bool IsValidName(std::string_view name) {
  if (name.empty() || name.size() > kMaxName) return false;
  for (const char c : name) {
    const auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || u == 0x7f) return false;
  }
  for (size_t start = 0; start <= name.size();) {
    const size_t end = std::min(name.find('/', start), name.size());
    const std::string_view component = name.substr(start, end - start);
    if (component.empty() || component.size() > kMaxComponent || component == "." || component == "..") return false;
    start = end + 1;
  }
  return true;
}

Result<void> ImageReader::Fetch(Extent extent, DataSink& sink, std::stop_token stop) {
  AssertNoLockHeld();
  if (extent.length == 0 || extent.offset > size_ || extent.length > size_ - extent.offset)
    return Error{Errc::kInvalid,
                 fmt::format("bytes {}+{} are outside an image of {} bytes", extent.offset, extent.length, size_)};
  if (stop.stop_requested()) return Cancelled("fetch");

  CappedSink capped(sink, extent.length);
  auto result = DoFetch(extent, capped, stop);
  if (capped.too_long())
    return Error{Errc::kInvalid, fmt::format("the source sent more than the {} bytes asked for", extent.length)};
  if (capped.enough()) return {};
  if (!result) return Failure(std::move(result).error(), "fetch", stop);
  if (capped.passed() < extent.length)
    return Error{Errc::kUnavailable, fmt::format("the source sent {} of {} bytes", capped.passed(), extent.length)};
  return {};
}

Result<NameInfo> Backend::Stat(std::string_view name, std::stop_token stop) {
  AssertNoLockHeld();
  if (!name.empty() && !IsValidName(name)) return InvalidName(name);
  if (stop.stop_requested()) return Cancelled("stat");
  auto info = DoStat(name, stop);
  if (!info) return Failure(std::move(info).error(), "stat", stop);
  if (info->is_directory) return NameInfo{.is_directory = true, .image = {}, .alias = false};
  if (name.empty()) return Error{Errc::kNotDirectory, fmt::format("{} is not a directory", source_)};
  const std::string& own_name = info->image.id.name;
  if (info->alias && !IsValidName(own_name)) return InvalidName(own_name);
  GLINTFS_TRY(CheckImage(info->image, source_, info->alias ? own_name : name));
  return info;
}

Result<Listing> Backend::List(std::string_view directory, std::string_view cursor, std::stop_token stop) {
  AssertNoLockHeld();
  if (!directory.empty() && !IsValidName(directory)) return InvalidName(directory);
  if (stop.stop_requested()) return Cancelled("list");
  auto listing = DoList(directory, cursor, stop);
  if (!listing) return Failure(std::move(listing).error(), "list", stop);

  std::set<std::string> seen;
  std::string first_bad;
  size_t bad = 0;
  std::erase_if(listing->entries, [&](const ListEntry& entry) {
    if (!IsValidName(entry.name) || entry.name.find('/') != std::string::npos) {
      if (bad++ == 0) first_bad = Printable(entry.name);
      return true;
    }
    return !seen.insert(entry.name).second;
  });
  if (bad != 0)
    LogWarn("{}{}: {} names cannot be shown and are left out, the first is '{}'", source_, directory, bad, first_bad);
  return listing;
}

Result<std::unique_ptr<ImageReader>> Backend::Open(const ImageInfo& image, std::stop_token stop) {
  AssertNoLockHeld();
  if (!IsValidName(image.id.name)) return InvalidName(image.id.name);
  GLINTFS_TRY(CheckImage(image, source_, image.id.name));
  if (stop.stop_requested()) return Cancelled("open");
  auto reader = DoOpen(image, stop);
  if (!reader) return Failure(std::move(reader).error(), "open", stop);
  if (*reader == nullptr || (*reader)->size() != image.size)
    return Error{Errc::kInvalid, fmt::format("{}: opened with another size", Printable(image.id.name))};
  return reader;
}

Result<std::optional<Checksum>> Backend::FindChecksum(const ImageInfo& image, std::stop_token stop) {
  AssertNoLockHeld();
  if (!IsValidName(image.id.name)) return InvalidName(image.id.name);
  if (stop.stop_requested()) return Cancelled("checksum");
  auto sum = DoFindChecksum(image, stop);
  if (!sum) return Failure(std::move(sum).error(), "checksum", stop);
  if (*sum && !IsSoundChecksum(**sum)) {
    LogWarn("{}{}: the source's checksum is malformed and is ignored", source_, image.id.name);
    return std::optional<Checksum>();
  }
  return sum;
}

}  // namespace glintfs
