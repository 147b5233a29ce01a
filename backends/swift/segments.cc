#include "backends/swift/segments.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <limits>

namespace glintfs {
namespace {

constexpr size_t kMaxSegments = 50'000;

class Md5 {
 public:
  Md5() : context_(::EVP_MD_CTX_new(), ::EVP_MD_CTX_free) { ::EVP_DigestInit_ex(context_.get(), ::EVP_md5(), nullptr); }
  void Add(std::string_view text) { ::EVP_DigestUpdate(context_.get(), text.data(), text.size()); }
  std::string Hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    ::EVP_DigestFinal_ex(context_.get(), digest, &length);
    std::string hex;
    for (unsigned i = 0; i < length; ++i) hex += fmt::format("{:02x}", digest[i]);
    return hex;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

Error Odd(const SwiftManifest& manifest, std::string_view what) {
  return Error{Errc::kInvalid, fmt::format("the segments {}/{}…: {}", manifest.container, manifest.prefix, what)};
}

}  // namespace

Result<SwiftSegments> ListSegments(SwiftAccount& account, const SwiftManifest& manifest, std::stop_token stop) {
  if (manifest.container.empty() || manifest.container == "." || manifest.container == ".." || manifest.prefix.empty())
    return Odd(manifest, "X-Object-Manifest makes no sense");
  SwiftSegments segments{.container = manifest.container, .list = {}, .size = 0, .version = {}};
  SwiftAccount::Query query{.prefix = manifest.prefix, .marker = {}, .directories = false, .limit = 0};
  Md5 md5;
  for (size_t count = 0;;) {
    GLINTFS_ASSIGN(const auto page, account.List(manifest.container, query, stop));
    if (page.empty()) break;
    count += page.size();
    if (count > kMaxSegments) return Odd(manifest, fmt::format("more than {}", kMaxSegments));
    for (const SwiftEntry& entry : page) {
      const uint64_t room = static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) - segments.size;
      if (entry.is_subdir || !IsMd5(entry.hash) || !entry.bytes || *entry.bytes > room || !IsValidName(entry.name))
        return Odd(manifest, "the listing does not tell what they are");
      md5.Add(entry.hash);
      if (*entry.bytes > 0) segments.list.push_back({entry.name, segments.size, *entry.bytes, entry.hash});
      segments.size += *entry.bytes;
    }
    query.marker = page.back().name;
  }
  segments.version = "dlo:" + md5.Hex();
  return segments;
}

}  // namespace glintfs
