// librbd rereads a header when a watch tells it to. Images opened read-only have no watch; nothing here relies on what an open
// image says of its snapshots later. The two calls of the object class used instead, "snapshot_get" and "get_size", are what librbd
// itself asks the OSD of a header.
#include "backends/rbd/rbd_image.h"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <ctime>
#include <vector>

namespace glintfs {
namespace {

constexpr size_t kMaxOpen = 32;
constexpr Nanos kIdle = std::chrono::seconds(60);
constexpr size_t kMaxWatchers = 16;
constexpr int kMaxSnapshots = 1 << 16;

Nanos ToNanos(const timespec& time) { return std::chrono::seconds(time.tv_sec) + Nanos(time.tv_nsec); }

uint64_t LittleEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

std::string LittleEndian64(uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

std::string HeaderObject(const std::string& image_id) { return "rbd_header." + image_id; }

Error NoVersion(Errc code, const Cluster& cluster, const RbdVersion& version, std::string_view why) {
  return {code, fmt::format("{}: image {}: {}", cluster.settings().source, version.image_id, why)};
}

using OpenRbd = std::unique_ptr<void, int (*)(rbd_image_t)>;

Result<std::vector<rbd_snap_info_t>> SnapshotsOf(Cluster& cluster, const CephPoolPtr& pool, rbd_image_t image,
                                                 std::string_view name) {
  std::vector<rbd_snap_info_t> snaps(16);
  int count = -ERANGE;
  for (int max = static_cast<int>(snaps.size()); count == -ERANGE && max <= kMaxSnapshots; ) {
    snaps.resize(static_cast<size_t>(max));
    count = ::rbd_snap_list(image, snaps.data(), &max);
  }
  if (count < 0) return cluster.Failed(pool, -count, name);
  snaps.resize(static_cast<size_t>(count));
  return snaps;
}

bool IsUsers(rbd_image_t image, uint64_t snapshot) {
  rbd_snap_namespace_type_t type{};
  return ::rbd_snap_get_namespace_type(image, snapshot, &type) == 0 && type == RBD_SNAP_NAMESPACE_TYPE_USER;
}

// `snap` when it is protected, as Glance leaves it; else the newest that a user made.
const rbd_snap_info_t* Choose(rbd_image_t image, const std::vector<rbd_snap_info_t>& snaps) {
  const rbd_snap_info_t* newest = nullptr;
  for (const rbd_snap_info_t& snap : snaps) {
    if (!IsUsers(image, snap.id)) continue;
    int is_protected = 0;
    if (std::strcmp(snap.name, "snap") == 0 && ::rbd_snap_is_protected(image, snap.name, &is_protected) == 0 && is_protected == 1)
      return &snap;
    if (newest == nullptr || snap.id > newest->id) newest = &snap;
  }
  return newest;
}

// The version of the header object, by way of the question for the head's size.
Result<RbdVersion> HeadNow(Cluster& cluster, const CephPoolPtr& pool, const std::string& image_id, std::stop_token stop) {
  const std::string object = HeaderObject(image_id);
  GLINTFS_ASSIGN(const ObjectAnswer answer,
                 ExecOnObject(pool, object, "rbd", "get_size", LittleEndian64(LIBRADOS_SNAP_HEAD), std::move(stop)));
  if (answer.result < 0) return cluster.Failed(pool, -answer.result, object);
  cluster.Heard(pool);
  if (answer.output.size() < 9 || answer.version == 0)
    return Error{Errc::kInvalid, fmt::format("{}: {}: the answer makes no sense", cluster.settings().source, object)};
  RbdVersion version;
  version.pool = ::rados_ioctx_get_id(pool->io());
  version.image_id = image_id;
  version.snapshot = LIBRADOS_SNAP_HEAD;
  version.header = answer.version;
  version.size = LittleEndian(std::string_view(answer.output).substr(1, 8));
  return version;
}

Result<RbdFound> FindHead(Cluster& cluster, const CephPoolPtr& pool, rbd_image_t image, const std::string& image_id,
                          std::string_view name, std::stop_token stop) {
  uint64_t features = 0;
  timespec modified{};
  int err = ::rbd_get_features(image, &features);
  if (err == 0 && (features & RBD_FEATURE_EXCLUSIVE_LOCK) == 0)
    return Error{Errc::kNotSupported, fmt::format("{}/{}: the head of an image without the feature exclusive-lock cannot be read "
                                                  "safely: changes to it would go unnoticed", cluster.settings().source, name)};
  if (err == 0) err = ::rbd_get_modify_timestamp(image, &modified);
  if (err != 0) return cluster.Failed(pool, -err, name);
  RbdFound found;
  GLINTFS_ASSIGN(found.version, HeadNow(cluster, pool, image_id, std::move(stop)));
  found.mtime = ToNanos(modified);
  found.version.mtime = found.mtime.count();
  return found;
}

// Somebody who has opened the image for writing.
Result<void> CheckNobodyWrites(Cluster& cluster, const RbdImage& image) {
  std::array<rbd_image_watcher_t, kMaxWatchers> watchers{};
  size_t count = watchers.size();
  const int err = ::rbd_watchers_list(image.image, watchers.data(), &count);
  if (err == 0) ::rbd_watchers_list_cleanup(watchers.data(), count);
  if (err != 0 && err != -ERANGE) return cluster.Failed(image.pool, -err, "watchers of " + image.version.image_id);
  if (count == 0) return {};
  return NoVersion(Errc::kBusy, cluster, image.version, "it is open for writing: its head can be read when it is closed");
}

// Blocks.
Result<RbdImagePtr> OpenImage(const std::shared_ptr<Cluster>& cluster, const CephPoolPtr& pool, const RbdVersion& version) {
  const RbdImagePtr open(new RbdImage, [post = cluster->workers().Poster()](RbdImage* closed) {
    post([closed] {
      if (closed->image != nullptr) ::rbd_close(closed->image);
      delete closed;
    });
  });
  open->pool = pool;
  open->version = version;
  int err = ::rbd_open_by_id_read_only(pool->io(), version.image_id.c_str(), &open->image, nullptr);
  if (err != 0) open->image = nullptr;
  if (err == 0 && !version.head()) err = ::rbd_snap_set_by_id(open->image, version.snapshot);
  rbd_image_info_t info{};
  if (err == 0) err = ::rbd_stat(open->image, &info, sizeof(info));
  if (err == 0) err = ::rbd_get_features(open->image, &open->features);
  if (err != 0) return cluster->Failed(pool, -err, "image " + version.image_id);
  cluster->Heard(pool);
  if (info.size != version.size) return NoVersion(Errc::kStale, *cluster, version, "it has another size");
  open->object_size = info.obj_size;
  return open;
}

template <typename Number>
bool TakeNumber(std::string_view& text, char end, Number& number) {
  const auto [rest, err] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (err != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(rest - text.data()));
  if (end == '\0') return text.empty();
  if (!text.starts_with(end)) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

std::string RbdVersion::ToString() const {
  if (head()) return fmt::format("{}.{}@head.{}:{}:{}", pool, image_id, header, mtime, size);
  return fmt::format("{}.{}@{}:{}", pool, image_id, snapshot, size);
}

std::optional<RbdVersion> RbdVersion::Parse(std::string_view text) {
  RbdVersion version;
  if (!TakeNumber(text, '.', version.pool)) return std::nullopt;
  const size_t at = text.find('@');
  if (at == std::string_view::npos || at == 0 || at > 64) return std::nullopt;
  version.image_id = text.substr(0, at);
  text.remove_prefix(at + 1);
  if (text.starts_with("head.")) {
    text.remove_prefix(5);
    version.snapshot = LIBRADOS_SNAP_HEAD;
    if (!TakeNumber(text, ':', version.header) || !TakeNumber(text, ':', version.mtime)) return std::nullopt;
  } else if (!TakeNumber(text, ':', version.snapshot) || version.head()) {
    return std::nullopt;
  }
  if (!TakeNumber(text, '\0', version.size)) return std::nullopt;
  return version;
}

// Each structure: one byte version, one byte compatible version, four bytes length. The snapshot: id (8), then the structure of its
// namespace, which begins with its kind (4), and more that is of no matter here.
std::optional<RbdSnapshot> ParseRbdSnapshot(std::string_view encoded) {
  constexpr size_t kHeader = 6, kId = kHeader, kKind = kId + 8 + kHeader;
  if (encoded.size() < kKind + 4 || encoded[1] > 1 || encoded[kId + 8 + 1] > 1) return std::nullopt;
  if (LittleEndian(encoded.substr(2, 4)) > encoded.size() - kHeader) return std::nullopt;
  if (LittleEndian(encoded.substr(kId + 10, 4)) < 4) return std::nullopt;
  return RbdSnapshot{.id = LittleEndian(encoded.substr(kId, 8)),
                     .kind = static_cast<uint32_t>(LittleEndian(encoded.substr(kKind, 4)))};
}

Result<RbdFound> FindRbdImage(Cluster& cluster, const CephPoolPtr& pool, const std::string& name, bool head, std::stop_token stop) {
  rbd_image_t handle = nullptr;
  int err = ::rbd_open_read_only(pool->io(), name.c_str(), &handle, nullptr);
  if (err != 0) return cluster.Failed(pool, -err, name);
  const OpenRbd image(handle, ::rbd_close);
  cluster.Heard(pool);
  uint8_t old_format = 0;
  char id[128] = "";
  err = ::rbd_get_old_format(image.get(), &old_format);
  if (err == 0 && old_format != 0)
    return Error{Errc::kNotSupported, fmt::format("{}/{}: images of format 1 are not read: rbd migration makes them format 2",
                                                  cluster.settings().source, name)};
  if (err == 0) err = ::rbd_get_id(image.get(), id, sizeof(id));
  if (err != 0) return cluster.Failed(pool, -err, name);
  GLINTFS_ASSIGN(auto snaps, SnapshotsOf(cluster, pool, image.get(), name));
  const struct End {
    std::vector<rbd_snap_info_t>& list;
    ~End() {
      if (list.empty()) return;
      list.push_back({.id = 0, .size = 0, .name = nullptr});  // where rbd_snap_list_end stops
      ::rbd_snap_list_end(list.data());
    }
  } end{snaps};
  const rbd_snap_info_t* snap = Choose(image.get(), snaps);
  if (snap == nullptr && head) return FindHead(cluster, pool, image.get(), id, name, std::move(stop));
  if (snap == nullptr)
    return Error{Errc::kNotFound, fmt::format("{}/{} has no snapshot (rbd_head=yes shows the heads of such images)",
                                              cluster.settings().source, name)};
  RbdFound found;
  timespec created{};
  ::rbd_snap_get_timestamp(image.get(), snap->id, &created);
  found.mtime = ToNanos(created);
  found.version.pool = ::rados_ioctx_get_id(pool->io());
  found.version.image_id = id;
  found.version.snapshot = snap->id;
  found.version.size = snap->size;
  return found;
}

Result<void> ConfirmRbdVersion(Cluster& cluster, const CephPoolPtr& pool, const RbdVersion& version, std::stop_token stop) {
  if (version.head()) {
    GLINTFS_ASSIGN(RbdVersion now, HeadNow(cluster, pool, version.image_id, std::move(stop)));
    if (now.header != version.header || now.size != version.size)
      return NoVersion(Errc::kStale, cluster, version, "its head has changed");
    return {};
  }
  const std::string object = HeaderObject(version.image_id);
  GLINTFS_ASSIGN(const ObjectAnswer answer,
                 ExecOnObject(pool, object, "rbd", "snapshot_get", LittleEndian64(version.snapshot), std::move(stop)));
  if (answer.result < 0) return cluster.Failed(pool, -answer.result, fmt::format("snapshot {} of {}", version.snapshot, object));
  cluster.Heard(pool);
  const auto snapshot = ParseRbdSnapshot(answer.output);
  if (!snapshot || snapshot->id != version.snapshot)
    return NoVersion(Errc::kInvalid, cluster, version, "what the cluster says of its snapshot makes no sense");
  if (snapshot->kind != RBD_SNAP_NAMESPACE_TYPE_USER)
    return NoVersion(Errc::kNotFound, cluster, version, "its snapshot is deleted");
  return {};
}

std::list<RbdImagePtr> RbdImages::TakeOld(Nanos now) {
  std::list<RbdImagePtr> old;
  while (!entries_.empty() && (entries_.size() > kMaxOpen || now - entries_.back().used > kIdle)) {
    old.push_back(std::move(entries_.back().image));
    entries_.pop_back();
  }
  return old;
}

Result<RbdImagePtr> RbdImages::Get(const RbdVersion& version, std::stop_token stop) {
  GLINTFS_ASSIGN(const CephPoolPtr pool, cluster_->GetPool(stop));
  if (::rados_ioctx_get_id(pool->io()) != version.pool) return NoVersion(Errc::kStale, *cluster_, version, "the pool is another");
  const Nanos now = Clock::System().Now();
  RbdImagePtr image;
  {
    std::list<RbdImagePtr> old;  // ends after the lock
    const MutexLock lock(mu_);
    for (auto entry = entries_.begin(); entry != entries_.end() && !image; ++entry)
      if (entry->image->version == version && entry->image->pool == pool) {
        image = entry->image;
        entry->used = now;
        entries_.splice(entries_.begin(), entries_, entry);
        break;
      }
    old = TakeOld(now);
  }
  if (!image) {
    GLINTFS_ASSIGN(image,
                   cluster_->workers().Call<RbdImagePtr>(
                       "open",
                       [cluster = cluster_, pool, version](std::stop_token) { return OpenImage(cluster, pool, version); }, stop));
    std::list<RbdImagePtr> old;
    const MutexLock lock(mu_);
    entries_.push_front({image, now});
    old = TakeOld(now);
  }
  if (version.head()) {
    // In this order: see the header.
    GLINTFS_TRY(ConfirmRbdVersion(*cluster_, pool, version, stop));
    GLINTFS_TRY(cluster_->workers().Call<void>(
        "watchers", [cluster = cluster_, image](std::stop_token) { return CheckNobodyWrites(*cluster, *image); }, stop));
  }
  return image;
}

void RbdImages::Clear() {
  std::list<Entry> all;
  const MutexLock lock(mu_);
  all.swap(entries_);
}

}  // namespace glintfs
