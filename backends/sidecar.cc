// The SUMS file of a directory is asked about once per image there; its parsed content is kept while its version stays
// the same, so that a large one is not fetched for every image.
#include "backends/sidecar.h"

#include <fmt/format.h>

#include <set>

#include "backends/checksum_file.h"
#include "fs/base/log.h"
#include "fs/base/mutex.h"

namespace glintfs {
namespace {

constexpr uint64_t kMaxSidecar = 4 << 20;
constexpr size_t kMaxKept = 8;        // parsed SUMS files
constexpr size_t kMaxWarned = 1000;   // remembered warnings

class StringSink final : public DataSink {
 public:
  bool Write(std::span<const std::byte> data) override {
    text_.append(reinterpret_cast<const char*>(data.data()), data.size());
    return true;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

using ParsedFile = std::shared_ptr<const ChecksumFile>;  // null: there is none

class Sidecar final : public Backend {
 public:
  explicit Sidecar(std::unique_ptr<Backend> inner) : Backend(inner->source()), inner_(std::move(inner)) {}

  int max_parallel_fetches() const override { return inner_->max_parallel_fetches(); }
  std::shared_ptr<const BackendMeter> meter() const override { return inner_->meter(); }

 private:
  Result<NameInfo> DoStat(std::string_view name, std::stop_token stop) override { return inner_->Stat(name, stop); }
  Result<Listing> DoList(std::string_view directory, std::string_view cursor, std::stop_token stop) override {
    return inner_->List(directory, cursor, stop);
  }
  Result<std::unique_ptr<ImageReader>> DoOpen(const ImageInfo& image, std::stop_token stop) override {
    return inner_->Open(image, stop);
  }
  Result<std::optional<Checksum>> DoFindChecksum(const ImageInfo& image, std::stop_token stop) override;

  Result<ParsedFile> Load(const std::string& name, const std::string& algorithm, std::stop_token stop);
  Result<ParsedFile> Read(const ImageInfo& file, const std::string& algorithm, std::stop_token stop);
  ParsedFile Kept(const ImageId& id);
  void Keep(const ImageId& id, ParsedFile file);
  void WarnOnce(const ImageId& id, std::string_view what);

  const std::unique_ptr<Backend> inner_;
  Mutex mu_;
  std::vector<std::pair<ImageId, ParsedFile>> kept_ GUARDED_BY(mu_);  // oldest first
  std::set<std::string> warned_ GUARDED_BY(mu_);                      // name + version
};

Result<std::optional<Checksum>> Sidecar::DoFindChecksum(const ImageInfo& image, std::stop_token stop) {
  const size_t slash = image.id.name.rfind('/');
  const size_t base_at = slash == std::string::npos ? 0 : slash + 1;
  const std::string directory = image.id.name.substr(0, base_at), base = image.id.name.substr(base_at);
  const auto found = [](const char* algorithm, const std::string& hex) {
    return std::optional<Checksum>(Checksum{algorithm, hex});
  };
  for (const char* algorithm : {"sha512", "sha256"}) {
    GLINTFS_ASSIGN(const ParsedFile own, Load(fmt::format("{}.{}", image.id.name, algorithm), algorithm, stop));
    if (!own) continue;
    if (const auto entry = own->by_name.find(base); entry != own->by_name.end()) return found(algorithm, entry->second);
    if (!own->only.empty()) return found(algorithm, own->only);
  }
  for (const auto& [file, algorithm] : {std::pair{"SHA512SUMS", "sha512"}, std::pair{"SHA256SUMS", "sha256"}}) {
    GLINTFS_ASSIGN(const ParsedFile sums, Load(directory + file, algorithm, stop));
    if (!sums) continue;
    if (const auto entry = sums->by_name.find(base); entry != sums->by_name.end())
      return found(algorithm, entry->second);
  }
  auto own = inner_->FindChecksum(image, stop);  // the source itself may know
  return own;
}

// The parsed sidecar `name`; null when there is none that can be used.
Result<ParsedFile> Sidecar::Load(const std::string& name, const std::string& algorithm, std::stop_token stop) {
  if (!IsValidName(name)) return ParsedFile();
  auto info = inner_->Stat(name, stop);
  if (!info) {
    const Errc code = info.error().code;
    const bool absent = code == Errc::kNotFound || code == Errc::kNotDirectory || code == Errc::kAccessDenied ||
                        code == Errc::kInvalid || code == Errc::kNotSupported;
    return absent ? Result<ParsedFile>(ParsedFile()) : std::move(info).error();
  }
  if (info->is_directory) return ParsedFile();
  const ImageInfo& file = info->image;
  if (auto kept = Kept(file.id)) return kept;
  if (file.size == 0 || file.size > kMaxSidecar) {
    WarnOnce(file.id, fmt::format("{} bytes are no file of checksums", file.size));
    return ParsedFile();
  }
  auto parsed = Read(file, algorithm, stop);
  if (parsed && *parsed) Keep(file.id, *parsed);
  return parsed;
}

Result<ParsedFile> Sidecar::Read(const ImageInfo& file, const std::string& algorithm, std::stop_token stop) {
  GLINTFS_ASSIGN(const auto reader, inner_->Open(file, stop));
  StringSink sink;
  if (auto fetched = reader->Fetch({0, file.size}, sink, stop); !fetched) {
    Error error = std::move(fetched).error();
    if (error.code == Errc::kStale || error.code == Errc::kNotFound)  // replaced just now: worth another try
      error.code = Errc::kUnavailable;
    return error;
  }
  auto parsed = std::make_shared<ChecksumFile>(ParseChecksumFile(sink.text(), algorithm));
  if (parsed->by_name.empty() && parsed->only.empty()) {
    WarnOnce(file.id, fmt::format("holds no {} checksum that can be read", algorithm));
    return ParsedFile();
  }
  if (parsed->bad_lines != 0)
    WarnOnce(file.id, fmt::format("{} lines are no {} checksums", parsed->bad_lines, algorithm));
  return ParsedFile(std::move(parsed));
}

ParsedFile Sidecar::Kept(const ImageId& id) {
  MutexLock lock(mu_);
  for (const auto& [kept_id, file] : kept_)
    if (kept_id == id) return file;
  return nullptr;
}

void Sidecar::Keep(const ImageId& id, ParsedFile file) {
  MutexLock lock(mu_);
  std::erase_if(kept_, [&](const auto& kept) { return kept.first.name == id.name; });
  if (kept_.size() >= kMaxKept) kept_.erase(kept_.begin());
  kept_.emplace_back(id, std::move(file));
}

void Sidecar::WarnOnce(const ImageId& id, std::string_view what) {
  {
    MutexLock lock(mu_);
    if (warned_.size() >= kMaxWarned) warned_.clear();
    if (!warned_.insert(id.name + '\n' + id.version).second) return;
  }
  LogWarn("{} '{}': {}; ignored", id.source, id.name, what);
}

}  // namespace

std::unique_ptr<Backend> MakeSidecar(std::unique_ptr<Backend> inner) {
  return std::make_unique<Sidecar>(std::move(inner));
}

}  // namespace glintfs
