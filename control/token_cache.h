// TokenCache: what Keystone said of tokens lately, by their hashes. Good answers and bad ones are kept apart, so that nobody can push
// out the good ones by guessing. Thread-safe.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "control/token.h"
#include "fs/base/clock.h"
#include "fs/base/mutex.h"

namespace glintfs {

struct TokenAnswerKept {
  int status = 0;    // 0: may; 401 or 403: may not
  std::string text;  // who it is, or why not
};

class TokenCache {
 public:
  explicit TokenCache(size_t most = 1024) : most_(most) {}

  std::optional<TokenAnswerKept> Find(const TokenHash& token, Nanos now);
  // Forgotten at `until`, or earlier when there are too many.
  void Put(const TokenHash& token, TokenAnswerKept answer, Nanos now, Nanos until);

 private:
  struct Entry {
    TokenAnswerKept answer;
    Nanos until{0};
  };
  using Table = std::map<TokenHash, Entry>;

  const size_t most_;  // of each kind
  Mutex mu_;
  Table good_ GUARDED_BY(mu_);
  Table bad_ GUARDED_BY(mu_);
};

}  // namespace glintfs
