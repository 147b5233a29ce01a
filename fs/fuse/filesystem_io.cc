// Filesystem: handles on images and directories, and what is read through them.
//
// Handles carry no state that only memory has: a READ needs the node id alone (should no handle be known, it opens the
// image for itself), and a READDIR with an unknown handle lists anew. So a successor on the same mount can answer them.
#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "fs/base/log.h"
#include "fs/catalog/source_health.h"
#include "fs/fuse/errno_table.h"
#include "fs/fuse/filesystem.h"

namespace glintfs {

// ---- Images

class Filesystem::ImageRead final : public ReadOp {
 public:
  ImageRead(RequestId request, uint64_t from, size_t size, Filesystem& fs, NodeInfoPtr info,
            std::shared_ptr<OpenedImage> image, std::unique_ptr<ReadReply> reply)
      : ReadOp(request, from, size),
        fs_(fs),
        info_(std::move(info)),
        image_(std::move(image)),
        reply_(std::move(reply)) {}

  bool Done(const ReadData& data) override { return reply_->Data(data); }
  void Fail(const Error& error) override {
    if (error.code == Errc::kStale) fs_.catalog_.Invalidate(info_->name);
    // So that Glance asks its own store from the next request on, and not only when a name's answer is too old.
    if (fs_.writable() && IsCannotAsk(error.code)) fs_.catalog_.CannotAsk(error);
    if (fs_.writable() && error.code == Errc::kNotFound) fs_.HideWithoutData(info_->image.id);
    reply_->Fail(ToErrno(error.code));
  }

 private:
  Filesystem& fs_;
  const NodeInfoPtr info_;
  const std::shared_ptr<OpenedImage> image_;  // in use until this read is answered
  const std::unique_ptr<ReadReply> reply_;
};

int Filesystem::Open(NodeId node, int flags, OpenReply& reply) {
  if (IsScratch(node)) return options_.scratch->Open(node, flags);
  const NodeInfoPtr info = nodes_.Find(node);
  if (!info) return ESTALE;
  if (info->is_directory) return EISDIR;
  if ((flags & O_ACCMODE) != O_RDONLY || (flags & (O_TRUNC | O_CREAT)) != 0) return EROFS;
  if (catalog_.IsOutdated(info->image.id)) return ESTALE;
  if (writable()) ForgetUnlinked(info->name);  // wanted again
  return ResidencyOf(node) == Residency::kComplete ? OpenComplete(node, *info, reply) : OpenPartial(node, *info, reply);
}

int Filesystem::OpenPartial(NodeId node, const NodeInfo& info, OpenReply& reply) {
  auto image = opener_(info.image);
  if (!image) return ToErrno(image.error().code);
  reply.keep_pages = (*image)->HasContent();
  auto opened = nodes_.AddOpen(node, std::move(*image));
  if (!opened) return ESTALE;
  reply.handle = KeepHandle(std::move(opened));
  return 0;
}

// All handles of an inode are read in one way, the kernel insists: a later one shares what the first one got. An image that is
// not sealed any more (it was evicted, or a part of it is bad) is ESTALE, also while others have it open: the kernel looks its name up again and finds the partial node.
int Filesystem::OpenComplete(NodeId node, const NodeInfo& info, OpenReply& reply) {
  if (!cache_.SealedRow(info.image.id)) return ESTALE;
  auto image = nodes_.ShareOpen(node);
  if (!image) {
    auto opened = OpenForKernel(cache_, RowOf(node), passthrough_);
    if (!opened && opened.error().code == Errc::kNotFound) return ESTALE;
    if (!opened) {
      LogDebug("{}: read through glintfs: {}", info.name, opened.error().ToString());
      opened = opener_(info.image);
    }
    if (!opened) return ToErrno(opened.error().code);
    image = nodes_.AddOpen(node, std::move(*opened));
    if (!image) return ESTALE;
  }
  reply.backing_id = image->backing_id();
  if (reply.backing_id != 0) return 0;
  reply.keep_pages = image->HasContent();
  reply.handle = KeepHandle(std::move(image));
  return 0;
}

uint64_t Filesystem::KeepHandle(std::shared_ptr<OpenedImage> image) {
  auto kept = std::make_unique<OpenHandle>(OpenHandle{std::move(image)});
  const uint64_t handle = handle_mark_ | reinterpret_cast<uintptr_t>(kept.get());
  MutexLock lock(handles_mu_);
  open_handles_[handle] = std::move(kept);
  return handle;
}

void Filesystem::Release(NodeId node, uint64_t handle) {
  if (IsScratch(node)) return;
  std::unique_ptr<OpenHandle> dropped;  // destroyed after the lock
  {
    MutexLock lock(handles_mu_);
    if (const auto it = open_handles_.find(handle); it != open_handles_.end()) {
      dropped = std::move(it->second);
      open_handles_.erase(it);
    }
  }
  if (!writable()) return nodes_.RemoveOpen(node);
  const NodeInfoPtr info = nodes_.Find(node);
  dropped.reset();
  nodes_.RemoveOpen(node);
  if (info && IsUnlinked(info->name)) EvictUnlinked(info->name);
}

std::optional<CachedImage::Hit> Filesystem::TryRead(uint64_t handle, uint64_t offset, size_t length) const {
  constexpr uint64_t kAddress = (1ull << 48) - 1;
  if ((handle & ~kAddress) != handle_mark_) return std::nullopt;
  return reinterpret_cast<const OpenHandle*>(handle & kAddress)->image->TryRead(offset, length);
}

void Filesystem::Read(RequestId id, NodeId node, uint64_t offset, size_t length, std::unique_ptr<ReadReply> reply) {
  if (IsScratch(node)) {
    std::vector<std::byte> buffer(std::min<size_t>(length, 1 << 20));
    size_t got = 0;
    if (const int err = options_.scratch->Read(node, offset, buffer, got); err != 0) return reply->Fail(err);
    (void)reply->Data(ReadData{.length = got, .bytes = std::span<const std::byte>(buffer).first(got)});
    return;
  }
  NodeInfoPtr info = nodes_.Find(node);
  if (!info) return reply->Fail(ESTALE);
  if (info->is_directory) return reply->Fail(EISDIR);
  std::shared_ptr<OpenedImage> image = nodes_.OpenedAt(node);
  if (!image || image->backing_id() != 0) {  // the kernel asks for no read of such a node, but a successor may have to answer one
    auto opened = opener_(info->image);
    if (!opened) return reply->Fail(ToErrno(opened.error().code));
    image = std::move(*opened);
  }
  image->Read(std::make_unique<ImageRead>(id, offset, length, *this, std::move(info), image, std::move(reply)));
  if (!Requests::EndedHere(id)) requests_.Park(id, [image = std::move(image), id] { image->Cancel(id); });
}

// ---- Directories

class Filesystem::Snapshot final : public DirectoryView {
 public:
  Snapshot(const Filesystem& fs, std::string path, ListingPtr listing)
      : fs_(fs), path_(std::move(path)), listing_(std::move(listing)) {}

  size_t size() const override { return listing_->size() + 2; }

  DirectoryEntry At(size_t index) const override {
    if (index == 0) return DirectoryEntry{.name = ".", .ino = fs_.InodeNumber(path_), .is_directory = true};
    if (index == 1) {
      const size_t slash = path_.rfind('/');
      const std::string parent = slash == std::string::npos ? std::string() : path_.substr(0, slash);
      return DirectoryEntry{.name = "..", .ino = fs_.InodeNumber(parent), .is_directory = true};
    }
    const ListEntry& entry = (*listing_)[index - 2];
    const std::string path = path_.empty() ? entry.name : path_ + "/" + entry.name;
    return DirectoryEntry{.name = entry.name, .ino = fs_.InodeNumber(path), .is_directory = entry.is_directory};
  }

 private:
  const Filesystem& fs_;
  const std::string path_;
  const ListingPtr listing_;
};

int Filesystem::OpenDirectory(NodeId node, uint64_t& handle) {
  if (IsScratch(node)) {
    if (!Scratch::IsDirectory(node)) return ENOTDIR;
  } else {
    const NodeInfoPtr info = nodes_.Find(node);
    if (!info) return ESTALE;
    if (!info->is_directory) return ENOTDIR;
  }
  MutexLock lock(handles_mu_);
  handle = next_handle_++;
  handles_[handle].node = node;
  return 0;
}

void Filesystem::ReadDirectory(RequestId id, NodeId node, uint64_t handle, uint64_t offset, DirectoryDone done) {
  if (offset != 0) {
    if (const auto snapshot = FindSnapshot(handle, node)) return done(0, snapshot.get());
  }
  if (writable() && (node == kRootNode || IsScratchNode(node))) {
    ScratchStat stat;
    std::vector<ListEntry> entries;
    if (node != kRootNode) {
      if (const int err = options_.scratch->Stat(node, stat); err != 0) return done(err, nullptr);
    }
    if (const int err = ListScratch(node, entries); err != 0) return done(err, nullptr);
    const auto snapshot = std::make_shared<const Snapshot>(
        *this, stat.name, std::make_shared<const std::vector<ListEntry>>(std::move(entries)));
    KeepSnapshot(handle, node, snapshot);
    return done(0, snapshot.get());
  }
  const NodeInfoPtr info = nodes_.Find(node);
  if (!info) return done(ESTALE, nullptr);
  if (!info->is_directory) return done(ENOTDIR, nullptr);
  ++names_waiting_;
  catalog_.List(info->name, id, [this, info, handle, node, done = std::move(done)](Result<ListingPtr> listing) {
    --names_waiting_;
    if (!listing) return done(ToErrno(listing.error().code), nullptr);
    const auto snapshot = std::make_shared<const Snapshot>(*this, info->name, std::move(*listing));
    KeepSnapshot(handle, node, snapshot);
    done(0, snapshot.get());
  });
  if (!Requests::EndedHere(id)) requests_.Park(id, [this, id] { catalog_.Cancel(id); });
}

std::shared_ptr<const Filesystem::Snapshot> Filesystem::FindSnapshot(uint64_t handle, NodeId node) {
  MutexLock lock(handles_mu_);
  const auto it = handles_.find(handle);
  return it == handles_.end() || it->second.node != node ? nullptr : it->second.snapshot;
}

void Filesystem::KeepSnapshot(uint64_t handle, NodeId node, std::shared_ptr<const Snapshot> snapshot) {
  MutexLock lock(handles_mu_);
  DirectoryHandle& kept = handles_[handle];
  kept.node = node;
  kept.snapshot.swap(snapshot);  // the old one is dropped after the lock
}

void Filesystem::ReleaseDirectory(uint64_t handle) {
  DirectoryHandle dropped;  // destroyed after the lock
  MutexLock lock(handles_mu_);
  const auto it = handles_.find(handle);
  if (it == handles_.end()) return;
  dropped = std::move(it->second);
  handles_.erase(it);
}

}  // namespace glintfs
