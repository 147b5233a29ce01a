// Filesystem: what the mount means. Nodes, attributes, handles, xattrs, reads; no libfuse types.
//
//   directory        every name that ends in no image; made of what the catalogue says
//   image            read-only, immutable: a new version at the source is a new node under the same name
//
// With a scratch area it is what Glance expects in its image_cache_dir (layout=glance-cache; filesystem_glance.cc): in the root
// images of the source by id, and everything else below it is the scratch area's.
//
// Functions return 0 or an errno. Thread-safe; none waits for the source: what must wait is answered through a
// callback, exactly once, inline or from another thread.
//
// A request that may wait has a RequestId: BeginRequest before, EndRequest after its reply was sent.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "fs/base/clock.h"
#include "fs/base/mutex.h"
#include "fs/catalog/catalog.h"
#include "fs/fuse/node_table.h"
#include "fs/fuse/opened_image.h"
#include "fs/fuse/passthrough.h"
#include "fs/fuse/requests.h"
#include "fs/fuse/scratch.h"

namespace glintfs {

struct FsOptions {
  std::string source;        // as shown in xattrs; also seeds the inode numbers
  uint32_t file_mode = 0444; // permission bits; directories get x wherever this has r
  uid_t uid = 0;
  gid_t gid = 0;
  Nanos attr_timeout = std::chrono::hours(24);  // attributes never change under a node
  std::shared_ptr<Scratch> scratch{};           // layout=glance-cache; null: the mount is read-only
};

struct Attributes {
  uint64_t ino = 0;    // st_ino: of the name, the same for all its versions and after a restart; never 0; the root is 1
  uint32_t mode = 0;   // with the type
  uint32_t nlink = 1;
  uint64_t size = 0;   // bytes
  Nanos time{0};       // mtime and ctime, since 1970
  Nanos accessed{0};   // atime
  uid_t uid = 0;
  gid_t gid = 0;

  // Of the content, as if all of it took space: a smaller number would make tools look for holes that are none.
  uint64_t blocks() const { return (size + 511) / 512; }
  static constexpr uint32_t kBlockSize = 1 << 20;  // st_blksize: readers use it as their buffer
};

struct NodeReply {
  NodeId node = 0;
  Attributes attributes;
  Nanos entry_timeout{0};
  Nanos attr_timeout{0};
};

struct DirectoryEntry {
  std::string name;
  uint64_t ino = 0;
  bool is_directory = false;
};

// A listing as readdir walks it: "." and ".." and the names. Does not change.
class DirectoryView {
 public:
  virtual ~DirectoryView() = default;
  virtual size_t size() const = 0;
  virtual DirectoryEntry At(size_t index) const = 0;
};

struct SpaceReply {
  uint32_t block_size = 4096;
  uint64_t blocks = 0, blocks_free = 0;
  uint32_t name_max = 255;
};

// Receives the answer to one read.
class ReadReply {
 public:
  virtual ~ReadReply() = default;
  // `data` is valid during the call. False: its file could not be read, and nothing was answered.
  virtual bool Data(const ReadData& data) = 0;
  virtual void Fail(int err) = 0;
};

struct OpenReply {
  uint64_t handle = 0;      // for TryRead and Release; means nothing to another daemon
  bool keep_pages = false;  // may the kernel keep the pages it has of this node?
  int32_t backing_id = 0;   // when not 0: it reads the file it knows by this number
};

class Filesystem {
 public:
  using LookupDone = std::function<void(int err, const NodeReply& reply)>;
  using DirectoryDone = std::function<void(int err, const DirectoryView* view)>;

  // `catalog` and `cache` must outlive it, and so must `clock`. Without an opener, images are opened in `cache`.
  Filesystem(FsOptions options, Catalog& catalog, Cache& cache, Clock& clock = Clock::System(),
             ImageOpener opener = nullptr);
  ~Filesystem();

  RequestId BeginRequest();
  void EndRequest(RequestId id) { requests_.End(id); }
  // The caller gave up: a request that still waits is answered EINTR.
  void Interrupt(RequestId id) { requests_.Interrupt(id); }
  // The mount ends: the same for all, now and later.
  void InterruptAll() { requests_.InterruptAll(); }
  size_t requests_outstanding() const { return requests_.outstanding(); }

  // Off until a session turns it on.
  Passthrough& passthrough() { return *passthrough_; }
  // From now on the image is to be read past this process; called from any thread.
  void OnSealed(const ImageInfo& image);
  // A part of it on disk was bad: what the kernel keeps of it may be so too. From any thread.
  void OnChunkDropped(const ImageInfo& image);

  // Adds one lookup to the node it answers with; Forget takes them away.
  void Lookup(RequestId id, NodeId parent, std::string_view name, LookupDone done);
  void Forget(NodeId node, uint64_t count);
  int GetAttributes(NodeId node, NodeReply& reply);

  // `flags` as for open(2). The node stays readable until Release.
  int Open(NodeId node, int flags, OpenReply& reply);
  void Release(NodeId node, uint64_t handle);
  // A read of what is cached: one lock, no memory. What to read from which file, valid until the handle is released; nullopt when
  // Read has to do it, as for a handle that is not of this daemon.
  std::optional<CachedImage::Hit> TryRead(uint64_t handle, uint64_t offset, size_t length) const;
  void Read(RequestId id, NodeId node, uint64_t offset, size_t length, std::unique_ptr<ReadReply> reply);

  int OpenDirectory(NodeId node, uint64_t& handle);
  // The listing at `offset`: offset 0 asks the catalogue, any other goes on in the listing of the handle; an unknown
  // handle (from before a restart) gets a new one.
  void ReadDirectory(RequestId id, NodeId node, uint64_t handle, uint64_t offset, DirectoryDone done);
  void ReleaseDirectory(uint64_t handle);

  // ---- What changes something; EROFS without a scratch area.

  bool writable() const { return options_.scratch != nullptr; }
  // What is refused as such.
  int Refusal() const { return writable() ? EPERM : EROFS; }
  // Makes and opens a file of the scratch area; adds one lookup.
  int Create(NodeId parent, std::string_view name, int flags, NodeReply& reply);
  int MakeDirectory(NodeId parent, std::string_view name);
  // Of an image: evicts it, or, when it is open, does so at its last close unless it is opened again before. That is no error when it
  // stays as it is, because it is pinned or queued. May wait for fetches to end that were told to, never for the source.
  int Unlink(NodeId parent, std::string_view name);
  int Rename(NodeId parent, std::string_view name, NodeId new_parent, std::string_view new_name, unsigned flags);
  int Write(NodeId node, uint64_t offset, std::span<const std::byte> bytes);
  struct Change {
    std::optional<uint64_t> size;
    std::optional<uint32_t> mode;
    std::optional<uid_t> uid;
    std::optional<gid_t> gid;
    std::optional<Nanos> accessed, modified;  // wall clock
  };
  int SetAttributes(NodeId node, const Change& change, NodeReply& reply);
  // ENOSYS where there is nothing to sync, ever: the kernel then asks no more.
  int Sync(NodeId node);
  int SetXattr(NodeId node, const std::string& name, std::string_view value, int flags);
  int RemoveXattr(NodeId node, const std::string& name);

  // user.glintfs.state, .cached_bytes, .version, .source; user.hits with a scratch area
  int GetXattr(NodeId node, std::string_view name, std::string& value);
  int ListXattr(NodeId node, std::string& names);  // each followed by a NUL

  SpaceReply Space();
  uint64_t InodeNumber(const std::string& path) const;
  size_t nodes_known() { return nodes_.size(); }  // for tests

 private:
  class ImageRead;
  class Snapshot;

  int OpenComplete(NodeId node, const NodeInfo& info, OpenReply& reply);
  int OpenPartial(NodeId node, const NodeInfo& info, OpenReply& reply);
  Attributes AttributesOf(const NodeInfo& info) const;
  NodeReply ReplyFor(const NodeTable::Found& found, Nanos entry_timeout) const;
  NodeTable::Found LookUpImage(const CatalogEntry& entry);
  // layout=glance-cache
  bool IsScratch(NodeId node) const { return IsScratchNode(node) && writable(); }
  Attributes AttributesOf(const ScratchStat& stat) const;
  NodeReply ReplyFor(const ScratchStat& stat) const;
  void LookUpScratch(NodeId parent, std::string_view name, const LookupDone& done);
  bool IsToBeHidden(const CatalogEntry& entry);
  // Images that were unlinked while they were open, and not opened since: evicted at their last close.
  bool IsUnlinked(const std::string& name);
  void ForgetUnlinked(const std::string& name);
  void EvictUnlinked(const std::string& name);
  // Images that the source names and has no bytes of: not there for a while, so that Glance takes its own store.
  void HideWithoutData(const ImageId& id);
  bool IsWithoutData(const ImageId& id);
  int ListScratch(NodeId node, std::vector<ListEntry>& entries);
  Nanos EntryTimeout(NodeId node, const CatalogEntry& entry) const;
  void LookUpDots(const NodeInfo& parent, std::string_view name, const LookupDone& done);
  std::shared_ptr<const Snapshot> FindSnapshot(uint64_t handle, NodeId node);
  void KeepSnapshot(uint64_t handle, NodeId node, std::shared_ptr<const Snapshot> snapshot);

  // Constant after construction.
  const FsOptions options_;
  Clock& clock_;
  const Nanos started_;  // wall clock: the time of directories
  const ImageOpener opener_;
  // Synchronise themselves.
  Catalog& catalog_;
  Cache& cache_;
  Requests requests_;
  const std::shared_ptr<Passthrough> passthrough_;  // outlived by the images that are open
  std::atomic<int> names_waiting_{0};               // lookups and listings that wait for the source
  NodeTable nodes_;

  struct DirectoryHandle {
    NodeId node = 0;
    std::shared_ptr<const Snapshot> snapshot;  // null until read
  };
  // A handle is the address of one of these with the daemon's mark above it, so that a read finds it without a lock: the kernel
  // releases a handle only after every read on it was answered.
  struct OpenHandle {
    std::shared_ptr<OpenedImage> image;
  };
  uint64_t KeepHandle(std::shared_ptr<OpenedImage> image);
  const uint64_t handle_mark_;  // in the upper 16 bits, which no address has; not 0

  Mutex glance_mu_;
  std::unordered_set<std::string> unlinked_ GUARDED_BY(glance_mu_);
  struct WithoutData {
    std::string version;
    Nanos until;
  };
  std::unordered_map<std::string, WithoutData> without_data_ GUARDED_BY(glance_mu_);  // by name

  Mutex handles_mu_;
  std::unordered_map<uint64_t, std::unique_ptr<OpenHandle>> open_handles_ GUARDED_BY(handles_mu_);
  uint64_t next_handle_ GUARDED_BY(handles_mu_);
  std::unordered_map<uint64_t, DirectoryHandle> handles_ GUARDED_BY(handles_mu_);
};

}  // namespace glintfs
