// The s3 backend against a scripted server: what radosgw never answers, and what requests look like.
#include <gmock/gmock.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <sstream>

#include "tests/backends/fetching.h"
#include "tests/support/origin.h"
#include "tests/support/temp_dir.h"

namespace glintfs::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;
using SentRequest = glintfs::testing::OriginRequest;

std::string CodeName(Errc code) { return std::string(ErrcName(code)); }

// ---- The signature, worked out a second time from what the server received.

std::string Hex(const std::string& digest) {
  std::string hex;
  for (const char c : digest) {
    constexpr char kHex[] = "0123456789abcdef";
    hex += kHex[static_cast<unsigned char>(c) >> 4];
    hex += kHex[static_cast<unsigned char>(c) & 15];
  }
  return hex;
}

std::string Sha256(const std::string& text) {
  std::array<unsigned char, 32> out{};
  unsigned size = 0;
  ::EVP_Digest(text.data(), text.size(), out.data(), &size, ::EVP_sha256(), nullptr);
  return std::string(reinterpret_cast<const char*>(out.data()), size);
}

std::string Hmac(const std::string& key, const std::string& text) {
  std::array<unsigned char, 32> out{};
  unsigned size = 0;
  ::HMAC(::EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(text.data()), text.size(),
         out.data(), &size);
  return std::string(reinterpret_cast<const char*>(out.data()), size);
}

std::string Between(const std::string& text, const std::string& before, const std::string& after) {
  const size_t start = text.find(before);
  if (start == std::string::npos) return "";
  return text.substr(start + before.size(), text.find(after, start + before.size()) - start - before.size());
}

// As AWS writes it down: "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)".
std::string SignatureOf(const SentRequest& request, const std::string& secret) {
  const std::string authorization = request.Header("authorization");
  const std::string signed_headers = Between(authorization, "SignedHeaders=", ",");
  const std::string credential = Between(authorization, "Credential=", ",");
  const std::string scope = credential.substr(credential.find('/') + 1);  // date/region/service/aws4_request
  const size_t question = request.target.find('?');
  std::string canonical = request.method + "\n" + request.target.substr(0, question) + "\n" +
                          (question == std::string::npos ? "" : request.target.substr(question + 1)) + "\n";
  std::istringstream names(signed_headers);
  for (std::string name; std::getline(names, name, ';');) canonical += name + ":" + request.Header(name) + "\n";
  canonical += "\n" + signed_headers + "\n" + request.Header("x-amz-content-sha256");
  const std::string to_sign = "AWS4-HMAC-SHA256\n" + request.Header("x-amz-date") + "\n" + scope + "\n" + Hex(Sha256(canonical));
  std::string key = "AWS4" + secret;
  std::istringstream parts(scope);
  for (std::string part; std::getline(parts, part, '/');) key = Hmac(key, part);
  return Hex(Hmac(key, to_sign));
}

TEST(S3SignatureTest, TheExampleOfAws) {
  SentRequest request;
  request.method = "GET";
  request.target = "/test.txt";
  request.headers = {{"host", "examplebucket.s3.amazonaws.com"},
                     {"range", "bytes=0-9"},
                     {"x-amz-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
                     {"x-amz-date", "20130524T000000Z"},
                     {"authorization", "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
                                       "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, Signature=x"}};
  EXPECT_EQ(SignatureOf(request, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

// ---- The backend.

std::string Page(const std::string& inside) { return "<ListBucketResult>" + inside + "</ListBucketResult>"; }

// An answer without validators, for listings and errors.
OriginFile Xml(const std::string& text) {
  OriginFile file;
  file.content = text;
  file.etag = "";
  file.type = "application/xml";
  return file;
}

// The whole answer, body included, to GET; the connection closes.
OriginFile Failure(int status, const std::string& code, const std::string& message = "", const std::string& header = "") {
  const std::string body = "<Error><Code>" + code + "</Code><Message>" + message + "</Message></Error>";
  OriginFile file;
  file.raw = "HTTP/1.1 " + std::to_string(status) + " X\r\nConnection: close\r\n" + header +
             "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  return file;
}

constexpr char kSecret[] = "geheimer+schluessel/";
constexpr char kRoot[] = "/images";

class S3OriginTest : public ::testing::Test {
 protected:
  S3OriginTest() {
    WriteKeys("KEY", kSecret);
    options_ = QuickOptions();
    options_.region = "eu-test-1";
    options_.s3.endpoint = "http://127.0.0.1:" + std::to_string(origin_.port());
    options_.s3.credentials_file = dir_ / "keys";
    origin_.Set(kRoot, Xml(Page("")));
  }

  void WriteKeys(const std::string& access, const std::string& secret, const std::string& token = "") {
    PutFile(dir_ / "keys", "[default]\naws_access_key_id=" + access + "\naws_secret_access_key=" + secret +
                               (token.empty() ? "" : "\naws_session_token=" + token) + "\n");
    ::chmod((dir_ / "keys").c_str(), 0600);
  }
  std::unique_ptr<Backend> Mount(const std::string& source = "s3://images") { return Make(source, options_); }
  // The image `name` of these bytes, its reader.
  std::unique_ptr<ImageReader> Open(Backend& backend, const std::string& name) {
    const auto info = backend.Stat(name, {});
    if (!info) throw std::runtime_error(info.error().ToString());
    return std::move(*backend.Open(info->image, {}));
  }
  static OriginFile Object(const std::string& content, std::vector<std::string> headers = {}) {
    OriginFile file;
    file.content = content;
    file.headers = std::move(headers);
    return file;
  }
  void ExpectSigned(const SentRequest& request, const std::string& secret) {
    EXPECT_EQ(Between(request.Header("authorization") + ",", "Signature=", ","), SignatureOf(request, secret)) << request.target;
  }

  TempDir dir_;
  Origin origin_;
  BackendOptions options_;
};

TEST_F(S3OriginTest, EveryRequestIsSignedAsAwsWantsIt) {
  WriteKeys("KEY", kSecret, "token+/==");
  const std::string path = "/images/pre%20fix/a%20b%2Bc~%25%C3%BC";
  origin_.Set(path, Object("content"));
  const auto backend = Mount("s3://images/pre fix");
  const auto reader = Open(*backend, "a b+c~%ü");
  ASSERT_OK(FetchText(*reader, {1, 3}));
  ASSERT_OK(backend->List("", "to+ken/=&", {}));
  EXPECT_EQ(CodeOf(backend->Stat("none here", {})), CodeName(Errc::kNotFound));
  const auto requests = origin_.Requests();
  ASSERT_EQ(requests.size(), 5u);
  EXPECT_EQ(requests[1].Header("if-match"), "\"v1\"");
  EXPECT_EQ(requests[2].target,
            "/images?continuation-token=to%2Bken%2F%3D%26&delimiter=%2F&encoding-type=url&list-type=2&prefix=pre%20fix%2F");
  EXPECT_EQ(requests[4].target, "/images?encoding-type=url&list-type=2&max-keys=1&prefix=pre%20fix%2Fnone%20here%2F");
  for (const SentRequest& request : requests) {
    ExpectSigned(request, kSecret);
    EXPECT_THAT(request.Header("authorization"), HasSubstr("Credential=KEY/"));
    EXPECT_THAT(request.Header("authorization"), HasSubstr("/eu-test-1/s3/aws4_request"));
    EXPECT_THAT(request.Header("authorization"), HasSubstr("x-amz-security-token")) << "is part of what is signed";
    EXPECT_EQ(request.Header("x-amz-security-token"), "token+/==");
    EXPECT_EQ(request.Header("x-amz-content-sha256"), "UNSIGNED-PAYLOAD");
  }
}

TEST_F(S3OriginTest, TheBucketInTheHostNameIsSignedToo) {
  options_.s3.endpoint = "http://localhost:" + std::to_string(origin_.port());
  options_.s3.addressing = "virtual";
  origin_.Set("/dir/image", Object("content"));
  origin_.Set("/", Xml(Page("")));
  const auto backend = Mount();
  ASSERT_OK(backend->Stat("", {}));
  ASSERT_OK(backend->Stat("dir/image", {}));
  const auto requests = origin_.Requests();
  ASSERT_EQ(requests.size(), 2u);
  for (const SentRequest& request : requests) {
    EXPECT_EQ(request.Header("host"), "images.localhost:" + std::to_string(origin_.port()));
    ExpectSigned(request, kSecret);
  }
}

TEST_F(S3OriginTest, AnonymousRequestsAreNotSigned) {
  options_.s3.anonymous = true;
  const auto backend = Mount();
  ASSERT_OK(backend->Stat("", {}));
  ASSERT_EQ(origin_.Requests().size(), 1u);
  EXPECT_EQ(origin_.Requests()[0].Header("authorization"), "");
}

TEST_F(S3OriginTest, NewKeysInTheFileAreTakenWhenTheOldOnesAreRefused) {
  origin_.Set("/images/image", Object("content"));
  const auto backend = Mount();
  const auto reader = Open(*backend, "image");
  for (const int refusal : {400, 401, 403}) {
    const std::string secret = "secret" + std::to_string(refusal);
    WriteKeys("KEY" + std::to_string(refusal), secret, "t" + std::to_string(refusal));
    origin_.Update("/images/image", [&](OriginFile& file) {
      file.status = refusal;
      file.status_times = 1;
    });
    const auto text = FetchText(*reader, {0, 7});
    ASSERT_OK(text);
    EXPECT_EQ(*text, "content");
    ExpectSigned(origin_.Requests().back(), secret);
  }
}

TEST_F(S3OriginTest, ARefusalIsNotAskedAgainWithTheSameKeys) {
  const auto backend = Mount();
  origin_.Set("/images/image", Failure(403, "AccessDenied", "no"));
  EXPECT_EQ(CodeOf(backend->Stat("image", {})), CodeName(Errc::kAccessDenied));
  EXPECT_EQ(origin_.Requests("/images/image", "HEAD").size(), 1u);
  EXPECT_EQ(origin_.Requests("/images/image", "GET").size(), 1u) << "for the reason, which an answer to HEAD cannot hold";
}

TEST_F(S3OriginTest, TheReasonIsSaid) {
  const auto backend = Mount();
  const auto stat = [&](OriginFile file) {
    origin_.Set("/images/image", std::move(file));
    const auto info = backend->Stat("image", {});
    return info ? "ok" : info.error().ToString();
  };
  EXPECT_THAT(stat(Failure(403, "RequestTimeTooSkewed", "The difference is too large.")), HasSubstr("clocks"));
  EXPECT_THAT(stat(Failure(400, "ExpiredToken")), HasSubstr("session token has expired"));
  EXPECT_THAT(stat(Failure(403, "AccessDenied", "no")), HasSubstr("(403 AccessDenied: no); so S3 answers also for a key"));
  EXPECT_THAT(stat(Failure(403, "InvalidObjectState")), HasSubstr("archived"));
  EXPECT_THAT(stat(Failure(503, "SlowDown")), HasSubstr("unavailable: HEAD"));
  EXPECT_THAT(stat(Failure(403, "Odd", "<a>" + std::string(100'000, 'x'))), HasSubstr("access refused (403 Odd"));
}

TEST_F(S3OriginTest, WhatTheServerEchoesIsNotRepeated) {
  const auto backend = Mount();
  ASSERT_OK(backend->Stat("", {}));
  const std::string sent = origin_.Requests()[0].Header("authorization");
  origin_.Set(kRoot, Failure(403, "SignatureDoesNotMatch", "you sent " + sent));
  const auto root = backend->Stat("", {});
  ASSERT_FALSE(root.has_value());
  EXPECT_THAT(root.error().message, Not(HasSubstr(Between(sent + ",", "Signature=", ","))));
  EXPECT_THAT(root.error().message, Not(HasSubstr("KEY/")));
  EXPECT_THAT(root.error().message, HasSubstr("you sent AWS4-HMAC-SHA256"));
}

TEST_F(S3OriginTest, ABucketInAnotherRegion) {
  const auto backend = Mount();
  Origin other;
  const std::string location = "Location: " + other.url() + "images\r\n";
  const std::string expected = "the bucket is in region eu-west-9: set region=eu-west-9";
  origin_.Set(kRoot, Failure(301, "PermanentRedirect", "", "x-amz-bucket-region: eu-west-9\r\n"));
  EXPECT_THAT(backend->Stat("", {}).error().ToString(), HasSubstr("invalid: GET"));
  EXPECT_THAT(backend->Stat("", {}).error().message, HasSubstr(expected));
  origin_.Set(kRoot, Failure(307, "TemporaryRedirect", "", "x-amz-bucket-region: eu-west-9\r\n" + location));
  EXPECT_THAT(backend->Stat("", {}).error().message, HasSubstr(expected));
  origin_.Set("/images/image", Failure(301, "PermanentRedirect", "", "x-amz-bucket-region: eu-west-9\r\n" + location));
  EXPECT_THAT(backend->Stat("image", {}).error().message, HasSubstr(expected));
  EXPECT_TRUE(other.Requests().empty()) << "a signature is good for one host";
}

TEST_F(S3OriginTest, ChecksumsAreAskedFor) {
  const std::string sum = "x-amz-checksum-sha256: FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=";
  origin_.Set("/images/image", Object("123456789", {sum}));
  options_.checksums = false;  // no files beside it
  const auto backend = Mount();
  const auto info = backend->Stat("image", {});
  ASSERT_OK(info);
  const auto found = backend->FindChecksum(info->image, {});
  ASSERT_OK(found);
  EXPECT_EQ(*found, (Checksum{"sha256", "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"}));
  EXPECT_EQ(origin_.Requests().back().Header("x-amz-checksum-mode"), "ENABLED");
  origin_.Update("/images/image", [&](OriginFile& file) { file.headers = {sum, "x-amz-checksum-type: COMPOSITE"}; });
  EXPECT_EQ(*backend->FindChecksum(info->image, {}), std::nullopt);
  origin_.Update("/images/image", [](OriginFile& file) { file.headers.clear(); });
  EXPECT_EQ(*backend->FindChecksum(info->image, {}), std::nullopt);
  origin_.Update("/images/image", [&](OriginFile& file) {
    file.headers = {sum};
    file.etag = "\"v2\"";
  });
  EXPECT_EQ(CodeOf(backend->FindChecksum(info->image, {})), CodeName(Errc::kStale)) << "of another version";
}

TEST_F(S3OriginTest, AServerThatKnowsNoConditionsIsNotTrusted) {
  OriginFile file = Object("before", {"x-amz-version-id: one"});
  file.conditions = false;
  origin_.Set("/images/image", file);
  const auto backend = Mount();
  const auto reader = Open(*backend, "image");
  EXPECT_EQ(*FetchText(*reader, {0, 6}), "before");
  origin_.Update("/images/image", [](OriginFile& changed) { changed.headers = {"x-amz-version-id: two"}; });
  EXPECT_EQ(CodeOf(FetchText(*reader, {0, 6})), CodeName(Errc::kStale));
  origin_.Update("/images/image", [](OriginFile& changed) {
    changed.headers = {"x-amz-version-id: one"};
    changed.etag = "\"v2\"";
  });
  EXPECT_EQ(CodeOf(FetchText(*reader, {0, 6})), CodeName(Errc::kStale));
}

TEST_F(S3OriginTest, AnswersThatAreNotWhatWasAskedFor) {
  origin_.Set("/images/image", Object(PatternBytes(1000)));
  const auto backend = Mount();
  const auto reader = Open(*backend, "image");
  const auto with = [&](Trouble trouble) {
    origin_.Update("/images/image", [&](OriginFile& file) {
      file.trouble = trouble;
      file.trouble_after = 50;
    });
    return CodeOf(FetchText(*reader, {100, 200}));
  };
  EXPECT_EQ(with(Trouble::kWholeForRange), CodeName(Errc::kNotSupported));
  EXPECT_EQ(with(Trouble::kWrongRange), CodeName(Errc::kInvalid));
  EXPECT_EQ(with(Trouble::kNoContentRange), CodeName(Errc::kInvalid));
  EXPECT_EQ(with(Trouble::kMultipart), CodeName(Errc::kInvalid));
  EXPECT_EQ(with(Trouble::kShortBody), CodeName(Errc::kUnavailable));
  EXPECT_EQ(with(Trouble::kLongBody), CodeName(Errc::kInvalid));
  EXPECT_EQ(with(Trouble::kNone), "ok");
  origin_.Update("/images/image", [&](OriginFile& file) { file.content.resize(500); });
  EXPECT_EQ(CodeOf(FetchText(*reader, {100, 200})), CodeName(Errc::kStale)) << "another size";
}

TEST_F(S3OriginTest, ObjectsWithoutASizeOrAVersion) {
  const auto backend = Mount();
  OriginFile file = Object("content");
  file.send_length = false;
  origin_.Set("/images/image", file);
  EXPECT_EQ(CodeOf(backend->Stat("image", {})), CodeName(Errc::kInvalid));
  file = Object("content");
  file.etag = "";
  origin_.Set("/images/image", file);
  EXPECT_EQ(CodeOf(backend->Stat("image", {})), CodeName(Errc::kInvalid));
  file.etag = "W/\"weak\"";
  origin_.Set("/images/image", file);
  EXPECT_EQ(CodeOf(backend->Stat("image", {})), CodeName(Errc::kInvalid));
}

TEST_F(S3OriginTest, ListingsThatMakeNoSense) {
  const auto backend = Mount();
  const auto list = [&](const std::string& xml, const std::string& cursor = "") {
    origin_.Set(kRoot, Xml(xml));
    return CodeOf(backend->List("", cursor, {}));
  };
  EXPECT_EQ(list("<html>welcome</html>"), CodeName(Errc::kInvalid));
  EXPECT_EQ(list(""), CodeName(Errc::kInvalid));
  EXPECT_EQ(list(Page(std::string(17 << 20, ' '))), CodeName(Errc::kInvalid)) << "too long";
  EXPECT_EQ(list(Page("<IsTruncated>true</IsTruncated><NextContinuationToken>here</NextContinuationToken>"), "here"),
            CodeName(Errc::kInvalid))
      << "a circle";
  EXPECT_EQ(list(Page("<Contents><Key>../evil</Key></Contents><Contents><Key>..</Key></Contents>")), "ok");
  const auto page = backend->List("", "", {});
  ASSERT_OK(page);
  EXPECT_TRUE(page->entries.empty());
}

TEST_F(S3OriginTest, PagesFollowEachOther) {
  const std::string base = "/images?delimiter=%2F&encoding-type=url&list-type=2";
  origin_.Set(base, Xml(Page("<IsTruncated>true</IsTruncated><Contents><Key>a</Key></Contents>"
                             "<NextContinuationToken>t /+</NextContinuationToken>")));
  origin_.Set("/images?continuation-token=t%20%2F%2B&delimiter=%2F&encoding-type=url&list-type=2",
              Xml(Page("<IsTruncated>false</IsTruncated><CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>")));
  const auto backend = Mount();
  const auto first = backend->List("", "", {});
  ASSERT_OK(first);
  ASSERT_EQ(first->entries.size(), 1u);
  EXPECT_EQ(first->entries[0].name, "a");
  const auto second = backend->List("", first->next_cursor, {});
  ASSERT_OK(second);
  ASSERT_EQ(second->entries.size(), 1u);
  EXPECT_EQ(second->entries[0].name, "b");
  EXPECT_TRUE(second->entries[0].is_directory);
  EXPECT_EQ(second->next_cursor, "");
}

TEST_F(S3OriginTest, SettingsThatCannotBe) {
  const auto made = [&](const BackendOptions& options) { return CodeOf(MakeBackend("s3://images", options)); };
  const std::string invalid = CodeName(Errc::kInvalid);
  EXPECT_EQ(made(options_), "ok");
  for (const auto& change : std::vector<std::function<void(BackendOptions&)>>{
           [](BackendOptions& o) { o.s3.addressing = "both"; }, [](BackendOptions& o) { o.s3.addressing = "virtual"; },
           [](BackendOptions& o) { o.listing = "maybe"; }, [](BackendOptions& o) { o.region = "a/b"; },
           [](BackendOptions& o) { o.s3.endpoint = "nonsense"; }, [](BackendOptions& o) { o.s3.profile = "absent"; },
           [](BackendOptions& o) { o.s3.endpoint = "http://user:pw@h/"; },
           [](BackendOptions& o) { o.s3.credentials_file = "/nonexistent"; }}) {
    BackendOptions options = options_;
    change(options);
    EXPECT_EQ(made(options), invalid);
  }
}

}  // namespace
}  // namespace glintfs::testing
