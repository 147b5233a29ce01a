#include "fs/cache/image_table.h"

#include <cassert>

namespace glintfs {

Entry& ImageTable::Add(ImageRow row) {
  auto entry = std::make_unique<Entry>();
  entry->row = std::move(row);
  Entry& added = *entry;
  const bool fresh = by_row_.emplace(added.row.row, std::move(entry)).second;
  assert(fresh);
  (void)fresh;
  by_name_.emplace(added.row.info.id.name, &added);
  return added;
}

void ImageTable::Remove(RowId row) {
  auto it = by_row_.find(row);
  if (it == by_row_.end()) return;
  auto [from, to] = by_name_.equal_range(it->second->row.info.id.name);
  for (auto at = from; at != to; ++at) {
    if (at->second != it->second.get()) continue;
    by_name_.erase(at);
    break;
  }
  by_row_.erase(it);
}

Entry* ImageTable::Find(RowId row) {
  auto it = by_row_.find(row);
  return it == by_row_.end() ? nullptr : it->second.get();
}

Entry* ImageTable::Find(const ImageId& id) {
  auto [from, to] = by_name_.equal_range(id.name);
  for (auto at = from; at != to; ++at)
    if (at->second->row.info.id == id) return at->second;
  return nullptr;
}

Entry* ImageTable::Newest(std::string_view source, std::string_view name) {
  Entry* newest = nullptr;
  for (Entry* entry : Versions(source, name)) {
    if (entry->invalid() || (entry->row.chunks_present == 0 && !entry->stored && entry->live.expired())) continue;
    if (newest == nullptr || entry->row.row > newest->row.row) newest = entry;
  }
  return newest;
}

std::vector<Entry*> ImageTable::Versions(std::string_view source, std::string_view name) {
  std::vector<Entry*> versions;
  auto [from, to] = by_name_.equal_range(name);
  for (auto at = from; at != to; ++at)
    if (at->second->row.info.id.source == source) versions.push_back(at->second);
  return versions;
}

}  // namespace glintfs
