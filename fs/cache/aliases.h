// Aliases: other names of images, as far as the source gave any (glance: by-name/NAME for an id). An image is kept once, under its
// own name; aliases only lead to it. They are stored, so that they lead there while the source is away; those that lead to nothing cached
// go at the next start.
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

  // What changed since the last call: to be stored, and no longer stored.
  struct Changes {
    std::vector<Row> put;
    std::vector<std::string> remove;
  };
  Changes TakeChanges();
  // They could not be stored: they come again.
  void ReturnChanges(const Changes& changes);

 private:
  std::map<std::string, std::string, std::less<>> own_names_;  // by alias
  std::set<std::string, std::less<>> changed_;
};

}  // namespace glintfs
