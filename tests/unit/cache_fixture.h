// CacheTest: a cache over a steerable source, with chunks of 64 KiB.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <sys/stat.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "fs/cache/cache.h"
#include "fs/cache/cached_image.h"
#include "tests/support/fake_backend.h"
#include "tests/support/sync_read.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace glintfs::testing {

inline constexpr uint64_t kChunk = 64 * 1024;
inline constexpr uint64_t kMiB = 1 << 20;

class CacheTest : public ::testing::Test {
 protected:
  void Open(std::unique_ptr<Storage> storage = nullptr) {
    options_.directory = dir_.path();
    options_.chunk_size = kChunk;
    options_.limits.min_free = 0;
    auto cache = Cache::Open(options_, backend_, clock_ ? *clock_ : Clock::System(), std::move(storage));
    ASSERT_TRUE(cache) << cache.error().ToString();
    cache_ = std::move(*cache);
  }
  void Reopen() {
    cache_.reset();
    Open();
  }
  std::shared_ptr<CachedImage> Image(const std::string& name) {
    auto image = cache_->OpenImage(backend_.Info(name));
    EXPECT_TRUE(image) << image.error().ToString();
    return image ? *image : nullptr;
  }
  void ExpectRead(CachedImage& image, uint64_t offset, size_t length) {
    auto read = ReadNow(image, offset, length);
    ASSERT_TRUE(read) << read.error().ToString();
    const ImageId& id = image.info().id;
    EXPECT_TRUE(*read == backend_.Expected(id.name, id.version, offset, length)) << "wrong bytes at " << offset;
  }
  bool WaitComplete(const std::string& name) {
    return WaitFor([&] {
      const auto status = cache_->StatusOf(name);
      return status && (status->state == ImageState::kComplete || status->state == ImageState::kVerified);
    });
  }
  uint64_t DataBytesOnDisk() {
    uint64_t bytes = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_ / "data")) {
      struct stat st{};
      if (entry.is_regular_file() && ::stat(entry.path().c_str(), &st) == 0) bytes += static_cast<uint64_t>(st.st_blocks) * 512;
    }
    return bytes;
  }

  TempDir dir_;
  FakeBackend backend_;
  FakeClock fake_clock_;  // outlives the cache
  Clock* clock_ = nullptr;
  CacheOptions options_;
  std::unique_ptr<Cache> cache_;
};

inline std::string Sha256(const std::vector<std::byte>& bytes) {
  unsigned char digest[32];
  EVP_Digest(bytes.data(), bytes.size(), digest, nullptr, EVP_sha256(), nullptr);
  std::string hex;
  for (unsigned char byte : digest) hex += fmt::format("{:02x}", byte);
  return hex;
}

}  // namespace glintfs::testing
