// Handlers that several backends need.
#pragma once

#include <algorithm>
#include <string>
#include <utility>

#include "backends/http/client.h"
#include "backends/http/range.h"

namespace glintfs {

// For requests of which only the headers matter.
class IgnoreBody final : public HttpHandler {
 public:
  Result<bool> OnHeaders(const OriginResponse&) override { return false; }
  Result<bool> OnBody(std::span<const std::byte>) override { return false; }
};

// Keeps the body of a 200 or 201; one of more than `limit` bytes ends the request with `too_long`.
class KeepBody final : public HttpHandler {
 public:
  KeepBody(size_t limit, Error too_long) : limit_(limit), too_long_(std::move(too_long)) {}
  Result<bool> OnHeaders(const OriginResponse& response) override { return response.status == 200 || response.status == 201; }
  Result<bool> OnBody(std::span<const std::byte> data) override {
    if (data.size() > limit_ - body_.size()) return too_long_;
    body_.append(reinterpret_cast<const char*>(data.data()), data.size());
    return true;
  }
  const std::string& body() const { return body_; }

 private:
  const size_t limit_;
  const Error too_long_;
  std::string body_;
};

// Passes on the bytes of an extent: all of an exact answer, or the beginning of a whole object. For OnBody of those who fetch.
class ExtentBody {
 public:
  ExtentBody(Extent extent, uint64_t size, DataSink& sink) : extent_(extent), size_(size), sink_(sink) {}

  void Begin(RangeAnswer answer) { is_prefix_ = answer == RangeAnswer::kPrefix; }
  // What OnBody returns.
  bool Write(std::span<const std::byte> data) {
    if (is_prefix_) data = data.first(static_cast<size_t>(std::min<uint64_t>(data.size(), extent_.length - passed_)));
    passed_ += data.size();
    enough_ = !sink_.Write(data);
    // Cut off only where more would follow: an exact answer ends by itself and leaves the connection in good order.
    return !enough_ && !(is_prefix_ && passed_ == extent_.length && extent_.length < size_);
  }

  const Extent& extent() const { return extent_; }
  uint64_t size() const { return size_; }         // of the object
  uint64_t passed() const { return passed_; }     // bytes
  bool is_prefix() const { return is_prefix_; }
  bool enough() const { return enough_; }         // said the sink

 private:
  const Extent extent_;
  const uint64_t size_;
  DataSink& sink_;
  uint64_t passed_ = 0;
  bool is_prefix_ = false;
  bool enough_ = false;
};

}  // namespace glintfs
