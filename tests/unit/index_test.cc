#include "fs/cache/index.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "fs/cache/sqlite.h"
#include "tests/support/temp_dir.h"

namespace glintfs {
namespace {

using testing::TempDir;

constexpr uint64_t kChunk = 256 * 1024;

ImageRow Row(RowId row, const std::string& name) {
  ImageRow r;
  r.row = row;
  r.info = {{"fake://s", name, "v1"}, 1'000'000, Nanos(1'700'000'000'123'456'789)};
  r.generation = 1;
  r.chunks_present = 3;
  r.disk_bytes = 4096;
  r.verdict = Verdict::kVerified;
  r.checksum = Checksum{"sha256", "abc"};
  r.hits = 7;
  r.last_access = Nanos(static_cast<int64_t>(row) * 1000);
  return r;
}

std::unique_ptr<Index> MustOpen(const std::string& path, IndexContent& content) {
  auto index = Index::Open(path, kChunk, content);
  EXPECT_TRUE(index) << index.error().ToString();
  return std::move(*index);
}

TEST(Index, KeepsEverythingAcrossACleanEnd) {
  TempDir dir;
  {
    IndexContent content;
    auto index = MustOpen(dir / "i.db", content);
    EXPECT_TRUE(content.clean);
    IndexBatch batch;
    batch.put_images = {Row(5, "b"), Row(2, "a/with space")};
    batch.put_segments = {{5, {0, {7, 0}, {11, 12, 13}}}};
    batch.put_queue = {{"q", 3, Nanos(1), 2, Nanos(9), "boom"}};
    batch.add_pins = {"p"};
    batch.next_row = 77;
    ASSERT_TRUE(index->Apply(std::move(batch)));
    ASSERT_TRUE(index->Close());
  }
  IndexContent content;
  auto index = MustOpen(dir / "i.db", content);
  EXPECT_TRUE(content.clean);
  EXPECT_EQ(content.next_row, 77u);
  ASSERT_EQ(content.images.size(), 2u);
  EXPECT_EQ(content.images[0].info.id.name, "a/with space") << "least recently used first";
  const ImageRow& row = content.images[1];
  EXPECT_EQ(row.info, Row(5, "b").info);
  EXPECT_EQ(row.checksum, (Checksum{"sha256", "abc"}));
  EXPECT_EQ(row.hits, 7u);
  EXPECT_FALSE(row.suspect);
  EXPECT_EQ(content.pins, std::vector<std::string>{"p"});
  ASSERT_EQ(content.queue.size(), 1u);
  EXPECT_EQ(content.queue[0].error, "boom");
  auto segments = index->LoadSegments(5);
  ASSERT_TRUE(segments);
  ASSERT_EQ(segments->size(), 1u);
  EXPECT_EQ((*segments)[0].hashes, (std::vector<uint64_t>{11, 12, 13}));
}

TEST(Index, AfterAnUncleanEndEveryImageIsSuspect) {
  TempDir dir;
  {
    IndexContent content;
    auto index = MustOpen(dir / "i.db", content);
    IndexBatch batch;
    batch.put_images = {Row(1, "a")};
    ASSERT_TRUE(index->Apply(std::move(batch)));
  }  // no Close
  {
    IndexContent content;
    auto index = MustOpen(dir / "i.db", content);
    EXPECT_FALSE(content.clean);
    EXPECT_TRUE(content.images.at(0).suspect);
    ASSERT_TRUE(index->Close());
  }
  IndexContent content;
  auto index = MustOpen(dir / "i.db", content);
  EXPECT_TRUE(content.clean);
  EXPECT_TRUE(content.images.at(0).suspect) << "a clean end does not vouch for chunks that nobody checked";
}

TEST(Index, RemovingAnImageRemovesItsSegments) {
  TempDir dir;
  IndexContent content;
  auto index = MustOpen(dir / "i.db", content);
  IndexBatch put;
  put.put_images = {Row(1, "a")};
  put.put_segments = {{1, {0, {1}, {1}}}};
  ASSERT_TRUE(index->Apply(std::move(put)));
  IndexBatch remove;
  remove.remove_images = {1};
  ASSERT_TRUE(index->Apply(std::move(remove)));
  EXPECT_TRUE(index->LoadSegments(1)->empty());
}

TEST(Index, ADamagedFileIsSetAside) {
  TempDir dir;
  std::ofstream(dir / "i.db") << std::string(100'000, 'x');
  IndexContent content;
  auto index = MustOpen(dir / "i.db", content);
  EXPECT_NE(content.note.find("set aside"), std::string::npos);
  EXPECT_FALSE(content.clean);
  EXPECT_TRUE(std::filesystem::exists(dir / "i.db.damaged"));
}

TEST(Index, RefusesANewerFormatAndAnotherChunkSize) {
  TempDir dir;
  { IndexContent content; auto index = MustOpen(dir / "i.db", content); }
  IndexContent content;
  auto other = Index::Open(dir / "i.db", kChunk * 2, content);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, Errc::kInvalid);
  EXPECT_NE(other.error().message.find("chunk=262144"), std::string::npos);
  {
    sqlite::Database db;
    ASSERT_TRUE(db.Open(dir / "i.db"));
    ASSERT_TRUE(db.Execute("UPDATE meta SET value=99 WHERE key='schema_version'"));
  }
  auto newer = Index::Open(dir / "i.db", kChunk, content);
  ASSERT_FALSE(newer);
  EXPECT_NE(newer.error().message.find("format 99"), std::string::npos);
}

}  // namespace
}  // namespace glintfs
