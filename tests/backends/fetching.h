// Sinks and short-hands for tests of backends.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <memory>
#include <string>

#include "backends/backend.h"
#include "backends/registry.h"

namespace glintfs::testing {

// Collects what a fetch passes on; ends the fetch once it holds `limit` bytes.
class StringSink final : public DataSink {
 public:
  explicit StringSink(size_t limit = SIZE_MAX) : limit_(limit) {}
  bool Write(std::span<const std::byte> data) override {
    text.append(reinterpret_cast<const char*>(data.data()), data.size());
    return text.size() < limit_;
  }
  std::string text;

 private:
  const size_t limit_;
};

// Runs `action` with the number of bytes seen so far, after each piece.
class CallbackSink final : public DataSink {
 public:
  explicit CallbackSink(std::function<bool(size_t)> action) : action_(std::move(action)) {}
  bool Write(std::span<const std::byte> data) override { return action_(seen_ += data.size()); }

 private:
  std::function<bool(size_t)> action_;
  size_t seen_ = 0;
};

inline Result<std::string> FetchText(ImageReader& reader, Extent extent, std::stop_token stop = {}) {
  StringSink sink;
  GLINTFS_TRY(reader.Fetch(extent, sink, stop));
  return sink.text;
}

// Bytes that differ at every offset within a chunk and between chunks.
inline std::string PatternBytes(size_t size, uint64_t seed = 1) {
  std::string bytes(size, '\0');
  uint64_t x = seed * 0x9e3779b97f4a7c15ull + 1;
  for (size_t i = 0; i < size; ++i) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    bytes[i] = static_cast<char>(x >> 24);
  }
  return bytes;
}

inline void PutFile(const std::string& path, const std::string& content) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << content;
  ASSERT_TRUE(out.flush().good()) << path;
}

// Options that fail fast, so that tests of failures do.
inline BackendOptions QuickOptions() {
  BackendOptions options;
  options.retries = 0;
  return options;
}

inline std::unique_ptr<Backend> Make(const std::string& source, const BackendOptions& options = QuickOptions()) {
  auto backend = MakeBackend(source, options);
  if (!backend) throw std::runtime_error(backend.error().ToString());
  return std::move(*backend);
}

// Error code of a Result, for EXPECT_EQ; "ok" when it has a value.
template <typename T>
std::string CodeOf(const Result<T>& result) {
  return result ? "ok" : std::string(ErrcName(result.error().code));
}

#define ASSERT_OK(result) ASSERT_TRUE((result).has_value()) << (result).error().ToString()

}  // namespace glintfs::testing
