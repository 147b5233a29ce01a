// glance-cache-manage, -pruner, -cleaner and -prefetcher on a mount: they do no harm.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <fstream>

#include "tests/glance/glance_cache_fixture.h"

namespace glintfs::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class GlanceCacheTools : public GlanceCacheTest, public ::testing::WithParamInterface<const char*> {
 protected:
  bool xattr() const { return std::string(GetParam()) == "xattr"; }
  void Start(const std::string& max_size = "1000000000000") {
    StartMount();
    StartGlance(GetParam(), max_size, keystone_.get());
  }
  // glance-cache-manage and /v2/cache are for administrators.
  void StartKeystone() { keystone_ = Keystone::Start(); }
  // Downloads it and waits until it is cached as a whole.
  std::string Cached(const std::string& name, size_t size) {
    const std::string id = Image(name, size);
    EXPECT_TRUE(Serves(id));
    EXPECT_TRUE(WaitFor([&] { return Listed(id); })) << name;
    return id;
  }
  std::string Manage(std::vector<std::string> words) {
    std::vector<std::string> argv = {"glance-cache-manage", "--host=127.0.0.1", fmt::format("--port={}", glance_->port()), "--force"};
    argv.insert(argv.end(), words.begin(), words.end());
    const CommandResult result = RunCommand(argv, {.environment = {"OS_AUTH_URL=" + keystone_->url(), "OS_USERNAME=admin",
                                                                   "OS_PASSWORD=" + Keystone::admin_password(), "OS_PROJECT_NAME=admin",
                                                                   "OS_TOKEN=" + token_}});
    EXPECT_TRUE(result.ok()) << words[0] << ": " << result.out << result.err;
    return result.out;
  }
  void Tool(const std::string& name) {
    const CommandResult result = glance_->Tool({name});
    EXPECT_TRUE(result.ok()) << result.out << result.err;
    EXPECT_THAT(result.out + result.err, Not(HasSubstr("Traceback")));
  }
  // Reads `later` until Glance's pruner, which sees seconds, can tell.
  bool ReadAfter(const std::string& later, const std::string& earlier) {
    struct stat first{}, last{};
    if (::stat((*mount_ / earlier).c_str(), &first) != 0) return false;
    return WaitFor([&] {
      EXPECT_TRUE(Serves(later));
      return ::stat((*mount_ / later).c_str(), &last) == 0 && last.st_atime > first.st_atime;
    });
  }

  std::unique_ptr<Keystone> keystone_;
};
INSTANTIATE_TEST_SUITE_P(Driver, GlanceCacheTools, ::testing::Values("sqlite", "xattr"), [](const auto& driver) { return driver.param; });

TEST_P(GlanceCacheTools, Manage) {
  StartKeystone();
  Start();
  const std::string one = Cached("one", 3'000'000), two = Cached("two", 1'000'000), three = Cached("three", 70'000);
  const std::string own = Image("not at the source", 50'000, false);
  const std::string own_bytes = Pattern(50'000, 50'000);
  const std::string listed = Manage({"list-cached"});
  if (xattr()) {
    for (const std::string& id : {one, two, three}) EXPECT_THAT(listed, HasSubstr(id));
    EXPECT_THAT(listed, HasSubstr("3000000"));
  } else {
    EXPECT_THAT(listed, HasSubstr("No cached images")) << "the driver lists what Glance itself put there";
  }
  Manage({"queue-image", one});
  Manage({"queue-image", own});
  EXPECT_THAT(Manage({"list-queued"}), HasSubstr("No queued images"));
  Manage({"delete-queued-image", own});
  Manage({"delete-all-queued-images"});

  Manage({"delete-cached-image", one});
  EXPECT_TRUE(WaitFor([&] { return !Listed(one); }));
  EXPECT_TRUE(Serves(one));
  ASSERT_TRUE(mount_->Ctl({"pin", two}).ok());
  Manage({"delete-cached-image", two});
  EXPECT_TRUE(Listed(two)) << "pinned";
  ASSERT_TRUE(WaitFor([&] { return Listed(one); }));
  Manage({"delete-all-cached-images"});
  EXPECT_EQ(Names(mount_->mountpoint() + "/queue"), std::vector<std::string>{});
  EXPECT_TRUE(WaitFor([&] { return !Listed(one) && !Listed(three); }));
  EXPECT_TRUE(Listed(two));
  for (const std::string& id : {one, two, three}) EXPECT_TRUE(Serves(id));
  EXPECT_TRUE(Serves(own, own_bytes));
  EXPECT_FALSE(HasTrace());
}

// Within Glance's limit its tools leave everything as it is.
TEST_P(GlanceCacheTools, CronJobsLeaveWhatIsCached) {
  Start();
  const std::string one = Cached("one", 3'000'000), two = Cached("two", 1'000'000);
  const std::string own = Image("not at the source", 50'000, false);
  const std::string own_bytes = Pattern(50'000, 50'000);
  for (const char* tool : {"glance-cache-pruner", "glance-cache-cleaner", "glance-cache-prefetcher"}) {
    Tool(tool);
    EXPECT_TRUE(Listed(one) && Listed(two)) << tool;
  }
  SpoilOwnStore(one);
  EXPECT_TRUE(Serves(one));
  EXPECT_TRUE(Serves(two));
  EXPECT_TRUE(Serves(own, own_bytes));
  EXPECT_FALSE(HasTrace());
}

// Beyond it the pruner of the xattr driver evicts those not read for longest; sqlite's sees none that Glance put there.
TEST_P(GlanceCacheTools, ThePrunerEvictsDownToGlancesLimitAndNoFurther) {
  Start("5000000");
  const std::string oldest = Cached("oldest", 3'000'000), older = Cached("older", 2'000'000), newest = Cached("newest", 1'500'000);
  ASSERT_TRUE(ReadAfter(older, oldest) && ReadAfter(newest, older)) << "the last access is the file's atime";
  Tool("glance-cache-pruner");
  EXPECT_TRUE(WaitFor([&] { return Listed(oldest) == !xattr(); }));
  EXPECT_TRUE(Listed(newest));
  EXPECT_TRUE(Listed(older));
  for (const std::string& id : {oldest, older, newest}) EXPECT_TRUE(Serves(id));
}

// An open image stays; the pruner ends all the same.
TEST_P(GlanceCacheTools, ThePrunerMeetsOpenAndPinnedImages) {
  Start("1000");
  const std::string open = Cached("open", 3'000'000), pinned = Cached("pinned", 2'000'000);
  ASSERT_TRUE(mount_->Ctl({"pin", pinned}).ok());
  const std::string bytes = Bytes(open);
  std::ifstream reader(*mount_ / open, std::ios::binary);
  ASSERT_TRUE(reader);
  Tool("glance-cache-pruner");
  EXPECT_TRUE(Listed(open) && Listed(pinned));
  EXPECT_TRUE(std::string(std::istreambuf_iterator<char>(reader), {}) == bytes);
  EXPECT_TRUE(Serves(pinned));
}

// An old cache's markers and database: the directory moved over, so to say.
TEST_P(GlanceCacheTools, LeftoversOfGlancesOwnCacheDoNoHarm) {
  StartKeystone();
  Start("5000000");
  const std::string id = Cached("image", 3'000'000), own = Image("not at the source", 2'000'000, false);
  const std::string own_bytes = Pattern(2'000'000, 2'000'000);
  WriteFile(*mount_ / ("queue/" + own), "");
  WriteFile(*mount_ / ("queue/" + id), "");
  WriteFile(*mount_ / "invalid/11111111-2222-3333-4444-555555555555", std::string(100'000, 'x'));
  if (!xattr()) {
    const CommandResult sql = RunCommand({"/usr/bin/python3", "-c",
                                          "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\nfor i in sys.argv[2:]: c.execute('insert into "
                                          "cached_images values(?,1.0,1.0,3000000,7,NULL)',(i,))\nc.commit()",
                                          *mount_ / "cache.db", id, own});
    ASSERT_TRUE(sql.ok()) << sql.err;
    EXPECT_THAT(Manage({"list-cached"}), HasSubstr(id));
  }
  const CommandResult prefetch = glance_->Tool({"glance-cache-prefetcher"});
  EXPECT_NE(prefetch.status, -1) << "ends";
  Tool("glance-cache-cleaner");
  EXPECT_EQ(Names(mount_->mountpoint() + "/invalid"), std::vector<std::string>{});
  EXPECT_LT(ScratchBytes(), 100'000u);
  Tool("glance-cache-pruner");
  EXPECT_TRUE(Serves(id));
  EXPECT_TRUE(Serves(own, own_bytes));
}

// The API's own command, of which Glance makes a download of its own store that goes nowhere.
TEST_P(GlanceCacheTools, QueueingThroughTheApiDoesNoHarm) {
  StartKeystone();
  Start();
  const std::string id = Image("queued", 3'000'000), own = Image("not at the source", 2'000'000, false);
  const std::string own_bytes = Pattern(2'000'000, 2'000'000);
  for (const std::string& image : {id, own}) EXPECT_EQ(glance_->Request("PUT", "/v2/cache/" + image, token_).status, 202);
  EXPECT_EQ(glance_->Request("GET", "/v2/cache", token_).status, 200);
  EXPECT_TRUE(Serves(id));
  EXPECT_TRUE(Serves(own, own_bytes));
  EXPECT_EQ(glance_->Request("DELETE", "/v2/cache/" + id, token_).status, 204);
  EXPECT_TRUE(Serves(id));
  EXPECT_EQ(glance_->Request("DELETE", "/v2/cache", token_).status, 204);
  EXPECT_TRUE(Serves(id));
  EXPECT_LT(ScratchBytes(), 100'000u);
}

}  // namespace
}  // namespace glintfs::testing
