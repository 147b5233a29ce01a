// What the servers of OpenStack have in common in tests.
#pragma once

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/http_ask.h"
#include "tests/support/process.h"
#include "tests/support/wait.h"

namespace glintfs::testing::openstack {

inline std::string Slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

inline std::string Tail(const std::string& path) {
  const std::string text = Slurp(path);
  return text.substr(text.size() - std::min<size_t>(text.size(), 3000));
}

inline void Write(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  if (!out.flush()) throw std::runtime_error("cannot write " + path);
}

inline void Run(const std::vector<std::string>& argv, const ProcessOptions& options = {}) {
  const CommandResult result = RunCommand(argv, options);
  if (!result.ok()) throw std::runtime_error(fmt::format("{}: {}{}", fmt::join(argv, " "), result.out, result.err));
}

// Waits until something answers at `url`.
inline void WaitUntilUp(Process& process, const std::string& url, const std::string& log) {
  const bool up =
      WaitFor([&] { return !process.Running() || Ask({.url = url, .headers = {}, .body = {}, .file = {}}).status != 0; },
              std::chrono::seconds(60));
  if (!up || !process.Running()) throw std::runtime_error(url + " does not come up: " + Tail(log));
}

// Readers and a writer at once: Keystone reads on one connection while it commits on another.
inline void UseWriteAheadLog(const std::string& path) {
  sqlite3* db = nullptr;
  const bool done = ::sqlite3_open(path.c_str(), &db) == SQLITE_OK &&
                    ::sqlite3_exec(db, "PRAGMA journal_mode=WAL", nullptr, nullptr, nullptr) == SQLITE_OK;
  ::sqlite3_close(db);
  if (!done) throw std::runtime_error(path + " cannot have a write-ahead log");
}

}  // namespace glintfs::testing::openstack
