#include "tests/support/http_ask.h"

#include <curl/curl.h>

#include <cctype>
#include <cstdio>
#include <filesystem>
#include <new>

namespace glintfs::testing {
namespace {

size_t Append(char* data, size_t size, size_t count, void* to) {
  static_cast<std::string*>(to)->append(data, size * count);
  return size * count;
}

size_t AppendHeader(char* data, size_t size, size_t count, void* to) {
  std::string line(data, size * count);
  while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.pop_back();
  const size_t colon = line.find(": ");
  if (colon == std::string::npos) return size * count;
  for (size_t i = 0; i < colon; ++i) line[i] = static_cast<char>(std::tolower(static_cast<unsigned char>(line[i])));
  (*static_cast<std::map<std::string, std::string>*>(to))[line.substr(0, colon)] = line.substr(colon + 2);
  return size * count;
}

}  // namespace

HttpAnswer Ask(const HttpAsk& ask) {
  static const CURLcode initialised = ::curl_global_init(CURL_GLOBAL_DEFAULT);
  HttpAnswer answer;
  CURL* const easy = ::curl_easy_init();
  if (initialised != CURLE_OK || easy == nullptr) throw std::bad_alloc();
  curl_slist* headers = ::curl_slist_append(nullptr, "Expect:");
  for (const std::string& header : ask.headers) headers = ::curl_slist_append(headers, header.c_str());
  ::curl_easy_setopt(easy, CURLOPT_URL, ask.url.c_str());
  ::curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  ::curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  ::curl_easy_setopt(easy, CURLOPT_TIMEOUT, 300L);
  ::curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Append);
  ::curl_easy_setopt(easy, CURLOPT_WRITEDATA, &answer.body);
  ::curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &AppendHeader);
  ::curl_easy_setopt(easy, CURLOPT_HEADERDATA, &answer.headers);
  FILE* const file = ask.file.empty() ? nullptr : std::fopen(ask.file.c_str(), "rb");
  if (file != nullptr) {
    ::curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    ::curl_easy_setopt(easy, CURLOPT_READDATA, file);
    ::curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(std::filesystem::file_size(ask.file)));
  } else if (ask.method != "GET" && ask.method != "DELETE") {
    ::curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(ask.body.size()));
    ::curl_easy_setopt(easy, CURLOPT_POSTFIELDS, ask.body.c_str());
  }
  ::curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, ask.method.c_str());
  const CURLcode code = ::curl_easy_perform(easy);
  if (code != CURLE_OK) answer.body = ::curl_easy_strerror(code);
  if (code == CURLE_OK) ::curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &answer.status);
  if (file != nullptr) std::fclose(file);
  ::curl_slist_free_all(headers);
  ::curl_easy_cleanup(easy);
  return answer;
}

}  // namespace glintfs::testing
