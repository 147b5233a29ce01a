#include "control/token_cache.h"

#include <algorithm>

namespace glintfs {

std::optional<TokenAnswerKept> TokenCache::Find(const TokenHash& token, Nanos now) {
  MutexLock lock(mu_);
  for (const Table* table : {&good_, &bad_})
    if (const auto it = table->find(token); it != table->end() && now < it->second.until) return it->second.answer;
  return std::nullopt;
}

void TokenCache::Put(const TokenHash& token, TokenAnswerKept answer, Nanos now, Nanos until) {
  if (until <= now) return;
  MutexLock lock(mu_);
  Table& table = answer.status == 0 ? good_ : bad_;
  (answer.status == 0 ? bad_ : good_).erase(token);
  if (table.size() >= most_) std::erase_if(table, [now](const auto& item) { return item.second.until <= now; });
  if (table.size() >= most_ && !table.contains(token)) {
    table.erase(std::min_element(table.begin(), table.end(),
                                 [](const auto& a, const auto& b) { return a.second.until < b.second.until; }));
  }
  table[token] = {std::move(answer), until};
}

}  // namespace glintfs
