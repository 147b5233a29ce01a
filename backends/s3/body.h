// Handlers for the answers of S3: what is short enough is kept.
#pragma once

#include <string>

#include "backends/http/client.h"

namespace glintfs {

inline constexpr size_t kMaxS3Error = 64 << 10;
inline constexpr size_t kMaxS3Listing = 16 << 20;

// Keeps the body: of a 200 all of it (kInvalid when it is longer than kMaxS3Listing), of another answer the first kMaxS3Error
// bytes.
class KeepS3Body final : public HttpHandler {
 public:
  Result<bool> OnHeaders(const OriginResponse& response) override {
    good_ = response.status == 200;
    return true;
  }
  Result<bool> OnBody(std::span<const std::byte> data) override {
    const size_t limit = good_ ? kMaxS3Listing : kMaxS3Error;
    if (good_ && data.size() > limit - body_.size()) return Error{Errc::kInvalid, "the answer is too long"};
    body_.append(reinterpret_cast<const char*>(data.data()), std::min(data.size(), limit - body_.size()));
    return body_.size() < limit;
  }
  const std::string& body() const { return body_; }

 private:
  bool good_ = false;
  std::string body_;
};

}  // namespace glintfs
