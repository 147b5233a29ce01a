#include "tests/support/s3_client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <atomic>
#include <exception>
#include <memory>
#include <stdexcept>

#include "fs/base/percent.h"
#include "fs/base/thread.h"

namespace glintfs::testing {
namespace {

constexpr int kConnections = 8;

size_t Append(char* data, size_t size, size_t count, void* text) {
  static_cast<std::string*>(text)->append(data, size * count);
  return size * count;
}

size_t FindEtag(char* data, size_t size, size_t count, void* etag) {
  const std::string_view line(data, size * count);
  if (line.size() > 6 && (line.substr(0, 5) == "ETag:" || line.substr(0, 5) == "etag:")) {
    std::string_view value = line.substr(5);
    value.remove_prefix(value.find('"'));
    *static_cast<std::string*>(etag) = value.substr(0, value.rfind('"') + 1);
  }
  return size * count;
}

// One connection per thread is kept.
CURL* Handle() {
  thread_local const std::unique_ptr<CURL, void (*)(CURL*)> handle(::curl_easy_init(), ::curl_easy_cleanup);
  ::curl_easy_reset(handle.get());
  return handle.get();
}

std::string EncodePath(std::string_view key) {
  std::string path;
  for (const char c : key) path += c == '/' ? std::string("/") : PercentEncode({&c, 1});
  return path;
}

std::string Element(const std::string& xml, const std::string& name) {
  const size_t start = xml.find("<" + name + ">"), end = xml.find("</" + name + ">");
  if (start == std::string::npos || end == std::string::npos) throw std::runtime_error("no " + name + " in: " + xml);
  return xml.substr(start + name.size() + 2, end - start - name.size() - 2);
}

}  // namespace

S3Client::Answer S3Client::Ask(const std::string& method, const std::string& bucket, const std::string& key,
                               const Parameters& parameters, std::string_view body, const std::vector<std::string>& headers) const {
  std::string url = endpoint_ + "/" + bucket + (key.empty() ? "" : "/" + EncodePath(key));
  char separator = '?';
  for (const auto& [name, value] : parameters) {
    url += separator + PercentEncode(name) + "=" + PercentEncode(value);
    separator = '&';
  }
  CURL* const curl = Handle();
  Answer answer;
  curl_slist* list = ::curl_slist_append(nullptr, "x-amz-content-sha256: UNSIGNED-PAYLOAD");
  list = ::curl_slist_append(list, "Content-Type: application/octet-stream");
  for (const std::string& header : headers) list = ::curl_slist_append(list, header.c_str());
  ::curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  ::curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
  ::curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  ::curl_easy_setopt(curl, CURLOPT_TIMEOUT, 120L);
  ::curl_easy_setopt(curl, CURLOPT_EXPECT_100_TIMEOUT_MS, 10L);
  ::curl_easy_setopt(curl, CURLOPT_AWS_SIGV4, "aws:amz:us-east-1:s3");
  ::curl_easy_setopt(curl, CURLOPT_USERNAME, access_key_.c_str());
  ::curl_easy_setopt(curl, CURLOPT_PASSWORD, secret_key_.c_str());
  if (method != "GET") {
    ::curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
    ::curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.data() == nullptr ? "" : body.data());
    ::curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method.c_str());
  }
  ::curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
  ::curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Append);
  ::curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer.body);
  ::curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &FindEtag);
  ::curl_easy_setopt(curl, CURLOPT_HEADERDATA, &answer.etag);
  if (::curl_easy_perform(curl) == CURLE_OK) ::curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.status);
  ::curl_slist_free_all(list);
  return answer;
}

S3Client::Answer S3Client::Expect(const std::string& method, const std::string& bucket, const std::string& key,
                                  const Parameters& parameters, std::string_view body,
                                  const std::vector<std::string>& headers) const {
  Answer answer = Ask(method, bucket, key, parameters, body, headers);
  if (answer.status < 200 || answer.status > 299)
    throw std::runtime_error(fmt::format("{} {}/{}: {} {}", method, bucket, key, answer.status, answer.body));
  return answer;
}

void S3Client::MakeBucket(const std::string& bucket) const { Expect("PUT", bucket, ""); }

void S3Client::Put(const std::string& bucket, const std::string& key, std::string_view bytes,
                   const std::vector<std::string>& headers) const {
  Expect("PUT", bucket, key, {}, bytes, headers);
}

void S3Client::Remove(const std::string& bucket, const std::string& key) const { Expect("DELETE", bucket, key); }

void S3Client::PutMany(const std::string& bucket, const std::vector<std::string>& keys) const {
  std::atomic<size_t> next{0};
  std::vector<std::exception_ptr> failures(kConnections);
  std::vector<Thread> threads;
  for (int i = 0; i < kConnections; ++i) {
    threads.emplace_back("s3-put", [&, i](std::stop_token) {
      try {
        for (size_t n = next++; n < keys.size(); n = next++) Put(bucket, keys[n], "x");
      } catch (...) {
        failures[static_cast<size_t>(i)] = std::current_exception();
      }
    });
  }
  for (Thread& thread : threads) thread.Join();
  for (const std::exception_ptr& failure : failures)
    if (failure) std::rethrow_exception(failure);
}

void S3Client::PutInParts(const std::string& bucket, const std::string& key, std::string_view bytes, size_t part_size) const {
  const std::string upload = Element(Expect("POST", bucket, key, {{"uploads", ""}}).body, "UploadId");
  std::string parts;
  for (size_t start = 0, number = 1; start < bytes.size(); start += part_size, ++number) {
    const Answer part = Expect("PUT", bucket, key, {{"partNumber", std::to_string(number)}, {"uploadId", upload}},
                               bytes.substr(start, part_size));
    parts += fmt::format("<Part><PartNumber>{}</PartNumber><ETag>{}</ETag></Part>", number, part.etag);
  }
  Expect("POST", bucket, key, {{"uploadId", upload}}, "<CompleteMultipartUpload>" + parts + "</CompleteMultipartUpload>");
}

}  // namespace glintfs::testing
