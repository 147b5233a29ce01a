// NodeTable: the nodes the kernel knows, by id.
//
// Ids mean the same to the next daemon on the same cache: an image's is made of its row in the index, a directory's of
// its path. A node lives while the kernel counts lookups on it or a handle is open. Thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "backends/backend.h"
#include "fs/base/mutex.h"
#include "fs/cache/image_status.h"
#include "fs/fuse/opened_image.h"

namespace glintfs {

using NodeId = uint64_t;
inline constexpr NodeId kRootNode = 1;

// How much of the image a node stands for. A complete image gets a second node, with the same inode number, so that the
// kernel can read it in another way while handles to the first one go on (see docs/architecture.md).
enum class Residency : uint64_t { kPartial = 0, kComplete = 1 };

inline constexpr NodeId kDirectoryBit = 1ull << 62;  // of directories but for the root; row numbers are smaller

constexpr NodeId NodeIdFor(RowId row, Residency residency) { return 2 + row * 2 + static_cast<uint64_t>(residency); }
// REQUIRES: the node of an image.
constexpr Residency ResidencyOf(NodeId node) { return static_cast<Residency>(node & 1); }
constexpr RowId RowOf(NodeId node) { return (node - 2) / 2; }
// Before collisions are resolved; never the id of an image.
NodeId DirectoryNodeId(const std::string& path);

// Never changes while the node lives.
struct NodeInfo {
  bool is_directory = false;
  std::string name;  // path below the root; "" is the root
  ImageInfo image;   // when not a directory
};
using NodeInfoPtr = std::shared_ptr<const NodeInfo>;

class NodeTable {
 public:
  struct Found {
    NodeId id = 0;
    NodeInfoPtr info;
  };

  NodeTable();

  // The node of a directory or an image, made when there is none; one lookup is added to its count.
  Found LookUpDirectory(const std::string& path);
  Found LookUpImage(RowId row, Residency residency, const ImageInfo& image);
  // Takes `count` lookups away.
  void Forget(NodeId id, uint64_t count);

  // The node of a directory the kernel knows.
  std::optional<NodeId> FindDirectory(const std::string& path);
  // Null for an unknown id.
  NodeInfoPtr Find(NodeId id);
  // One more handle, on `image`; for a complete image on what is open there already, if anything is: the kernel reads an
  // inode from one file only. Returns what the handle is on; null when the node is gone.
  std::shared_ptr<OpenedImage> AddOpen(NodeId id, std::shared_ptr<OpenedImage> image);
  // One more handle on what is open there; null when nothing is.
  std::shared_ptr<OpenedImage> ShareOpen(NodeId id);
  void RemoveOpen(NodeId id);
  // Null while nothing is open.
  std::shared_ptr<OpenedImage> OpenedAt(NodeId id);

  size_t size();

 private:
  struct Node {
    NodeInfoPtr info;
    uint64_t lookups = 0;
    uint64_t opens = 0;
    std::shared_ptr<OpenedImage> image;
  };
  struct alignas(64) Shard {
    Mutex mu;
    std::unordered_map<NodeId, Node> nodes GUARDED_BY(mu);
  };
  static constexpr size_t kShards = 64;

  Shard& ShardOf(NodeId id) { return shards_[(id ^ (id >> 8)) % kShards]; }

  std::array<Shard, kShards> shards_;
};

}  // namespace glintfs
