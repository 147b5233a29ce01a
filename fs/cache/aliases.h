// Aliases: other names of images, as far as the source gave any (glance: by-name/NAME for an id). An image is kept once, under its
// own name; aliases only lead to it. Those of cached images are stored, so that they lead there while the source is away.
// Not thread-safe; pure.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace glintfs {

class Aliases {
 public:
  using Row = std::pair<std::string, std::string>;  // alias, own name

  void Load(std::vector<Row> rows);
  // `alias` leads to the image called `own_name` from now on.
  void Set(std::string_view alias, std::string_view own_name);
  void Remove(std::string_view alias);
  std::optional<std::string> OwnName(std::string_view alias) const;
  std::vector<std::string> Of(std::string_view own_name) const;
  const std::map<std::string, std::string, std::less<>>& all() const { return own_names_; }

  // What changed since the last call and is to be stored or no longer stored. Of the new ones those whose image satisfies `is_cached`;
  // the others wait.
  struct Changes {
    std::vector<Row> put;
    std::vector<std::string> remove;
  };
  // They could not be stored: they come again.
  void ReturnChanges(const Changes& changes);
  template <typename IsCached>
  Changes TakeChanges(IsCached is_cached) {
    Changes changes;
    for (auto it = changed_.begin(); it != changed_.end();) {
      const auto known = own_names_.find(*it);
      if (known != own_names_.end() && !is_cached(known->second)) {
        ++it;
        continue;
      }
      if (known == own_names_.end()) {
        changes.remove.push_back(*it);
      } else {
        changes.put.emplace_back(known->first, known->second);
      }
      it = changed_.erase(it);
    }
    return changes;
  }

 private:
  std::map<std::string, std::string, std::less<>> own_names_;  // by alias
  std::set<std::string, std::less<>> changed_;
};

}  // namespace glintfs
