// A thin wrapper over SQLite's C API: a connection and a prepared statement, with Result instead of codes.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "fs/base/result.h"

namespace glintfs::sqlite {

class Database;

// Bind the parameters in their order, Step until it says false or Run; columns count from 0. Not thread-safe.
class Statement {
 public:
  Statement& Bind(int64_t value);
  Statement& Bind(std::string_view text);
  Statement& BindBlob(std::span<const std::byte> bytes);

  Result<bool> Step();  // true: a row
  Result<void> Run();   // steps to the end and resets

  int64_t Int(int column) const { return sqlite3_column_int64(statement_.get(), column); }
  std::string Text(int column) const;
  std::span<const std::byte> Blob(int column) const;  // valid until the next Step

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }
  };
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  int bound_ = 0;
};

// A connection in SQLite's serialized mode.
class Database {
 public:
  // REQUIRES: Open before anything else
  Result<void> Open(const std::string& path);
  void Close() { db_.reset(); }
  Result<void> Execute(const char* sql);
  Result<Statement> Prepare(const char* sql);

  // True when the last error means that the file is no sound database.
  bool damaged() const;

 private:
  struct CloseDb {
    void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
  };
  std::unique_ptr<sqlite3, CloseDb> db_;
};

}  // namespace glintfs::sqlite
