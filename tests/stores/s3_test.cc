// What only S3 has, on a real radosgw.
#ifdef GLINTFS_CEPH
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "tests/backends/fetching.h"
#include "tests/stores/s3_store.h"
#include "tests/support/wait.h"

namespace glintfs::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

class S3Test : public ::testing::Test {
 protected:
  S3Store& store() { return static_cast<S3Store&>(SharedStore(&MakeS3Store)); }
  S3Client client() { return store().Client(); }

  // A bucket of this test's own.
  std::string Bucket() {
    static int count = 0;
    const std::string bucket = "own-" + std::to_string(++count);
    client().MakeBucket(bucket);
    return bucket;
  }
  std::unique_ptr<Backend> Mount(const std::string& source) { return Make(source, store().options()); }

  // Names, directories with a '/'.
  static std::vector<std::string> List(Backend& backend, const std::string& directory = "") {
    const auto page = backend.List(directory, "", {});
    if (!page) return {CodeOf(page)};
    std::vector<std::string> names;
    for (const ListEntry& entry : page->entries) names.push_back(entry.name + (entry.is_directory ? "/" : ""));
    return names;
  }
  static std::string Read(Backend& backend, const std::string& name) {
    const auto info = backend.Stat(name, {});
    if (!info) return CodeOf(info);
    if (info->is_directory) return "directory";
    if (info->image.size == 0) return "";
    auto reader = backend.Open(info->image, {});
    if (!reader) return CodeOf(reader);
    const auto text = FetchText(**reader, {0, info->image.size});
    return text ? *text : CodeOf(text);
  }
  static std::string CodeName(Errc code) { return std::string(ErrcName(code)); }
};

TEST_F(S3Test, KeysWithoutANameAreLeftOut) {
  const std::string bucket = Bucket();
  for (const char* key : {"good", "x//y", "x/z", "/lead", "tail/", "dot/./y", "dot/../y", "new\nline", "c\x01", "dot/ok", "//"})
    client().Put(bucket, key, key);
  const auto backend = Mount("s3://" + bucket);
  EXPECT_THAT(List(*backend), UnorderedElementsAre("good", "x/", "tail/", "dot/"));
  EXPECT_THAT(List(*backend, "x"), UnorderedElementsAre("z"));
  EXPECT_THAT(List(*backend, "dot"), UnorderedElementsAre("ok"));
  EXPECT_THAT(List(*backend, "tail"), UnorderedElementsAre()) << "an empty directory that has an object for itself";
  EXPECT_EQ(Read(*backend, "tail"), "directory");
  EXPECT_EQ(Read(*backend, "x/z"), "x/z");
  EXPECT_EQ(CodeOf(backend->List("nowhere", "", {})), CodeName(Errc::kNotFound));
  EXPECT_EQ(CodeOf(backend->List("good", "", {})), CodeName(Errc::kNotDirectory));
}

TEST_F(S3Test, PagesEndAtOddKeys) {
  const std::string bucket = Bucket();
  std::vector<std::string> keys;
  for (int i = 0; i < 1003; ++i) keys.push_back("d/ü +%&=/?" + std::to_string(10'000 + i));
  client().PutMany(bucket, keys);
  const auto backend = Mount("s3://" + bucket + "/d/ü +%&=");
  std::set<std::string> names;
  std::string cursor;
  do {
    const auto page = backend->List("", cursor, {});
    ASSERT_OK(page);
    for (const ListEntry& entry : page->entries) EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
    cursor = page->next_cursor;
  } while (!cursor.empty());
  EXPECT_EQ(names.size(), keys.size());
  EXPECT_TRUE(names.contains("?10999"));
}

TEST_F(S3Test, AKeyThatIsAlsoADirectoryIsTheObject) {
  const std::string bucket = Bucket();
  client().Put(bucket, "both", "object");
  client().Put(bucket, "both/below", "below");
  const auto backend = Mount("s3://" + bucket);
  EXPECT_THAT(List(*backend), UnorderedElementsAre("both"));
  EXPECT_EQ(Read(*backend, "both"), "object");
  EXPECT_EQ(Read(*Mount("s3://" + bucket + "/both"), "below"), "below") << "a mount of the prefix reaches the others";
}

TEST_F(S3Test, APrefixIsARoot) {
  const std::string bucket = Bucket();
  client().Put(bucket, "a b/+ü/one", "1");
  client().Put(bucket, "a b/+ü/sub/two", "2");
  client().Put(bucket, "a b/+üx/three", "3");
  const auto backend = Mount("s3://" + bucket + "/a b/+ü");
  ASSERT_OK(backend->Stat("", {}));
  EXPECT_THAT(List(*backend), UnorderedElementsAre("one", "sub/"));
  EXPECT_EQ(Read(*backend, "one"), "1");
  EXPECT_EQ(Read(*backend, "sub/two"), "2");
  const auto info = backend->Stat("one", {});
  EXPECT_EQ(info->image.id.source, "s3+" + store().gateway().endpoint() + "/" + bucket + "/a b/+ü/");
  EXPECT_GT(info->image.mtime.count(), 0);
  EXPECT_EQ(CodeOf(Mount("s3://" + bucket + "/nothing")->Stat("", {})), CodeName(Errc::kNotFound));
}

TEST_F(S3Test, AnEmptyBucketIsAnEmptyDirectoryAndNoBucketIsNone) {
  const auto backend = Mount("s3://" + Bucket());
  ASSERT_OK(backend->Stat("", {}));
  EXPECT_THAT(List(*backend), UnorderedElementsAre());
  const auto missing = Mount("s3://no-such-bucket")->Stat("", {});
  EXPECT_EQ(CodeOf(missing), CodeName(Errc::kNotFound));
  EXPECT_THAT(missing.error().message, HasSubstr("no such bucket"));
}

TEST_F(S3Test, AnObjectUploadedInParts) {
  const std::string bytes = PatternBytes((11 << 20) + 3);
  client().PutInParts("images", "parts", bytes, 5 << 20);
  const auto backend = Mount("s3://images");
  const auto info = backend->Stat("parts", {});
  ASSERT_OK(info);
  EXPECT_EQ(info->image.size, bytes.size());
  EXPECT_THAT(info->image.id.version, HasSubstr("-3\"")) << "an ETag that is no MD5";
  const auto reader = backend->Open(info->image, {});
  ASSERT_OK(reader);
  for (const Extent extent : {Extent{0, 1}, Extent{(5 << 20) - 2, 5}, Extent{1000, bytes.size() - 1000}}) {
    const auto text = FetchText(**reader, extent);
    ASSERT_OK(text);
    EXPECT_TRUE(*text == bytes.substr(extent.offset, extent.length)) << extent.offset;
  }
}

TEST_F(S3Test, AVersionedBucket) {
  const std::string bucket = Bucket();
  client().Expect("PUT", bucket, "", {{"versioning", ""}},
                  "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>Enabled</Status>"
                  "</VersioningConfiguration>");
  client().Put(bucket, "image", "one");
  const auto backend = Mount("s3://" + bucket);
  const auto first = backend->Stat("image", {});
  ASSERT_OK(first);
  EXPECT_THAT(first->image.id.version, HasSubstr("version-id:"));
  const auto reader = backend->Open(first->image, {});
  ASSERT_OK(reader);
  EXPECT_EQ(*FetchText(**reader, {0, 3}), "one");
  client().Put(bucket, "image", "one");
  EXPECT_EQ(CodeOf(FetchText(**reader, {0, 3})), CodeName(Errc::kStale)) << "the same bytes, but another version";
  EXPECT_NE(backend->Stat("image", {})->image.id.version, first->image.id.version);
  client().Put(bucket, "image", "two");
  EXPECT_EQ(CodeOf(FetchText(**reader, {0, 3})), CodeName(Errc::kStale)) << "although the server still has the old one";
  EXPECT_EQ(Read(*backend, "image"), "two");
  client().Remove(bucket, "image");
  EXPECT_EQ(CodeOf(backend->Stat("image", {})), CodeName(Errc::kNotFound)) << "a delete marker";
  EXPECT_THAT(List(*backend), UnorderedElementsAre());
}

TEST_F(S3Test, TheBucketInTheHostName) {
  const std::string name = "a b+ü~%/x";
  client().Put("images", name, "by host");
  BackendOptions options = store().options();
  options.s3.endpoint = "http://localhost:" + std::to_string(store().gateway().port());
  options.s3.addressing = "virtual";
  const auto backend = Make("s3://images", options);
  ASSERT_OK(backend->Stat("", {}));
  EXPECT_EQ(Read(*backend, name), "by host");
  EXPECT_THAT(List(*backend, "a b+ü~%"), UnorderedElementsAre("x"));
}

std::string PublicPolicy(const std::string& bucket, const std::string& actions) {
  return R"({"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":[)" + actions +
         R"(],"Resource":["arn:aws:s3:::)" + bucket + R"(","arn:aws:s3:::)" + bucket + R"(/*"]}]})";
}

TEST_F(S3Test, APublicBucketNeedsNoKeys) {
  const std::string bucket = Bucket();
  client().Put(bucket, "image", "public");
  client().Expect("PUT", bucket, "", {{"policy", ""}}, PublicPolicy(bucket, R"("s3:GetObject","s3:ListBucket")"));
  BackendOptions options = store().options();
  options.s3.credentials_file.clear();
  options.s3.anonymous = true;
  const auto backend = Make("s3://" + bucket, options);
  ASSERT_OK(backend->Stat("", {}));
  EXPECT_THAT(List(*backend), UnorderedElementsAre("image"));
  EXPECT_EQ(Read(*backend, "image"), "public");
  EXPECT_EQ(CodeOf(backend->Stat("missing", {})), CodeName(Errc::kNotFound));
  const auto refused = Make("s3://images", options)->Stat("", {});
  EXPECT_EQ(CodeOf(refused), CodeName(Errc::kAccessDenied));
  EXPECT_THAT(refused.error().message, HasSubstr("give keys"));
}

TEST_F(S3Test, ObjectsOfABucketThatMayNotBeListed) {
  const std::string bucket = Bucket();
  client().Put(bucket, "image", "public");
  client().Expect("PUT", bucket, "", {{"policy", ""}}, PublicPolicy(bucket, R"("s3:GetObject")"));
  BackendOptions options = store().options();
  options.s3.credentials_file.clear();
  options.s3.anonymous = true;
  const auto refused = Make("s3://" + bucket, options)->Stat("", {});
  EXPECT_EQ(CodeOf(refused), CodeName(Errc::kAccessDenied));
  EXPECT_THAT(refused.error().message, HasSubstr("listing=none"));
  options.listing = "none";
  const auto backend = Make("s3://" + bucket, options);
  ASSERT_OK(backend->Stat("", {}));
  EXPECT_EQ(Read(*backend, "image"), "public");
  EXPECT_EQ(CodeOf(backend->List("", "", {})), CodeName(Errc::kNotSupported));
  const auto missing = backend->Stat("missing", {});
  EXPECT_NE(CodeOf(missing), "ok");
  EXPECT_NE(CodeOf(missing), CodeName(Errc::kUnavailable)) << missing.error().message;
}

TEST_F(S3Test, WrongKeysAreToldApart) {
  const auto with = [&](const std::string& access, const std::string& secret) {
    const auto root = Make("s3://images", store().OptionsWith(store().WriteKeys("other", access, secret)))->Stat("", {});
    return root ? "ok" : root.error().ToString();
  };
  EXPECT_THAT(with("NOBODY", "geheim"), HasSubstr("the access key is not known there (403 InvalidAccessKeyId"));
  EXPECT_THAT(with(store().user().access_key, "geheim"), HasSubstr("the secret key is wrong (403 SignatureDoesNotMatch"));
  EXPECT_THAT(with(store().user().access_key, "geheim"), Not(HasSubstr("geheim")));
  EXPECT_EQ(with(store().user().access_key, store().user().secret_key), "ok");
}

TEST_F(S3Test, RefusedKeysThatNobodyReplacedStayRefused) {
  const S3User spare = store().gateway().AddKey(store().user().uid);
  const auto backend = Make("s3://images", store().OptionsWith(store().WriteKeys("spare", spare.access_key, spare.secret_key)));
  ASSERT_OK(backend->Stat("", {}));
  store().gateway().RemoveKey(spare);
  const S3Client removed(store().gateway().endpoint(), spare.access_key, spare.secret_key);
  ASSERT_TRUE(WaitFor([&] { return removed.Ask("GET", "images", "").status == 403; }));
  EXPECT_EQ(CodeOf(backend->Stat("", {})), CodeName(Errc::kAccessDenied));
  EXPECT_EQ(CodeOf(backend->Stat("anything", {})), CodeName(Errc::kAccessDenied)) << "not: not found";
  store().WriteKeys("spare", store().user().access_key, store().user().secret_key);
  EXPECT_EQ(CodeOf(backend->Stat("", {})), "ok");
}

}  // namespace
}  // namespace glintfs::testing
#endif
