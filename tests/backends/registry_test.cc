#include "tests/backends/fetching.h"
#include "tests/support/temp_dir.h"

namespace glintfs::testing {
namespace {

std::string SourceOf(const std::string& text) {
  auto backend = MakeBackend(text, {});
  return backend ? (*backend)->source() : backend.error().ToString();
}

TEST(MakeBackend, NormalisesSources) {
  EXPECT_EQ(SourceOf("/srv/images"), "dir:///srv/images");
  EXPECT_EQ(SourceOf("dir:///srv//./images/../images/"), "dir:///srv/images");
  EXPECT_EQ(SourceOf("dir:///"), "dir:///");
  EXPECT_EQ(SourceOf("http://Host.Example"), "http://host.example/");
  EXPECT_EQ(SourceOf("http://host:80/a"), "http://host/a/");
  EXPECT_EQ(SourceOf("https://host:8443/a/../b/"), "https://host:8443/b/");
  EXPECT_EQ(SourceOf("http://[::1]:8080/x"), "http://[::1]:8080/x/");
}

TEST(MakeBackend, NamesTheKnownSchemes) {
  for (const char* text : {"ftp://host/", "images", "", "srv/images", "HTTP//x"}) {
    auto backend = MakeBackend(text, {});
    ASSERT_FALSE(backend) << text;
    EXPECT_EQ(backend.error().code, Errc::kInvalid);
    for (const std::string& scheme : KnownSchemes())
      EXPECT_NE(backend.error().message.find(scheme + "://"), std::string::npos) << backend.error().message;
  }
}

TEST(MakeBackend, RefusesWhatDoesNotParse) {
  for (const char* text : {"dir://relative", "dir://", "http://", "http://host/?q", "http://host/#f", "http://ho st/",
                           "http://host:99999/", "http://host/a\nb"})
    EXPECT_EQ(CodeOf(MakeBackend(text, {})), "invalid") << text;
}

TEST(MakeBackend, RefusesCredentialsInUrlsWithoutRepeatingThem) {
  for (const char* text : {"http://user:hunter2@host/", "https://hunter2@host/", "ftp://user:hunter2@host/"}) {
    auto backend = MakeBackend(text, {});
    ASSERT_FALSE(backend) << text;
    EXPECT_EQ(backend.error().message.find("hunter2"), std::string::npos) << backend.error().message;
  }
  auto backend = MakeBackend("http://user:hunter2@host/", {});
  EXPECT_NE(backend.error().message.find("user_file="), std::string::npos);
}

TEST(MakeBackend, ChecksItsSettings) {
  BackendOptions options;
  options.listing = "some";
  EXPECT_EQ(CodeOf(MakeBackend("http://host/", options)), "invalid");
  options = {};
  options.user_file = "/nonexistent/user";
  auto backend = MakeBackend("http://host/", options);
  ASSERT_FALSE(backend);
  EXPECT_NE(backend.error().message.find("/nonexistent/user"), std::string::npos);

  TempDir dir;
  PutFile(dir / "user", "no-colon\n");
  options.user_file = dir / "user";
  EXPECT_EQ(CodeOf(MakeBackend("http://host/", options)), "invalid");
  PutFile(dir / "user", "user:secret\n");
  EXPECT_EQ(CodeOf(MakeBackend("http://host/", options)), "ok");
  options.token_file = dir / "user";
  EXPECT_EQ(CodeOf(MakeBackend("http://host/", options)), "invalid") << "both kinds";
}

}  // namespace
}  // namespace glintfs::testing
