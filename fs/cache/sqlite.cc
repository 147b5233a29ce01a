#include "fs/cache/sqlite.h"

namespace glintfs::sqlite {
namespace {

Error SqliteError(sqlite3* db, std::string_view what) {
  const int code = sqlite3_errcode(db) & 0xff;
  const Errc errc = code == SQLITE_FULL ? Errc::kNoSpace : code == SQLITE_CORRUPT || code == SQLITE_NOTADB ? Errc::kCorrupt
                                                                                                         : Errc::kIo;
  return Error{errc, "index: " + std::string(what) + ": " + sqlite3_errmsg(db)};
}

}  // namespace

Statement& Statement::Bind(int64_t value) {
  sqlite3_bind_int64(statement_.get(), ++bound_, value);
  return *this;
}

Statement& Statement::Bind(std::string_view text) {
  sqlite3_bind_text(statement_.get(), ++bound_, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
  return *this;
}

Statement& Statement::BindBlob(std::span<const std::byte> bytes) {
  sqlite3_bind_blob(statement_.get(), ++bound_, bytes.data(), static_cast<int>(bytes.size()), SQLITE_TRANSIENT);
  return *this;
}

Result<bool> Statement::Step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  Error error = SqliteError(sqlite3_db_handle(statement_.get()), "statement failed");
  sqlite3_reset(statement_.get());
  bound_ = 0;
  return error;
}

Result<void> Statement::Run() {
  for (;;) {
    GLINTFS_ASSIGN(const bool row, Step());
    if (!row) break;
  }
  sqlite3_reset(statement_.get());
  sqlite3_clear_bindings(statement_.get());
  bound_ = 0;
  return {};
}

std::string Statement::Text(int column) const {
  const unsigned char* text = sqlite3_column_text(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return text == nullptr ? std::string() : std::string(reinterpret_cast<const char*>(text), static_cast<size_t>(size));
}

std::span<const std::byte> Statement::Blob(int column) const {
  const void* data = sqlite3_column_blob(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return {static_cast<const std::byte*>(data), static_cast<size_t>(size)};
}

Result<void> Database::Open(const std::string& path) {
  sqlite3* db = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX;
  const int code = sqlite3_open_v2(path.c_str(), &db, flags, nullptr);
  db_.reset(db);
  if (db == nullptr) return Error{Errc::kIo, "index: out of memory"};
  sqlite3_extended_result_codes(db, 1);
  if (code != SQLITE_OK) return SqliteError(db, "cannot open " + path);
  sqlite3_busy_timeout(db, 10'000);
  return {};
}

Result<void> Database::Execute(const char* sql) {
  if (sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr) == SQLITE_OK) return {};
  return SqliteError(db_.get(), sql);
}

Result<Statement> Database::Prepare(const char* sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v3(db_.get(), sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr) != SQLITE_OK)
    return SqliteError(db_.get(), sql);
  Statement wrapped;
  wrapped.statement_.reset(statement);
  return wrapped;
}

bool Database::damaged() const {
  const int code = sqlite3_errcode(db_.get()) & 0xff;
  return code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
}

}  // namespace glintfs::sqlite
