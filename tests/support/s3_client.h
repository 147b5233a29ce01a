// S3Client: what a test does to an S3 store besides reading it: buckets, objects, policies. Signed by libcurl. Thread-safe.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace glintfs::testing {

class S3Client {
 public:
  struct Answer {
    long status = 0;
    std::string body;
    std::string etag;
  };
  using Parameters = std::map<std::string, std::string>;

  S3Client(std::string endpoint, std::string access_key, std::string secret_key)
      : endpoint_(std::move(endpoint)), access_key_(std::move(access_key)), secret_key_(std::move(secret_key)) {}

  // These throw std::runtime_error with the server's words when it refuses.
  void MakeBucket(const std::string& bucket) const;
  void Put(const std::string& bucket, const std::string& key, std::string_view bytes,
           const std::vector<std::string>& headers = {}) const;
  // Objects of one byte, "x", over parallel connections.
  void PutMany(const std::string& bucket, const std::vector<std::string>& keys) const;
  void PutInParts(const std::string& bucket, const std::string& key, std::string_view bytes, size_t part_size) const;
  void Remove(const std::string& bucket, const std::string& key) const;

  // Whatever the server answers; status 0 when it does not. `key` is empty for the bucket.
  Answer Ask(const std::string& method, const std::string& bucket, const std::string& key, const Parameters& parameters = {},
             std::string_view body = {}, const std::vector<std::string>& headers = {}) const;
  Answer Expect(const std::string& method, const std::string& bucket, const std::string& key, const Parameters& parameters = {},
                std::string_view body = {}, const std::vector<std::string>& headers = {}) const;

 private:
  const std::string endpoint_;  // "http://127.0.0.1:7480"
  const std::string access_key_;
  const std::string secret_key_;
};

}  // namespace glintfs::testing
