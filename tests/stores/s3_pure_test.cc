// What the s3 backend computes without asking anybody: places, keys, versions, checksums, and sense in XML.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>

#include "backends/s3/answer.h"
#include "backends/s3/keys.h"
#include "backends/s3/location.h"
#include "backends/s3/xml.h"
#include "tests/backends/fetching.h"
#include "tests/support/temp_dir.h"

namespace glintfs::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kInvalid(ErrcName(Errc::kInvalid));

HttpHeaders Headers(const std::vector<std::string>& lines) {
  HttpHeaders headers;
  for (const std::string& line : lines) headers.AddLine(line);
  return headers;
}

// ---- Where things are.

TEST(S3PureTest, ASourceIsABucketAndAPrefix) {
  const auto of = [](std::string_view source) {
    const auto parsed = ParseS3Source(source);
    return parsed ? parsed->bucket + "|" + parsed->prefix : CodeOf(parsed);
  };
  EXPECT_EQ(of("s3://images"), "images|");
  EXPECT_EQ(of("s3://images/"), "images|");
  EXPECT_EQ(of("s3://images/a"), "images|a/");
  EXPECT_EQ(of("s3://images/a/b c/"), "images|a/b c/");
  EXPECT_EQ(of("s3://images/100%25+ü"), "images|100%25+ü/") << "taken as it is";
  EXPECT_EQ(of("s3://Old_Bucket.x"), "Old_Bucket.x|");
  for (const char* bad : {"s3://", "s3:///a", "s3://.", "s3://..", "s3://a b", "s3://a?b", "s3://images//", "s3://images//a",
                          "s3://images/a//b", "s3://images/../b", "s3://images/a/.", "s3://images/a\nb", "http://images"})
    EXPECT_EQ(of(bad), kInvalid) << bad;
  const auto secret = ParseS3Source("s3://AKIA:geheim@images");
  ASSERT_FALSE(secret.has_value());
  EXPECT_THAT(secret.error().message, Not(HasSubstr("geheim")));
}

struct Place {
  const char* bucket;
  const char* endpoint;
  const char* region;
  S3Addressing addressing;
  const char* url;  // of the object "d/a b+c~%", or an error
};

TEST(S3PureTest, UrlsOfObjects) {
  const Place places[] = {
      {"images", "", "eu-west-1", S3Addressing::kAuto, "https://images.s3.eu-west-1.amazonaws.com/d/a%20b%2Bc~%25"},
      {"images", "", "eu-west-1", S3Addressing::kPath, "https://s3.eu-west-1.amazonaws.com/images/d/a%20b%2Bc~%25"},
      {"images", "", "cn-north-1", S3Addressing::kAuto, "https://images.s3.cn-north-1.amazonaws.com.cn/d/a%20b%2Bc~%25"},
      {"my.images", "", "eu-west-1", S3Addressing::kAuto, "https://s3.eu-west-1.amazonaws.com/my.images/d/a%20b%2Bc~%25"},
      {"My_images", "", "eu-west-1", S3Addressing::kAuto, "https://s3.eu-west-1.amazonaws.com/My_images/d/a%20b%2Bc~%25"},
      {"images", "http://h:7480", "x", S3Addressing::kAuto, "http://h:7480/images/d/a%20b%2Bc~%25"},
      {"images", "http://h:7480/s3/", "x", S3Addressing::kPath, "http://h:7480/s3/images/d/a%20b%2Bc~%25"},
      {"images", "http://h:7480", "x", S3Addressing::kVirtual, "http://images.h:7480/d/a%20b%2Bc~%25"},
      {"my.images", "http://h", "x", S3Addressing::kVirtual, "http://my.images.h/d/a%20b%2Bc~%25"},
      {"my.images", "https://h", "x", S3Addressing::kVirtual, "invalid"},
      {"Images", "http://h", "x", S3Addressing::kVirtual, "invalid"},
      {"images", "http://127.0.0.1:80", "x", S3Addressing::kVirtual, "invalid"},
      {"images", "http://[::1]:80", "x", S3Addressing::kVirtual, "invalid"},
      {"tenant:images", "http://h", "x", S3Addressing::kAuto, "http://h/tenant%3Aimages/d/a%20b%2Bc~%25"},
      {"images", "h:7480", "x", S3Addressing::kAuto, "invalid"},
      {"images", "ftp://h", "x", S3Addressing::kAuto, "invalid"},
      {"images", "http://h/?x=1", "x", S3Addressing::kAuto, "invalid"},
      {"images", "", "evil.com/", S3Addressing::kAuto, "invalid"},
      {"images", "", "a:b", S3Addressing::kAuto, "invalid"},
  };
  for (const Place& place : places) {
    const auto location = LocateS3({place.bucket, ""}, place.endpoint, place.region, place.addressing);
    EXPECT_EQ(location ? location->ObjectUrl("d/a b+c~%").Text() : CodeOf(location), place.url) << place.bucket;
  }
}

TEST(S3PureTest, QueriesAreInTheOrderOfTheSignature) {
  const auto path = LocateS3({"images", ""}, "http://h", "x", S3Addressing::kPath);
  ASSERT_OK(path);
  EXPECT_EQ(path->QueryUrl({{"prefix", "a b/+~ü&"}, {"list-type", "2"}, {"delimiter", "/"}}).Text(),
            "http://h/images?delimiter=%2F&list-type=2&prefix=a%20b%2F%2B~%C3%BC%26");
  const auto virtual_style = LocateS3({"images", ""}, "http://h", "x", S3Addressing::kVirtual);
  ASSERT_OK(virtual_style);
  EXPECT_EQ(virtual_style->QueryUrl({{"list-type", "2"}}).Text(), "http://images.h/?list-type=2");
}

TEST(S3PureTest, BucketsOfTwoServersAreTwoSources) {
  EXPECT_EQ(LocateS3({"images", "a/"}, "", "us-east-1", S3Addressing::kAuto)->Text(), "s3://images/a/");
  EXPECT_EQ(LocateS3({"images", "a/"}, "http://h:1", "us-east-1", S3Addressing::kAuto)->Text(), "s3+http://h:1/images/a/");
}

// ---- Keys.

class S3KeysTest : public ::testing::Test {
 protected:
  S3KeysTest() {
    environment_.credentials_file = dir_ / "credentials";
    environment_.config_file = dir_ / "config";
  }
  void Write(const std::string& file, const std::string& text) {
    PutFile(dir_ / file, text);
    ::chmod((dir_ / file).c_str(), 0600);
  }
  // "access|secret|token|region", or the error.
  std::string Read(const S3Options& options = {}) {
    const auto found = S3KeySource(options, environment_).Read(options.anonymous);
    if (!found) return found.error().message;
    return found->keys.access_key + "|" + found->keys.secret_key + "|" + found->keys.session_token + "|" + found->region;
  }

  TempDir dir_;
  S3Environment environment_;
};

constexpr char kCredentials[] = R"(# ours
[default]
aws_access_key_id = DEF
aws_secret_access_key=d/e+f=

[ other ]
AWS_ACCESS_KEY_ID=OTH
aws_secret_access_key = oth
aws_session_token = tok==
garbage
[half]
aws_access_key_id = HALF
[blank]
aws_access_key_id = A B
aws_secret_access_key = x
  [indented]
    aws_access_key_id = IND
    aws_secret_access_key = ind
    s3 =
      aws_session_token = nested
[unclosed
aws_access_key_id = NONE
)";

TEST_F(S3KeysTest, TheOrderOfPlaces) {
  Write("credentials", kCredentials);
  Write("config", "[default]\nregion = eu-1\n[profile other]\nregion=eu-2\ns3 =\n    region = nested\n[other]\nregion = wrong\n");
  EXPECT_EQ(Read(), "DEF|d/e+f=||eu-1");
  environment_.profile = "other";
  EXPECT_EQ(Read(), "OTH|oth|tok==|eu-2");
  environment_.keys = {"ENV", "env", "envtok"};
  EXPECT_EQ(Read(), "ENV|env|envtok|eu-2") << "the environment goes before its profile";
  S3Options options;
  options.profile = "default";
  EXPECT_EQ(Read(options), "DEF|d/e+f=||eu-1") << "a profile of the settings goes before the environment";
  options.profile = "indented";
  EXPECT_EQ(Read(options), "IND|ind||");
  options.profile.clear();
  Write("mine", "[other]\naws_access_key_id=MINE\naws_secret_access_key=mine\n");
  options.credentials_file = dir_ / "mine";
  EXPECT_EQ(Read(options), "MINE|mine||eu-2") << "so does a file of the settings";
  options.anonymous = true;
  EXPECT_EQ(Read(options), "|||eu-2");
}

TEST_F(S3KeysTest, KeysOfTheConfigFile) {
  Write("config", "[profile x]\naws_access_key_id=CFG\naws_secret_access_key=cfg\n");
  S3Options options;
  options.profile = "x";
  EXPECT_EQ(Read(options), "CFG|cfg||");
}

TEST_F(S3KeysTest, WhatCannotBeUsedIsSaidClearly) {
  EXPECT_THAT(Read(), HasSubstr("anonymous=yes"));
  Write("credentials", kCredentials);
  S3Options options;
  for (const auto& [profile, words] :
       {std::pair{"absent", "no such section"}, {"half", "one of them is missing"}, {"blank", "blank"}}) {
    options.profile = profile;
    EXPECT_THAT(Read(options), HasSubstr(words));
  }
  Write("config",
        "[profile process]\ncredential_process = /bin/x geheim\n[profile role]\nrole_arn=arn\naws_access_key_id=A\n"
        "aws_secret_access_key=B\n[profile sso]\nsso_session = s\n");
  for (const auto& [profile, words] : {std::pair{"process", "credential_process"}, {"role", "role_arn"}, {"sso", "sso_session"}}) {
    options.profile = profile;
    EXPECT_THAT(Read(options), HasSubstr(words));
    EXPECT_THAT(Read(options), Not(HasSubstr("geheim")));
  }
  options.profile.clear();
  options.credentials_file = dir_ / "absent";
  EXPECT_THAT(Read(options), HasSubstr("credentials_file="));
  environment_.keys.access_key = "ONLY";
  EXPECT_THAT(Read(), HasSubstr("AWS_SECRET_ACCESS_KEY"));
}

TEST_F(S3KeysTest, AFileThatIsNotNeededMayBeUnusable) {
  environment_.keys = {"ENV", "env", ""};
  environment_.credentials_file = dir_.path();  // a directory
  EXPECT_EQ(Read(), "ENV|env||");
  environment_.keys = {};
  S3Options options;
  options.anonymous = true;
  EXPECT_EQ(Read(options), "|||");
}

TEST(S3PureTest, TheEnvironment) {
  const std::vector<std::pair<const char*, const char*>> variables = {
      {"AWS_ACCESS_KEY_ID", "A"}, {"AWS_SECRET_ACCESS_KEY", "B"}, {"AWS_SESSION_TOKEN", "C"}, {"AWS_PROFILE", ""},
      {"AWS_DEFAULT_PROFILE", "p"}, {"AWS_REGION", "r"}, {"AWS_DEFAULT_REGION", "s"}, {"AWS_ENDPOINT_URL", "e"},
      {"AWS_CONFIG_FILE", "/c"}, {"HOME", "/h"}};
  std::vector<std::pair<const char*, std::optional<std::string>>> before;
  for (const auto& [name, value] : variables) {
    const char* old = std::getenv(name);
    before.emplace_back(name, old == nullptr ? std::nullopt : std::optional<std::string>(old));
    ::setenv(name, value, 1);
  }
  const S3Environment environment = S3Environment::OfProcess();
  for (const auto& [name, value] : before) value ? ::setenv(name, value->c_str(), 1) : ::unsetenv(name);
  EXPECT_EQ(environment.keys, (S3Keys{"A", "B", "C"}));
  EXPECT_EQ(environment.profile, "p");
  EXPECT_EQ(environment.region, "r");
  EXPECT_EQ(environment.endpoint, "e");
  EXPECT_EQ(environment.config_file, "/c");
  EXPECT_EQ(environment.credentials_file, "/h/.aws/credentials");
}

// ---- Versions and checksums.

TEST(S3PureTest, TheVersionIsEtagAndVersionId) {
  const auto plain = Headers({"ETag: \"ab-3\""}), first = Headers({"ETag: \"ab\"", "x-amz-version-id: v1"}),
             second = Headers({"ETag: \"ab\"", "x-amz-version-id: v2"}), null = Headers({"ETag: \"ab\"", "x-amz-version-id: null"});
  EXPECT_EQ(S3Version(plain, 1), "etag:\"ab-3\"");
  EXPECT_EQ(S3Version(null, 1), "etag:\"ab\"");
  const std::string version = S3Version(first, 1);
  EXPECT_EQ(version, "etag:\"ab\" version-id:v1");
  EXPECT_EQ(HttpPartOf(version), "etag:\"ab\"");
  EXPECT_EQ(HttpPartOf("etag:\"ab\""), "etag:\"ab\"");
  EXPECT_TRUE(CheckVersionId(first, version).has_value());
  EXPECT_TRUE(CheckVersionId(plain, version).has_value()) << "the ETag tells enough";
  EXPECT_EQ(CodeOf(CheckVersionId(second, version)), ErrcName(Errc::kStale));
  EXPECT_EQ(S3Version(Headers({}), 1), "") << "a length alone is no version";
  EXPECT_EQ(S3Version(Headers({"ETag: \"ab\"", "x-amz-version-id: a b"}), 1), "etag:\"ab\"");
}

TEST(S3PureTest, ChecksumsOfTheWholeObject) {
  const auto sum = [](const std::vector<std::string>& lines) {
    const auto found = S3Checksum(Headers(lines));
    return found ? found->algorithm + ":" + found->hex : "none";
  };
  // Of "123456789".
  EXPECT_EQ(sum({"x-amz-checksum-crc32: y/Q5Jg=="}), "crc32:cbf43926");
  EXPECT_EQ(sum({"x-amz-checksum-crc32c: 4waSgw=="}), "crc32c:e3069283");
  EXPECT_EQ(sum({"x-amz-checksum-crc64nvme: rosUhgp5mIg="}), "crc64nvme:ae8b14860a799888");
  EXPECT_EQ(sum({"x-amz-checksum-sha1: 98O8HYCOBHMq32eZZczDTKeuNEE="}), "sha1:f7c3bc1d808e04732adf679965ccc34ca7ae3441");
  EXPECT_EQ(sum({"x-amz-checksum-crc32: y/Q5Jg==", "x-amz-checksum-sha256: FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="}),
            "sha256:15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225");
  EXPECT_EQ(sum({"x-amz-checksum-crc32: y/Q5Jg==", "x-amz-checksum-type: FULL_OBJECT"}), "crc32:cbf43926");
  EXPECT_EQ(sum({"x-amz-checksum-crc32: y/Q5Jg==", "x-amz-checksum-type: COMPOSITE"}), "none");
  EXPECT_EQ(sum({"x-amz-checksum-crc32: y/Q5Jg==-3"}), "none");
  for (const char* bad : {"", "y/Q5J===", "y/Q5Jg=", "y/Q5Jg", "y/Q5J!==", "y/Q5JgAA", "===="})
    EXPECT_EQ(sum({std::string("x-amz-checksum-crc32: ") + bad}), "none") << bad;
  EXPECT_EQ(sum({"ETag: \"25f9e794323b453885f5181f1b624d0b\""}), "none") << "an ETag is no MD5";
}

// ---- XML.

std::string Page(const std::string& inside) {
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">" + inside +
         "</ListBucketResult>";
}
std::string Key(const std::string& key) { return "<Contents><Key>" + key + "</Key><Size>1</Size></Contents>"; }
std::string Below(const std::string& prefix) { return "<CommonPrefixes><Prefix>" + prefix + "</Prefix></CommonPrefixes>"; }

std::vector<std::string> Names(const Result<S3Listing>& listing) {
  if (!listing) return {CodeOf(listing)};
  std::vector<std::string> names;
  for (const ListEntry& entry : listing->page.entries) names.push_back(entry.name + (entry.is_directory ? "/" : ""));
  return names;
}

TEST(S3PureTest, AListing) {
  const auto listing = ParseS3Listing(
      Page("<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>" + Below("p/sub/") + Below("p/%C3%BC+x/") + Key("p/") +
           Key("p/a%2Bb%20c+d") + Key("p/100%25") + Key("elsewhere") + "<NextContinuationToken>a+b%&amp;</NextContinuationToken>"),
      "p/");
  EXPECT_THAT(Names(listing), ElementsAre("a+b c d", "100%", "sub/", "ü x/"));
  EXPECT_EQ(listing->page.next_cursor, "a+b%&") << "never encoded";
  EXPECT_THAT(Names(ParseS3Listing(Page(Key("a+b%") + Key("c&lt;d\r")), "")), ElementsAre("a+b%", "c<d\r")) << "not encoded";
  EXPECT_THAT(Names(ParseS3Listing(Page(Key("x//y") + Below("/") + Below("x//")), "")), ElementsAre("x//y", "//", "x//"))
      << "names that cannot be are handed on, and are not mistaken for others";
}

TEST(S3PureTest, AnEmptyPartOfAKeyIsNoName) {
  const auto listing = ParseS3Listing(Page(Below("/") + Below("//")), "");
  ASSERT_OK(listing);
  EXPECT_EQ(listing->page.entries.size(), 2u);
  for (const ListEntry& entry : listing->page.entries)
    EXPECT_FALSE(IsValidName(entry.name) && entry.name.find('/') == std::string::npos) << entry.name;
}

TEST(S3PureTest, ADirectoryMayHaveAnObjectForItself) {
  const auto listing = ParseS3Listing(Page(Key("p/")), "p/");
  ASSERT_OK(listing);
  EXPECT_TRUE(listing->found);
  EXPECT_TRUE(listing->page.entries.empty());
  EXPECT_FALSE(ParseS3Listing(Page(""), "p/")->found);
}

TEST(S3PureTest, ListingsThatMakeNoSense) {
  std::string deep, many, bomb = "<!DOCTYPE x [<!ENTITY a \"aaaaaaaa\">";
  for (int i = 0; i < 300'000; ++i) deep += "<a>";
  for (int i = 0; i < 30'000; ++i) many += Key(std::to_string(i));
  for (char c = 'b'; c < 'z'; ++c) {
    const std::string before{'&', static_cast<char>(c - 1), ';'};
    bomb += std::string("<!ENTITY ") + c + " \"" + before + before + "\">";
  }
  const std::string listings[] = {"", "nonsense", "<", "<html></html>", std::string("\0\xff\xfe", 3), "<ListBucketResult>",
                                  Page("<EncodingType>url</EncodingType>" + Key("a%zz")),
                                  Page("<IsTruncated>true</IsTruncated>"),
                                  Page("<IsTruncated>true</IsTruncated><NextMarker>a</NextMarker>"),
                                  Page("<IsTruncated>true</IsTruncated><NextContinuationToken>" + std::string(20'000, 't') +
                                       "</NextContinuationToken>"),
                                  Page(deep), deep, Page(many), bomb + "]>" + Page(Key("&y;"))};
  for (const std::string& xml : listings) EXPECT_THAT(Names(ParseS3Listing(xml, "")), ElementsAre(kInvalid)) << xml.substr(0, 200);
  EXPECT_THAT(Names(ParseS3Listing(Page(Key("&unknown;") + Key("") + "<Contents/>"), "")), ElementsAre("&unknown;"));
}

TEST(S3PureTest, ErrorsAreForPeople) {
  const auto failure = ParseS3Failure(
      "<Error><Code>SignatureDoesNotMatch</Code><Message>line\none\x01 two</Message><AWSAccessKeyId>AKIAIOSFODNN7EXAMPLE"
      "</AWSAccessKeyId><Region>eu-1</Region></Error>");
  EXPECT_EQ(failure.code, "SignatureDoesNotMatch");
  EXPECT_EQ(failure.message, "line one two");
  EXPECT_EQ(failure.region, "eu-1");
  EXPECT_EQ(ParseS3Failure("<html>no</html>").code, "");
  EXPECT_EQ(ParseS3Failure("").code, "");
  EXPECT_LE(ParseS3Failure("<Error><Code>" + std::string(5000, 'c') + "</Code><Message>" + std::string(5000, ' ') +
                           std::string(5000, 'm') + "</Message></Error>").message.size(), 300u);
  EXPECT_EQ(Presentable("key AKIAIOSFODNN7EXAMPLE Signature=f0e8bdb87c964420e857bd35b5d6ed31 end"), "key … … end");
  EXPECT_EQ(Presentable("User: arn:aws:iam::123456789012:user/me is not authorized"),
            "User: arn:aws:iam::123456789012:user/me is not authorized");
}

struct Answer {
  long status;
  const char* code;
  Errc errc;
};

TEST(S3PureTest, WhatErrorsMean) {
  const Answer answers[] = {
      {403, "SignatureDoesNotMatch", Errc::kAccessDenied}, {403, "RequestTimeTooSkewed", Errc::kAccessDenied},
      {400, "ExpiredToken", Errc::kAccessDenied},          {400, "InvalidToken", Errc::kAccessDenied},
      {403, "AccessDenied", Errc::kAccessDenied},          {401, "", Errc::kAccessDenied},
      {403, "InvalidObjectState", Errc::kAccessDenied},    {404, "NoSuchKey", Errc::kNotFound},
      {404, "NoSuchBucket", Errc::kNotFound},              {404, "", Errc::kNotFound},
      {412, "PreconditionFailed", Errc::kStale},           {416, "InvalidRange", Errc::kStale},
      {503, "SlowDown", Errc::kUnavailable},               {400, "RequestTimeout", Errc::kUnavailable},
      {500, "InternalError", Errc::kUnavailable},          {429, "", Errc::kUnavailable},
      {501, "NotImplemented", Errc::kNotSupported},        {400, "Weird", Errc::kInvalid},
      {302, "", Errc::kInvalid},                           {206, "", Errc::kInvalid}};
  const OriginRequest request{.head = false, .url = *ParseHttpUrl("http://h/b/k"), .headers = {}};
  for (const Answer& answer : answers) {
    OriginResponse response;
    response.status = answer.status;
    const std::string body = *answer.code == '\0' ? "" : std::string("<Error><Code>") + answer.code + "</Code></Error>";
    const Error error = S3Error(request, response, body, "us-east-1");
    EXPECT_EQ(error.code, answer.errc) << answer.status << answer.code << ": " << error.message;
    EXPECT_THAT(error.message, HasSubstr(answer.code));
    EXPECT_THAT(error.message, HasSubstr(std::to_string(answer.status)));
  }
}

TEST(S3PureTest, AnotherRegionIsNamed) {
  const OriginRequest request{.head = false, .url = *ParseHttpUrl("http://h/b/k"), .headers = {}};
  const auto message = [&](long status, const std::string& header, const std::string& body) {
    OriginResponse response;
    response.status = status;
    if (!header.empty()) response.headers.AddLine("x-amz-bucket-region: " + header);
    return S3Error(request, response, body, "us-east-1").message;
  };
  EXPECT_THAT(message(301, "eu-west-1", ""), HasSubstr("set region=eu-west-1"));
  EXPECT_THAT(message(400, "", "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>"),
              HasSubstr("set region=eu-west-1"));
  EXPECT_THAT(message(400, "us-east-1", ""), Not(HasSubstr("region=")));
  EXPECT_THAT(message(403, "eu-west-1", ""), Not(HasSubstr("region=")));
  EXPECT_THAT(message(301, "evil\x01region;", ""), Not(HasSubstr("evil")));
}

}  // namespace
}  // namespace glintfs::testing
