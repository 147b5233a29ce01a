// Schema version 1. Hashes and bitmaps are little-endian blobs, 1024 chunks a segment, so that a checkpoint of a large image
// rewrites what changed (at most 8 KiB a segment) and not the whole set.
//
// Reads after start-up (LoadSegments) use a second connection: WAL lets them go on beside the writer.
#include "fs/cache/index.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <atomic>
#include <bit>
#include <cstdio>
#include <cstring>
#include <deque>
#include <future>

#include "fs/base/mutex.h"
#include "fs/base/thread.h"
#include "fs/cache/sqlite.h"

namespace glintfs {
namespace {

static_assert(std::endian::native == std::endian::little, "blobs are written as they lie in memory");

constexpr int64_t kSchemaVersion = 1;

constexpr char kSchema[] = R"sql(
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS image(
  row INTEGER PRIMARY KEY, source TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL,
  size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, generation INTEGER NOT NULL,
  chunks_present INTEGER NOT NULL, disk_bytes INTEGER NOT NULL, suspect INTEGER NOT NULL, superseded INTEGER NOT NULL,
  verdict INTEGER NOT NULL, checksum_algorithm TEXT NOT NULL, checksum TEXT NOT NULL, error TEXT NOT NULL,
  hits INTEGER NOT NULL, last_access_ns INTEGER NOT NULL, last_progress_ns INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS segment(
  row INTEGER NOT NULL, segment INTEGER NOT NULL, present BLOB NOT NULL, hashes BLOB NOT NULL,
  PRIMARY KEY(row, segment)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS queue(
  name TEXT PRIMARY KEY, position INTEGER NOT NULL, added_ns INTEGER NOT NULL, attempts INTEGER NOT NULL,
  next_try_ns INTEGER NOT NULL, error TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pin(name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alias(name TEXT PRIMARY KEY, image TEXT NOT NULL) WITHOUT ROWID;
)sql";

std::span<const std::byte> AsBytes(const std::vector<uint64_t>& words) { return std::as_bytes(std::span(words)); }

std::vector<uint64_t> AsWords(std::span<const std::byte> bytes) {
  std::vector<uint64_t> words(bytes.size() / sizeof(uint64_t));
  if (!words.empty()) std::memcpy(words.data(), bytes.data(), words.size() * sizeof(uint64_t));
  return words;
}

// The prepared statements of the writer.
struct Writer {
  sqlite::Statement put_image, put_segment, drop_image, drop_segments, put_queue, drop_queue, put_pin, drop_pin, put_alias, drop_alias,
      put_meta;

  static Result<Writer> Prepare(sqlite::Database& db) {
    Writer w;
    GLINTFS_ASSIGN(w.put_image, db.Prepare("INSERT OR REPLACE INTO image VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"));
    GLINTFS_ASSIGN(w.put_segment, db.Prepare("INSERT OR REPLACE INTO segment VALUES(?,?,?,?)"));
    GLINTFS_ASSIGN(w.drop_image, db.Prepare("DELETE FROM image WHERE row=?"));
    GLINTFS_ASSIGN(w.drop_segments, db.Prepare("DELETE FROM segment WHERE row=?"));
    GLINTFS_ASSIGN(w.put_queue, db.Prepare("INSERT OR REPLACE INTO queue VALUES(?,?,?,?,?,?)"));
    GLINTFS_ASSIGN(w.drop_queue, db.Prepare("DELETE FROM queue WHERE name=?"));
    GLINTFS_ASSIGN(w.put_pin, db.Prepare("INSERT OR IGNORE INTO pin VALUES(?)"));
    GLINTFS_ASSIGN(w.drop_pin, db.Prepare("DELETE FROM pin WHERE name=?"));
    GLINTFS_ASSIGN(w.put_alias, db.Prepare("INSERT OR REPLACE INTO alias VALUES(?,?)"));
    GLINTFS_ASSIGN(w.drop_alias, db.Prepare("DELETE FROM alias WHERE name=?"));
    GLINTFS_ASSIGN(w.put_meta, db.Prepare("INSERT OR REPLACE INTO meta VALUES(?,?)"));
    return w;
  }

  Result<void> PutImage(const ImageRow& r) {
    const Checksum checksum = r.checksum.value_or(Checksum{});
    put_image.Bind(static_cast<int64_t>(r.row)).Bind(r.info.id.source).Bind(r.info.id.name);
    put_image.Bind(r.info.id.version).Bind(static_cast<int64_t>(r.info.size));
    put_image.Bind(r.info.mtime.count()).Bind(int64_t{r.generation});
    put_image.Bind(static_cast<int64_t>(r.chunks_present)).Bind(static_cast<int64_t>(r.disk_bytes));
    put_image.Bind(int64_t{r.suspect}).Bind(int64_t{r.superseded}).Bind(static_cast<int64_t>(r.verdict));
    put_image.Bind(checksum.algorithm).Bind(checksum.hex).Bind(r.error);
    put_image.Bind(static_cast<int64_t>(r.hits)).Bind(r.last_access.count());
    put_image.Bind(r.last_progress.count());
    return put_image.Run();
  }

  Result<void> Meta(std::string_view key, int64_t value) { return put_meta.Bind(key).Bind(value).Run(); }

  Result<void> Put(const IndexBatch& batch) {
    for (const ImageRow& row : batch.put_images) GLINTFS_TRY(PutImage(row));
    for (const auto& [row, s] : batch.put_segments) {
      put_segment.Bind(static_cast<int64_t>(row)).Bind(static_cast<int64_t>(s.segment));
      put_segment.BindBlob(AsBytes(s.present)).BindBlob(AsBytes(s.hashes));
      GLINTFS_TRY(put_segment.Run());
    }
    for (const RowId row : batch.remove_images) {
      GLINTFS_TRY(drop_image.Bind(static_cast<int64_t>(row)).Run());
      GLINTFS_TRY(drop_segments.Bind(static_cast<int64_t>(row)).Run());
    }
    for (const QueueRow& q : batch.put_queue) {
      put_queue.Bind(q.name).Bind(static_cast<int64_t>(q.position)).Bind(q.added.count());
      put_queue.Bind(int64_t{q.attempts}).Bind(q.next_try.count()).Bind(q.error);
      GLINTFS_TRY(put_queue.Run());
    }
    for (const std::string& name : batch.remove_queue) GLINTFS_TRY(drop_queue.Bind(name).Run());
    for (const std::string& name : batch.add_pins) GLINTFS_TRY(put_pin.Bind(name).Run());
    for (const std::string& name : batch.remove_pins) GLINTFS_TRY(drop_pin.Bind(name).Run());
    for (const auto& [name, image] : batch.put_aliases) GLINTFS_TRY(put_alias.Bind(name).Bind(image).Run());
    for (const std::string& name : batch.remove_aliases) GLINTFS_TRY(drop_alias.Bind(name).Run());
    if (batch.next_row) GLINTFS_TRY(Meta("next_row", static_cast<int64_t>(*batch.next_row)));
    return {};
  }
};

class SqliteIndex final : public Index {
 public:
  ~SqliteIndex() override { StopThread(); }

  Result<void> OpenDatabase(const std::string& path, uint64_t chunk_size, IndexContent& content) {
    path_ = path;
    GLINTFS_TRY(db_.Open(path));
    GLINTFS_TRY(db_.Execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-2048;"));
    GLINTFS_TRY(db_.Execute(kSchema));
    GLINTFS_TRY(ReadMeta(chunk_size, content));
    GLINTFS_TRY(ReadImages(content));
    GLINTFS_TRY(ReadQueueAndPins(content));
    GLINTFS_TRY(ReadAliases(content));
    GLINTFS_ASSIGN(writer_, Writer::Prepare(db_));
    GLINTFS_TRY(db_.Execute("BEGIN IMMEDIATE"));
    if (!content.clean) GLINTFS_TRY(db_.Execute("UPDATE image SET suspect=1 WHERE suspect=0"));
    GLINTFS_TRY(writer_.Meta("schema_version", kSchemaVersion));
    GLINTFS_TRY(writer_.Meta("chunk_size", static_cast<int64_t>(chunk_size)));
    GLINTFS_TRY(writer_.Meta("clean", 0));
    GLINTFS_TRY(db_.Execute("COMMIT"));
    GLINTFS_TRY(reader_.Open(path));
    GLINTFS_TRY(reader_.Execute("PRAGMA cache_size=-1024; PRAGMA query_only=1;"));
    thread_ = Thread("index", [this](std::stop_token) { Run(); });
    return {};
  }

  bool damaged() const { return db_.damaged(); }

  Result<void> Apply(IndexBatch batch) override {
    AssertNoLockHeld();
    if (batch.empty()) return {};
    Pending pending{std::move(batch), {}};
    auto done = pending.done.get_future();
    {
      MutexLock lock(mu_);
      if (stopping_) return Error{Errc::kCancelled, "index is closed"};
      queue_.push_back(std::move(pending));
    }
    wake_.NotifyOne();
    return done.get();
  }

  Result<std::vector<ChunkSegment>> LoadSegments(RowId row) override {
    AssertNoLockHeld();
    GLINTFS_ASSIGN(auto query, reader_.Prepare("SELECT segment, present, hashes FROM segment WHERE row=? ORDER BY segment"));
    query.Bind(static_cast<int64_t>(row));
    std::vector<ChunkSegment> segments;
    for (;;) {
      GLINTFS_ASSIGN(const bool more, query.Step());
      if (!more) return segments;
      segments.push_back({static_cast<uint64_t>(query.Int(0)), AsWords(query.Blob(1)), AsWords(query.Blob(2))});
    }
  }

  Result<void> Close() override {
    StopThread();
    GLINTFS_TRY(writer_.Meta("clean", 1));
    GLINTFS_TRY(db_.Execute("PRAGMA wal_checkpoint(TRUNCATE)"));
    return {};
  }

  IndexHealth health() const override {
    AssertNoLockHeld();
    IndexHealth health;
    health.commits = commits_.load();
    health.commit_errors = commit_errors_.load();
    health.last_commit = Nanos(last_commit_.load());
    health.commit_latency = commit_latency_.counts();
    for (const char* suffix : {"", "-wal"}) {
      struct stat st{};
      if (::stat((path_ + suffix).c_str(), &st) == 0) health.size += static_cast<uint64_t>(st.st_size);
    }
    return health;
  }

 private:
  struct Pending {
    IndexBatch batch;
    std::promise<Result<void>> done;
  };

  void StopThread() {
    {
      MutexLock lock(mu_);
      stopping_ = true;
    }
    wake_.NotifyAll();
    thread_.Join();
  }

  void Run() {
    for (;;) {
      std::deque<Pending> work;
      {
        MutexLock lock(mu_);
        while (queue_.empty() && !stopping_) wake_.Wait(mu_);
        if (queue_.empty()) return;
        work.swap(queue_);
      }
      const Result<void> result = Commit(work);
      for (Pending& pending : work) pending.done.set_value(result);
    }
  }

  Result<void> Commit(const std::deque<Pending>& work) {
    const Nanos begin = Clock::System().Now();
    Result<void> result = db_.Execute("BEGIN IMMEDIATE");
    for (const Pending& pending : work)
      if (result) result = writer_.Put(pending.batch);
    if (result) result = db_.Execute("COMMIT");
    if (!result) {
      ++commit_errors_;
      (void)db_.Execute("ROLLBACK");
      return result;
    }
    ++commits_;
    last_commit_ = Clock::System().WallNow().count();
    commit_latency_.Count(Clock::System().Now() - begin);
    return result;
  }

  Result<void> ReadMeta(uint64_t chunk_size, IndexContent& content) {
    GLINTFS_ASSIGN(auto query, db_.Prepare("SELECT key, value FROM meta"));
    int64_t schema = kSchemaVersion;
    for (;;) {
      GLINTFS_ASSIGN(const bool more, query.Step());
      if (!more) break;
      const std::string key = query.Text(0);
      const int64_t value = query.Int(1);
      if (key == "schema_version") schema = value;
      if (key == "clean") content.clean = value != 0;
      if (key == "next_row") content.next_row = static_cast<uint64_t>(value);
      if (key == "chunk_size" && static_cast<uint64_t>(value) != chunk_size)
        return Error{Errc::kInvalid, fmt::format("the cache was made with chunk={}: use that, or another cache=", value)};
    }
    if (schema > kSchemaVersion)
      return Error{Errc::kInvalid, fmt::format("the index has format {}, this glintfs knows {}: use a newer glintfs, or "
                                               "another cache=", schema, kSchemaVersion)};
    return {};
  }

  Result<void> ReadImages(IndexContent& content) {
    GLINTFS_ASSIGN(auto q, db_.Prepare("SELECT * FROM image ORDER BY last_access_ns"));
    for (;;) {
      GLINTFS_ASSIGN(const bool more, q.Step());
      if (!more) return {};
      ImageRow r;
      r.row = static_cast<RowId>(q.Int(0));
      r.info = {{q.Text(1), q.Text(2), q.Text(3)}, static_cast<uint64_t>(q.Int(4)), Nanos(q.Int(5))};
      r.generation = static_cast<uint32_t>(q.Int(6));
      r.chunks_present = static_cast<uint64_t>(q.Int(7));
      r.disk_bytes = static_cast<uint64_t>(q.Int(8));
      r.suspect = q.Int(9) != 0 || !content.clean;
      r.superseded = q.Int(10) != 0;
      r.verdict = static_cast<Verdict>(q.Int(11));
      if (Checksum sum{q.Text(12), q.Text(13)}; !sum.algorithm.empty()) r.checksum = std::move(sum);
      r.error = q.Text(14);
      r.hits = static_cast<uint64_t>(q.Int(15));
      r.last_access = Nanos(q.Int(16));
      r.last_progress = Nanos(q.Int(17));
      content.next_row = std::max(content.next_row, r.row + 1);
      content.images.push_back(std::move(r));
    }
  }

  Result<void> ReadQueueAndPins(IndexContent& content) {
    GLINTFS_ASSIGN(auto q, db_.Prepare("SELECT name, position, added_ns, attempts, next_try_ns, error FROM queue "
                                       "ORDER BY position"));
    for (;;) {
      GLINTFS_ASSIGN(const bool more, q.Step());
      if (!more) break;
      content.queue.push_back({q.Text(0), static_cast<uint64_t>(q.Int(1)), Nanos(q.Int(2)), static_cast<int>(q.Int(3)),
                               Nanos(q.Int(4)), q.Text(5)});
    }
    GLINTFS_ASSIGN(auto pins, db_.Prepare("SELECT name FROM pin"));
    for (;;) {
      GLINTFS_ASSIGN(const bool more, pins.Step());
      if (!more) return {};
      content.pins.push_back(pins.Text(0));
    }
  }

  // Those of images that were evicted meanwhile lead nowhere and go.
  Result<void> ReadAliases(IndexContent& content) {
    GLINTFS_TRY(db_.Execute("DELETE FROM alias WHERE image NOT IN (SELECT name FROM image)"));
    GLINTFS_ASSIGN(auto aliases, db_.Prepare("SELECT name, image FROM alias"));
    for (;;) {
      GLINTFS_ASSIGN(const bool more, aliases.Step());
      if (!more) return {};
      content.aliases.emplace_back(aliases.Text(0), aliases.Text(1));
    }
  }

  sqlite::Database db_;      // the writer thread's, after OpenDatabase
  sqlite::Database reader_;  // serialised by SQLite
  Writer writer_;            // the writer thread's
  std::string path_;         // constant after OpenDatabase
  std::atomic<uint64_t> commits_{0}, commit_errors_{0};
  std::atomic<int64_t> last_commit_{0};  // wall clock, ns
  LatencyHistogram commit_latency_;

  Mutex mu_;
  CondVar wake_;
  std::deque<Pending> queue_ GUARDED_BY(mu_);
  bool stopping_ GUARDED_BY(mu_) = false;
  Thread thread_;
};

}  // namespace

bool IndexBatch::empty() const {
  return put_images.empty() && put_segments.empty() && remove_images.empty() && put_queue.empty() && remove_queue.empty() &&
         add_pins.empty() && remove_pins.empty() && put_aliases.empty() && remove_aliases.empty() && !next_row;
}

Result<std::unique_ptr<Index>> Index::Open(const std::string& path, uint64_t chunk_size, IndexContent& content) {
  auto index = std::make_unique<SqliteIndex>();
  auto opened = index->OpenDatabase(path, chunk_size, content);
  if (opened) return std::unique_ptr<Index>(std::move(index));
  if (opened.error().code != Errc::kCorrupt) return opened.error();

  index.reset();
  for (const char* suffix : {"-wal", "-shm"}) std::remove((path + suffix).c_str());
  if (std::rename(path.c_str(), (path + ".damaged").c_str()) != 0) return ErrnoError(errno, "set aside damaged index");
  content = IndexContent{};
  content.clean = false;  // whatever lies in data/ has no row now: remove it
  content.note = fmt::format("{}; set aside as {}.damaged, starting with an empty cache", opened.error().message, path);
  index = std::make_unique<SqliteIndex>();
  GLINTFS_TRY(index->OpenDatabase(path, chunk_size, content));
  content.clean = false;
  return std::unique_ptr<Index>(std::move(index));
}

}  // namespace glintfs
