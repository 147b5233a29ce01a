#include "fs/cache/aliases.h"

namespace glintfs {
namespace {
constexpr size_t kMost = 100'000;  // a source with more shows them, but they are not remembered
}  // namespace

void Aliases::Load(std::vector<Row> rows) {
  for (Row& row : rows) own_names_.insert(std::move(row));
}

void Aliases::Set(std::string_view alias, std::string_view own_name) {
  const auto it = own_names_.find(alias);
  if (it != own_names_.end() && it->second == own_name) return;
  if (it == own_names_.end() && own_names_.size() >= kMost) return;
  own_names_.insert_or_assign(std::string(alias), std::string(own_name));
  changed_.emplace(alias);
}

void Aliases::Remove(std::string_view alias) {
  const auto it = own_names_.find(alias);
  if (it == own_names_.end()) return;
  changed_.insert(it->first);
  own_names_.erase(it);
}

Aliases::Changes Aliases::TakeChanges() {
  Changes changes;
  for (const std::string& alias : changed_) {
    const auto known = own_names_.find(alias);
    if (known == own_names_.end()) {
      changes.remove.push_back(alias);
    } else {
      changes.put.emplace_back(known->first, known->second);
    }
  }
  changed_.clear();
  return changes;
}

void Aliases::ReturnChanges(const Changes& changes) {
  for (const Row& row : changes.put) changed_.insert(row.first);
  changed_.insert(changes.remove.begin(), changes.remove.end());
}

std::optional<std::string> Aliases::OwnName(std::string_view alias) const {
  const auto it = own_names_.find(alias);
  return it == own_names_.end() ? std::nullopt : std::optional(it->second);
}

std::vector<std::string> Aliases::Of(std::string_view own_name) const {
  std::vector<std::string> aliases;
  for (const auto& [alias, own] : own_names_)
    if (own == own_name) aliases.push_back(alias);
  return aliases;
}

}  // namespace glintfs
