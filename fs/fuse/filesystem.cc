// Why an open of an outdated node answers ESTALE: the kernel then looks the whole path up again, past its own caches,
// and opens what it finds. So a version that the source replaced, or refused while being read, is left behind at the
// next open and not only when the entry's time is over.
//
// No negative entries go to the kernel: a name that appears at the source then shows after `negative_ttl`, not after
// twice that, and the catalogue answers "no such name" from memory.
#include "fs/fuse/filesystem.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <xxhash.h>

#include <algorithm>
#include <utility>

#include "fs/fuse/errno_table.h"

namespace glintfs {
namespace {

constexpr size_t kNameMax = 255;
constexpr Nanos kGlanceTtl = std::chrono::seconds(1);  // what Glance looks at (atime, what is there) is never older than this

std::string Join(const std::string& directory, std::string_view name) {
  if (directory.empty()) return std::string(name);
  std::string path;
  path.reserve(directory.size() + 1 + name.size());
  return path.append(directory).append("/").append(name);
}

std::string ParentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

}  // namespace

Filesystem::Filesystem(FsOptions options, Catalog& catalog, Cache& cache, Clock& clock, ImageOpener opener)
    : options_(std::move(options)),
      clock_(clock),
      started_(clock.WallNow()),
      opener_(opener ? std::move(opener) : CacheOpener(cache)),
      catalog_(catalog),
      cache_(cache),
      passthrough_(std::make_shared<Passthrough>([this] { return names_waiting_.load(); })),
      // So that a handle from before a restart is not taken for one of ours.
      handle_mark_((static_cast<uint64_t>(clock.WallNow().count() / 1'000'000) | 1) << 48),
      next_handle_(static_cast<uint64_t>(clock.WallNow().count())) {}

Filesystem::~Filesystem() = default;

RequestId Filesystem::BeginRequest() {
  const RequestId id = catalog_.NewRequestId();
  requests_.Begin(id);
  return id;
}

// ---- Attributes

uint64_t Filesystem::InodeNumber(const std::string& path) const {
  if (path.empty()) return 1;
  const std::string key = options_.source + '\0' + path;
  const uint64_t hash = XXH3_64bits(key.data(), key.size());
  return hash < 2 ? hash + 2 : hash;
}

Attributes Filesystem::AttributesOf(const NodeInfo& info) const {
  const uint32_t permissions = options_.file_mode & 0777;
  Attributes attributes;
  attributes.ino = InodeNumber(info.name);
  attributes.uid = options_.uid;
  attributes.gid = options_.gid;
  if (info.is_directory) {
    attributes.mode = S_IFDIR | permissions | ((permissions & 0444) >> 2);
    attributes.nlink = 2;
    attributes.time = attributes.accessed = started_;
  } else {
    attributes.mode = S_IFREG | permissions;
    attributes.size = info.image.size;
    attributes.time = attributes.accessed = info.image.mtime;
  }
  if (!writable()) return attributes;
  attributes.mode |= S_IWUSR;  // to make files below a directory, and to set xattrs on an image
  if (info.is_directory) return attributes;
  if (const Nanos last = cache_.StatusOf(info.image).last_access; last != Nanos(0)) attributes.accessed = last;
  return attributes;
}

NodeReply Filesystem::ReplyFor(const NodeTable::Found& found, Nanos entry_timeout) const {
  return NodeReply{.node = found.id,
                   .attributes = AttributesOf(*found.info),
                   .entry_timeout = entry_timeout,
                   .attr_timeout = writable() ? kGlanceTtl : options_.attr_timeout};
}

int Filesystem::GetAttributes(NodeId node, NodeReply& reply) {
  if (IsScratch(node)) {
    ScratchStat stat;
    if (const int err = options_.scratch->Stat(node, stat); err != 0) return err;
    reply = ReplyFor(stat);
    return 0;
  }
  const NodeInfoPtr info = nodes_.Find(node);
  if (!info) return ESTALE;
  reply = ReplyFor({.id = node, .info = info}, Nanos(0));
  return 0;
}

// ---- Names

void Filesystem::Forget(NodeId node, uint64_t count) {
  IsScratch(node) ? options_.scratch->Forget(node, count) : nodes_.Forget(node, count);
}

void Filesystem::Lookup(RequestId id, NodeId parent, std::string_view name, LookupDone done) {
  if (IsScratch(parent) || (writable() && parent == kRootNode && name != "." && name != ".." && !IsImageId(name)))
    return LookUpScratch(parent, name, done);
  const NodeInfoPtr directory = nodes_.Find(parent);
  if (!directory) return done(ESTALE, {});
  if (name == "." || name == "..") return LookUpDots(*directory, name, done);
  if (!directory->is_directory) return done(ENOTDIR, {});
  if (name.empty() || name.find('/') != name.npos) return done(EINVAL, {});
  if (name.size() > kNameMax) return done(ENAMETOOLONG, {});
  const std::string path = Join(directory->name, name);
  ++names_waiting_;
  catalog_.Lookup(path, id, [this, path, done = std::move(done)](Result<CatalogEntry> entry) {
    --names_waiting_;
    if (!entry) return done(ToErrno(entry.error().code), {});
    if (writable() && entry->is_directory) return done(ENOENT, {});
    if (writable() && IsWithoutData(entry->image.id)) return done(ENOENT, {});
    if (writable() && IsToBeHidden(*entry)) return done(EHOSTDOWN, {});
    const auto found = entry->is_directory ? nodes_.LookUpDirectory(path) : LookUpImage(*entry);
    done(0, ReplyFor(found, EntryTimeout(found.id, *entry)));
  });
  if (!Requests::EndedHere(id)) requests_.Park(id, [this, id] { catalog_.Cancel(id); });
}

NodeTable::Found Filesystem::LookUpImage(const CatalogEntry& entry) {
  if (passthrough_->on()) {
    if (const auto row = cache_.SealedRow(entry.image.id)) return nodes_.LookUpImage(*row, Residency::kComplete, entry.image);
  }
  return nodes_.LookUpImage(entry.row, Residency::kPartial, entry.image);
}

// A name whose image may get another node is not kept for long, should the invalidation not come through.
Nanos Filesystem::EntryTimeout(NodeId node, const CatalogEntry& entry) const {
  // For Glance an image may be there and be gone with the source's health, unless all of it is cached.
  if (writable()) return ResidencyOf(node) == Residency::kComplete ? std::min(entry.valid_for, kGlanceTtl) : Nanos(0);
  if (entry.is_directory || ResidencyOf(node) == Residency::kComplete) return entry.valid_for;
  if (!passthrough_->decided()) return Nanos(0);
  return passthrough_->on() ? std::min(entry.valid_for, Passthrough::kNameTtl) : entry.valid_for;
}

void Filesystem::OnSealed(const ImageInfo& image) {
  if (!passthrough_->on()) return;
  std::vector<std::string> paths = cache_.AliasesOf(image.id.name);
  paths.push_back(image.id.name);
  for (const std::string& path : paths) {
    const std::string parent = ParentOf(path);
    if (const auto node = nodes_.FindDirectory(parent))
      passthrough_->InvalidateSoon(*node, parent.empty() ? path : path.substr(parent.size() + 1));
  }
}

// Whoever reads on then gets it from us, who have it fetched again.
void Filesystem::OnChunkDropped(const ImageInfo& image) {
  const RowId row = cache_.RowFor(image.id);
  for (const Residency residency : {Residency::kPartial, Residency::kComplete})
    if (const NodeId node = NodeIdFor(row, residency); nodes_.Find(node)) passthrough_->InvalidatePagesSoon(node);
}

// For NFS export: the kernel finds the way from a node it was handed to the root.
void Filesystem::LookUpDots(const NodeInfo& node, std::string_view name, const LookupDone& done) {
  if (name == "." && !node.is_directory) return done(ENOTDIR, {});
  const std::string path = name == "." ? node.name : ParentOf(node.name);
  done(0, ReplyFor(nodes_.LookUpDirectory(path), options_.attr_timeout));
}

// ---- Xattrs

int Filesystem::GetXattr(NodeId node, std::string_view name, std::string& value) {
  if (IsScratch(node)) return options_.scratch->GetXattr(node, std::string(name), value);
  const NodeInfoPtr info = nodes_.Find(node);
  if (!info) return ESTALE;
  if (name == "user.glintfs.source") {
    value = options_.source;
    return 0;
  }
  if (info->is_directory) return ENODATA;
  if (name == "user.glintfs.version") {
    value = info->image.id.version;
  } else if (name == "user.glintfs.state") {
    value = ImageStateName(cache_.StatusOf(info->image).state);
  } else if (name == "user.glintfs.cached_bytes") {
    value = std::to_string(cache_.StatusOf(info->image).cached_bytes);
  } else if (name == "user.hits" && writable()) {
    value = std::to_string(cache_.StatusOf(info->image).hits);
  } else {
    return ENODATA;
  }
  return 0;
}

int Filesystem::ListXattr(NodeId node, std::string& names) {
  if (IsScratch(node)) return options_.scratch->ListXattr(node, names);
  const NodeInfoPtr info = nodes_.Find(node);
  if (!info) return ESTALE;
  constexpr std::string_view kOfDirectory("user.glintfs.source\0", 20);
  constexpr std::string_view kOfImage("user.glintfs.state\0user.glintfs.cached_bytes\0user.glintfs.version\0", 66);
  names.clear();
  if (!info->is_directory) names.append(kOfImage);
  names.append(kOfDirectory);
  if (!info->is_directory && writable()) names.append("user.hits").push_back('\0');
  return 0;
}

// ---- The whole

// Of the cache, not of the source: that is what fills up. f_bsize equals f_frsize, since many programs mix them up.
SpaceReply Filesystem::Space() {
  const CacheStats stats = cache_.Stats();
  SpaceReply reply;
  const uint64_t total = stats.limits.max_size != 0 ? stats.limits.max_size : stats.disk_total;
  uint64_t available = stats.disk_available;
  if (stats.limits.max_size != 0) {
    const uint64_t room = total - std::min(total, stats.used_bytes);
    available = stats.disk_total != 0 ? std::min(room, stats.disk_available) : room;
  }
  reply.blocks = total / reply.block_size;
  reply.blocks_free = available / reply.block_size;
  return reply;
}

}  // namespace glintfs
