// Sharded by id, so that reads of different images do not meet on one lock. Only one shard is ever locked at a time: a
// directory whose id is taken by another path goes to the next id, in the next shard.
#include "fs/fuse/node_table.h"

#include <xxhash.h>

#include <algorithm>
#include <utility>

namespace glintfs {

NodeId DirectoryNodeId(const std::string& path) {
  if (path.empty()) return kRootNode;
  return kDirectoryBit | (XXH3_64bits(path.data(), path.size()) & (kDirectoryBit - 1));
}

NodeTable::NodeTable() {
  auto root = std::make_shared<NodeInfo>();
  root->is_directory = true;
  Shard& shard = ShardOf(kRootNode);
  MutexLock lock(shard.mu);
  shard.nodes[kRootNode] = Node{.info = std::move(root), .lookups = 1, .opens = 0, .image = nullptr};
}

NodeTable::Found NodeTable::LookUpDirectory(const std::string& path) {
  for (NodeId id = DirectoryNodeId(path);; id = kDirectoryBit | (id + 1)) {
    Shard& shard = ShardOf(id);
    MutexLock lock(shard.mu);
    Node& node = shard.nodes[id];
    if (node.info && node.info->name != path) continue;
    if (!node.info) {
      auto info = std::make_shared<NodeInfo>();
      info->is_directory = true;
      info->name = path;
      node.info = std::move(info);
    }
    ++node.lookups;
    return Found{.id = id, .info = node.info};
  }
}

std::optional<NodeId> NodeTable::FindDirectory(const std::string& path) {
  for (NodeId id = DirectoryNodeId(path);; id = kDirectoryBit | (id + 1)) {
    Shard& shard = ShardOf(id);
    MutexLock lock(shard.mu);
    const auto it = shard.nodes.find(id);
    if (it == shard.nodes.end()) return std::nullopt;
    if (it->second.info->name == path) return id;
  }
}

NodeTable::Found NodeTable::LookUpImage(RowId row, Residency residency, const ImageInfo& image) {
  const NodeId id = NodeIdFor(row, residency);
  Shard& shard = ShardOf(id);
  MutexLock lock(shard.mu);
  Node& node = shard.nodes[id];
  if (!node.info) {
    auto info = std::make_shared<NodeInfo>();
    info->name = image.id.name;
    info->image = image;
    node.info = std::move(info);
  }
  ++node.lookups;
  return Found{.id = id, .info = node.info};
}

void NodeTable::Forget(NodeId id, uint64_t count) {
  if (id == kRootNode) return;
  Shard& shard = ShardOf(id);
  MutexLock lock(shard.mu);
  const auto it = shard.nodes.find(id);
  if (it == shard.nodes.end()) return;
  Node& node = it->second;
  node.lookups -= std::min(count, node.lookups);
  if (node.lookups == 0 && node.opens == 0) shard.nodes.erase(it);
}

NodeInfoPtr NodeTable::Find(NodeId id) {
  Shard& shard = ShardOf(id);
  MutexLock lock(shard.mu);
  const auto it = shard.nodes.find(id);
  return it == shard.nodes.end() ? nullptr : it->second.info;
}

std::shared_ptr<OpenedImage> NodeTable::AddOpen(NodeId id, std::shared_ptr<OpenedImage> image) {
  std::shared_ptr<OpenedImage> result;
  Shard& shard = ShardOf(id);
  {
    MutexLock lock(shard.mu);
    const auto it = shard.nodes.find(id);
    if (it == shard.nodes.end()) return nullptr;
    Node& node = it->second;
    // What is not kept is dropped by `image`, after the lock.
    if (node.image == nullptr || ResidencyOf(id) == Residency::kPartial) node.image.swap(image);
    ++node.opens;
    result = node.image;
  }
  result->Opened();
  return result;
}

std::shared_ptr<OpenedImage> NodeTable::ShareOpen(NodeId id) {
  std::shared_ptr<OpenedImage> result;
  Shard& shard = ShardOf(id);
  {
    MutexLock lock(shard.mu);
    const auto it = shard.nodes.find(id);
    if (it == shard.nodes.end() || it->second.image == nullptr) return nullptr;
    ++it->second.opens;
    result = it->second.image;
  }
  result->Opened();
  return result;
}

void NodeTable::RemoveOpen(NodeId id) {
  std::shared_ptr<OpenedImage> image;  // destroyed after the lock, if it was the last
  Shard& shard = ShardOf(id);
  {
    MutexLock lock(shard.mu);
    const auto it = shard.nodes.find(id);
    if (it == shard.nodes.end() || it->second.opens == 0) return;
    Node& node = it->second;
    image = node.image;
    if (--node.opens == 0) {
      node.image.reset();
      if (node.lookups == 0) shard.nodes.erase(it);
    }
  }
  image->Closed();
}

std::shared_ptr<OpenedImage> NodeTable::OpenedAt(NodeId id) {
  Shard& shard = ShardOf(id);
  MutexLock lock(shard.mu);
  const auto it = shard.nodes.find(id);
  return it == shard.nodes.end() ? nullptr : it->second.image;
}

size_t NodeTable::size() {
  size_t sum = 0;
  for (Shard& shard : shards_) {
    MutexLock lock(shard.mu);
    sum += shard.nodes.size();
  }
  return sum;
}

}  // namespace glintfs
