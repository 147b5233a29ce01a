// Filesystem: layout=glance-cache, what Glance expects in its image_cache_dir.
//
// To Glance an image is cached when <dir>/<id> is there, and cached means served from there. So every image of the source is there for
// who asks by id. A listing shows only what is cached as a whole: its pruner adds up the sizes of all that is listed, asks each for
// its atime and unlinks until the sum is small enough, which is to be about what takes room here.
//
// Only ids are looked for at the source. All other names are the scratch area's, so that neither SQLite's looking for journals nor
// anything else Glance does besides reading images depends on a store.
//
// An image that cannot be had, because the source is away and not all of it is cached, is not there: Glance then takes its own store.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "fs/base/log.h"
#include "fs/base/size_text.h"
#include "fs/fuse/filesystem.h"

namespace glintfs {
namespace {

constexpr Nanos kWithoutDataTime = std::chrono::minutes(10);
constexpr Nanos kScratchTtl = std::chrono::seconds(1);  // an operator may remove files from outside

bool IsWhole(const ImageStatus& status) {
  return status.state == ImageState::kComplete || status.state == ImageState::kVerified;
}

}  // namespace

Attributes Filesystem::AttributesOf(const ScratchStat& stat) const {
  const uint32_t permissions = (options_.file_mode & 0777) | S_IWUSR;
  Attributes attributes;
  attributes.ino = stat.is_directory ? InodeNumber(stat.name) : stat.number == 0 ? stat.node : kScratchBit | stat.number;
  attributes.mode = stat.is_directory ? S_IFDIR | permissions | ((permissions & 0444) >> 2) : S_IFREG | permissions;
  attributes.nlink = stat.is_directory ? 2 : 1;
  attributes.size = stat.size;
  attributes.time = stat.modified;
  attributes.accessed = stat.accessed;
  attributes.uid = options_.uid;
  attributes.gid = options_.gid;
  return attributes;
}

NodeReply Filesystem::ReplyFor(const ScratchStat& stat) const {
  return NodeReply{
      .node = stat.node, .attributes = AttributesOf(stat), .entry_timeout = kScratchTtl, .attr_timeout = kScratchTtl};
}

void Filesystem::LookUpScratch(NodeId parent, std::string_view name, const LookupDone& done) {
  ScratchStat stat;
  if (name == ".." && Scratch::IsDirectory(parent))
    return done(0, ReplyFor(nodes_.LookUpDirectory(""), options_.attr_timeout));
  const int err = name == "." ? options_.scratch->Stat(parent, stat) : options_.scratch->Lookup(parent, name, stat);
  done(err, err == 0 ? ReplyFor(stat) : NodeReply{});
}

bool Filesystem::IsToBeHidden(const CatalogEntry& entry) {
  return !catalog_.health().reachable && !IsWhole(cache_.StatusOf(entry.image));
}

int Filesystem::ListScratch(NodeId node, std::vector<ListEntry>& entries) {
  if (const int err = options_.scratch->List(node, entries); err != 0) return err;
  if (node == kRootNode) {
    for (const char* directory : {"incomplete", "invalid", "queue"})
      entries.push_back(ListEntry{.name = directory, .is_directory = true});
    for (const ImageStatus& status : cache_.List())
      if (IsWhole(status) && IsImageId(status.info.id.name))
        entries.push_back(ListEntry{.name = status.info.id.name, .is_directory = false});
  }
  std::sort(entries.begin(), entries.end(), [](const ListEntry& a, const ListEntry& b) { return a.name < b.name; });
  return 0;
}

// ---- Changes

int Filesystem::Create(NodeId parent, std::string_view name, int flags, NodeReply& reply) {
  if (!writable()) return EROFS;
  ScratchStat stat;
  if (const int err = options_.scratch->Create(parent, name, flags, stat); err != 0) return err;
  reply = ReplyFor(stat);
  return 0;
}

int Filesystem::MakeDirectory(NodeId parent, std::string_view name) {
  return writable() ? options_.scratch->MakeDirectory(parent, name) : EROFS;
}

// An error would help nobody: it ends Glance's pruner with a trace, and makes a 500 of the DELETE of an image that is gone.
int Filesystem::Unlink(NodeId parent, std::string_view name) {
  if (!writable()) return EROFS;
  if (parent != kRootNode || !IsImageId(name)) return options_.scratch->Unlink(parent, name);
  EvictUnlinked(cache_.OwnName(name));
  return 0;
}

bool Filesystem::IsUnlinked(const std::string& name) {
  MutexLock lock(glance_mu_);
  return unlinked_.contains(name);
}

void Filesystem::ForgetUnlinked(const std::string& name) {
  MutexLock lock(glance_mu_);
  unlinked_.erase(name);
}

void Filesystem::HideWithoutData(const ImageId& id) {
  LogInfo("{}: the source names it and does not have its data: not shown for {}, so that Glance takes its own store", id.name,
          FormatDuration(kWithoutDataTime));
  const Nanos now = clock_.Now();
  MutexLock lock(glance_mu_);
  std::erase_if(without_data_, [now](const auto& entry) { return entry.second.until <= now; });
  without_data_[id.name] = {id.version, now + kWithoutDataTime};
}

bool Filesystem::IsWithoutData(const ImageId& id) {
  MutexLock lock(glance_mu_);
  const auto found = without_data_.find(id.name);
  return found != without_data_.end() && found->second.version == id.version && clock_.Now() < found->second.until;
}

// The kernel closes a file some time after its reader has, so that an image that was just read is often still open here.
void Filesystem::EvictUnlinked(const std::string& name) {
  {
    MutexLock lock(glance_mu_);
    unlinked_.insert(name);  // first, lest the last close comes in between
  }
  const auto evicted = cache_.Evict(name);
  const auto status = cache_.StatusOf(name);
  const bool open = !evicted && evicted.error().code == Errc::kBusy && status && status->open_count > 0 && !status->pinned;
  if (!open) ForgetUnlinked(name);
  if (!evicted && evicted.error().code != Errc::kNotFound)
    LogInfo("{}: unlinked, and {}: {}", name, open ? "goes once it is closed" : "stays in the cache", evicted.error().message);
}

int Filesystem::Rename(NodeId parent, std::string_view name, NodeId new_parent, std::string_view new_name, unsigned flags) {
  return writable() ? options_.scratch->Rename(parent, name, new_parent, new_name, flags) : EROFS;
}

int Filesystem::Write(NodeId node, uint64_t offset, std::span<const std::byte> bytes) {
  return IsScratch(node) ? options_.scratch->Write(node, offset, bytes) : EROFS;
}

int Filesystem::SetAttributes(NodeId node, const Change& change, NodeReply& reply) {
  if (!writable()) return EROFS;
  if (const int err = GetAttributes(node, reply); err != 0) return err;
  const Attributes& now = reply.attributes;
  // What is so already can be set: tools set all they know.
  const bool same = (!change.mode || (*change.mode & 07777) == (now.mode & 07777)) && (!change.uid || *change.uid == now.uid) &&
                    (!change.gid || *change.gid == now.gid);
  if (!same) return EPERM;
  if (!change.size && !change.accessed && !change.modified) return 0;
  if (!IsScratch(node)) return S_ISDIR(now.mode) ? EPERM : EROFS;
  if (change.size) {
    if (const int err = options_.scratch->Truncate(node, *change.size); err != 0) return err;
  }
  if (change.accessed || change.modified) {
    if (const int err = options_.scratch->SetTimes(node, change.accessed, change.modified); err != 0) return err;
  }
  return GetAttributes(node, reply);
}

int Filesystem::Sync(NodeId node) {
  if (!writable()) return ENOSYS;
  return IsScratch(node) || node == kRootNode ? options_.scratch->Sync(node) : 0;
}

// Glance counts hits on what it has served from here. We count them ourselves, and answer with our count.
int Filesystem::SetXattr(NodeId node, const std::string& name, std::string_view value, int flags) {
  if (!writable()) return EROFS;
  if (IsScratch(node)) return options_.scratch->SetXattr(node, name, value, flags);
  const NodeInfoPtr info = nodes_.Find(node);
  if (!info) return ESTALE;
  return !info->is_directory && name == "user.hits" ? 0 : EPERM;
}

int Filesystem::RemoveXattr(NodeId node, const std::string& name) {
  if (!writable()) return EROFS;
  return IsScratch(node) ? options_.scratch->RemoveXattr(node, name) : EPERM;
}

}  // namespace glintfs
